//! `--check-config`: every setting and where it comes from, then whether Redis and Postgres are fit to be used.
//! Changes nothing.

use std::fmt;

use crate::{
    config::{Given, Process},
    error::Chain,
    kv::{Keys, KvError, Redis},
    pg,
};

/// What one look found.
#[derive(Debug)]
pub struct Finding {
    what: &'static str,
    found: Result<String, String>,
    warnings: Vec<String>,
}

impl Finding {
    /// A look that found all well, or what is wrong and what to do.
    pub fn new(what: &'static str, found: Result<String, String>) -> Self {
        Self {
            what,
            found,
            warnings: Vec::new(),
        }
    }
}

/// What was found in all.
#[derive(Debug)]
pub struct Report<'a> {
    given: &'a Given,
    findings: Vec<Finding>,
}

impl<'a> Report<'a> {
    /// Looks at Redis and Postgres as a process would use them.
    pub async fn of(
        process: Process,
        given: &'a Given,
        redis_url: &str,
        namespace: &str,
        database_url: &str,
    ) -> Self {
        let (redis, postgres) =
            tokio::join!(redis(process, redis_url, namespace), postgres(database_url));
        Self {
            given,
            findings: vec![redis, postgres],
        }
    }

    /// With what else was found.
    #[must_use]
    pub fn with(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self
    }

    /// Whether a process with these settings can do its work.
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.found.is_ok())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = &self.given.values;
        let width = |of: fn(&crate::config::Value) -> &str| {
            values.iter().map(|value| of(value).chars().count()).max()
        };
        let key = width(|value| &value.key).unwrap_or_default();
        let shown = width(|value| &value.shown).unwrap_or_default().min(60);
        for value in values {
            writeln!(
                f,
                "{:key$}  {:shown$}  {}",
                value.key, value.shown, value.source
            )?;
        }
        writeln!(f)?;
        for warning in &self.given.warnings {
            writeln!(f, "warn  settings   {warning}")?;
        }
        for Finding {
            what,
            found,
            warnings,
        } in &self.findings
        {
            match found {
                Ok(found) => writeln!(f, "ok    {what:9}  {found}")?,
                Err(why) => writeln!(f, "no    {what:9}  {why}")?,
            }
            for warning in warnings {
                writeln!(f, "warn  {what:9}  {warning}")?;
            }
        }
        Ok(())
    }
}

async fn redis(process: Process, url: &str, namespace: &str) -> Finding {
    let mut warnings = Vec::new();
    let found = look_at_redis(process, url, namespace, &mut warnings).await;
    let found = found.map_err(|error| Chain(&error).to_string());
    Finding {
        what: "redis",
        found,
        warnings,
    }
}

async fn look_at_redis(
    process: Process,
    url: &str,
    namespace: &str,
    warnings: &mut Vec<String>,
) -> Result<String, KvError> {
    let redis = Redis::new(url)?;
    let facts = redis.check().await?;
    let forbidden = redis.forbidden(process, &Keys::new(namespace)).await?;
    if !forbidden.is_empty() {
        return Err(KvError::Forbidden {
            command: forbidden.join(", "),
        });
    }
    let address = redis.client().get_connection_info().addr().clone();
    let tls = if matches!(address, redis::ConnectionAddr::TcpTls { .. }) {
        ", TLS"
    } else {
        ""
    };
    let log = if facts.has_log {
        "appendonly yes"
    } else {
        "no append-only file"
    };
    if !facts.has_log {
        warnings.push(
            "what it holds is lost if it crashes; set it: redis-cli CONFIG SET appendonly yes"
                .to_owned(),
        );
    } else if redis.setting("appendfsync").await.as_deref() == Some("no") {
        warnings.push(
            "the system decides when it writes to disk, some 30 s late; set it: redis-cli CONFIG SET appendfsync everysec"
                .to_owned(),
        );
    }
    Ok(format!(
        "{} at {address}: primary, noeviction, {log}{tls}; the user may do what a {process} does",
        facts.version
    ))
}

async fn postgres(url: &str) -> Finding {
    let found = pg::check_schema(url).await;
    let found = found.map(|facts| {
        let tls = if facts.is_encrypted { "TLS" } else { "no TLS" };
        let newer = match facts.newer.as_slice() {
            [] => String::new(),
            newer => format!("; has {} of a newer release", newer.join(", ")),
        };
        format!("{}: writable, up to date, {tls}{newer}", facts.version)
    });
    Finding::new("postgres", found.map_err(|error| Chain(&error).to_string()))
}
