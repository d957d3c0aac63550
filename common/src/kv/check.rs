//! Whether a Redis is fit to be used: what it would lose, and what it refuses.

use redis::{ErrorKind, InfoDict};

use super::{KvError, Redis, rights};
use crate::{config::Process, kv::Keys};

/// What a Redis tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its version.
    pub version: String,
    /// Whether it has an append-only file.
    pub has_log: bool,
}

impl Redis {
    /// Refuses a Redis that would lose data; warns of one that may.
    ///
    /// # Errors
    /// If Redis cannot be reached, is older than 7.0, is a replica or evicts keys.
    pub async fn check(&self) -> Result<Facts, KvError> {
        let mut connection = self.connection().await?;
        let info: InfoDict = redis::cmd("INFO")
            .query_async(&mut connection)
            .await
            .map_err(|source| {
                if source.code() == Some("NOPERM") {
                    return KvError::Forbidden {
                        command: "INFO".to_owned(),
                    };
                }
                self.failed("ask Redis about itself", source)
            })?;
        let version = info.get::<String>("redis_version").unwrap_or_default();
        let major = version
            .split('.')
            .next()
            .and_then(|n| n.parse::<u32>().ok());
        if major.is_none_or(|major| major < 7) {
            return Err(KvError::TooOld { version });
        }
        if info.get::<String>("role").as_deref() == Some("slave") {
            let master = info.get("master_host").unwrap_or_default();
            return Err(KvError::Replica { master });
        }
        let policy = info.get::<String>("maxmemory_policy").unwrap_or_default();
        if policy != "noeviction" {
            return Err(KvError::Evicts { policy });
        }
        let has_log = info.get::<u8>("aof_enabled") != Some(0);
        if !has_log {
            tracing::warn!(
                "Redis has no append-only file: what it holds is lost if it crashes; set `appendonly yes`"
            );
        }
        Ok(Facts { version, has_log })
    }

    /// A setting of Redis, if the user may ask for it.
    pub(crate) async fn setting(&self, name: &str) -> Option<String> {
        let mut ask = redis::cmd("CONFIG");
        ask.arg("GET").arg(name);
        let (_, value): (String, String) = self.read("ask Redis for a setting", &ask).await.ok()?;
        Some(value)
    }

    /// Which commands the user of this connection may not run, of those that a process needs. Nothing is run: the
    /// commands are put into a transaction, which is then discarded.
    ///
    /// # Errors
    /// If Redis cannot be reached, or refuses for another reason: then this is not the Redis to use.
    pub async fn forbidden(&self, process: Process, keys: &Keys) -> Result<Vec<String>, KvError> {
        let doing = "look at the rights of the Redis user";
        let mut own = self
            .client()
            .get_multiplexed_async_connection()
            .await
            .map_err(KvError::Connect)?;
        let key = keys.stats();
        let mut forbidden = Vec::new();
        let first: redis::RedisResult<()> = redis::cmd("MULTI").query_async(&mut own).await;
        if first.is_err_and(|error| error.code() == Some("NOPERM")) {
            return Ok(vec!["multi".to_owned()]);
        }
        for right in rights::of(process).filter(rights::Right::can_be_queued) {
            let mut command = redis::Cmd::new();
            for word in right.example(&key) {
                command.arg(word);
            }
            let queued: redis::RedisResult<redis::Value> = command.query_async(&mut own).await;
            match queued {
                Ok(_) => {}
                Err(error) if error.code() == Some("NOPERM") => {
                    forbidden.push(right.name().to_owned());
                }
                Err(error) if error.kind() == ErrorKind::Server(redis::ServerErrorKind::Moved) => {
                    return Err(KvError::Elsewhere(error));
                }
                // It is allowed, and refused for another reason: because Redis is full, for one.
                Err(error) if error.code().is_some() => {}
                Err(error) => return Err(self.failed(doing, error)),
            }
        }
        let _: redis::RedisResult<()> = redis::cmd("DISCARD").query_async(&mut own).await;
        Ok(forbidden)
    }
}
