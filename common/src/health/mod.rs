//! Health: what a process needs, how it is, and what that makes of the whole. [`figures`] tells what all processes
//! share, for their metrics.
//!
//! What the chat and the queue cannot go on without is *needed*: Redis, in all ways in which a process uses it.
//! Without it a process is not ready. Postgres is not needed: without it the chat goes on, and jobs that want it
//! are tried again until it is back. If that made processes unready, an outage of Postgres would take the chat
//! with it, and hold up every deploy. It is told as `degraded`.

pub mod figures;

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::{chat::Chat, pg::PgError, telemetry::Beats};

/// Who asks sooner gets what was seen before.
const FRESH: Duration = Duration::from_secs(1);
/// How long Postgres may take to answer. A Postgres that stalls must not make the answer late: who asks would take
/// it for a no.
const ARCHIVE_PATIENCE: Duration = Duration::from_millis(300);

/// Something that a process works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// How it is, in a word.
    pub told: &'static str,
    /// Whether that is well.
    pub well: bool,
    /// Whether the process is not ready without it.
    pub needed: bool,
}

/// How a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether it was told to stop.
    pub stopping: bool,
    /// What it works with.
    pub parts: Vec<Part>,
}

impl Part {
    /// A part without which the process is not ready.
    pub fn needed(name: &'static str, well: bool, [good, bad]: [&'static str; 2]) -> Self {
        Self {
            name,
            told: if well { good } else { bad },
            well,
            needed: true,
        }
    }

    /// What is renewed again and again, such as a heartbeat.
    pub fn beating(name: &'static str, beats: &Beats) -> Self {
        Self::needed(name, beats.lives(), ["beating", "ended"])
    }
}

impl Health {
    /// Whether it can do its work.
    pub fn is_ready(&self) -> bool {
        !self.stopping && self.parts.iter().all(|part| part.well || !part.needed)
    }

    /// That, in a few words.
    pub fn state(&self) -> &'static str {
        match (self.stopping, self.is_ready()) {
            (true, _) => "draining",
            (false, false) => "waiting for Redis",
            (false, true) if self.parts.iter().all(|part| part.well) => "ready",
            (false, true) => "degraded",
        }
    }

    /// What `/health/ready` answers.
    pub fn to_json(&self) -> Value {
        let parts = self.parts.iter().map(|part| (part.name, part.told));
        let all = [("state", self.state())].into_iter().chain(parts);
        Value::Object(
            all.map(|(name, told)| (name.to_owned(), told.into()))
                .collect::<Map<_, _>>(),
        )
    }

    /// Tells it to the metrics.
    pub fn tell(&self) {
        metrics::gauge!("rhubarb_ready").set(u8::from(self.is_ready()));
        for part in &self.parts {
            metrics::gauge!("rhubarb_health", "part" => part.name).set(u8::from(part.well));
        }
    }
}

impl Chat {
    /// Asks Postgres, once a second at most: whoever asks more often is not to take the connections of readers.
    async fn look_at_archive(&self) -> (bool, &'static str) {
        let mut seen = self.archive_seen.lock().await;
        if let Some((at, told)) = *seen
            && at.elapsed() < FRESH
        {
            return told;
        }
        let told = match timeout(ARCHIVE_PATIENCE, self.archive.check()).await {
            Ok(Ok(false)) => (true, "current"),
            // An upgrade migrates first, and replaces the processes then.
            Ok(Ok(true)) => (true, "newer"),
            Ok(Err(PgError::Behind { .. })) => (true, "behind"),
            Ok(Err(PgError::Ahead { .. })) => (true, "ahead"),
            _ => (false, "unknown"),
        };
        *seen = Some((Instant::now(), told));
        told
    }

    /// How the shared connection to Redis, Postgres and its schema are.
    pub async fn health(&self) -> [Part; 3] {
        let (redis, archive) = tokio::join!(self.ping_redis(), self.look_at_archive());
        let (reached, schema) = archive;
        let unneeded = |name, told, well| Part {
            name,
            told,
            well,
            needed: false,
        };
        let postgres = if reached { "reached" } else { "away" };
        [
            Part::needed("redis", redis.is_ok(), ["reached", "away"]),
            unneeded("postgres", postgres, reached),
            unneeded("schema", schema, matches!(schema, "current" | "newer")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(redis: bool, postgres: bool) -> Health {
        Health {
            stopping: false,
            parts: vec![
                Part::needed("redis", redis, ["reached", "away"]),
                Part {
                    needed: false,
                    ..Part::needed("postgres", postgres, ["reached", "away"])
                },
            ],
        }
    }

    #[test]
    fn what_is_needed_makes_unready_and_the_rest_degrades() {
        assert_eq!(health(true, true).state(), "ready");
        assert_eq!(health(true, false).state(), "degraded");
        assert!(health(true, false).is_ready());
        assert_eq!(health(false, true).state(), "waiting for Redis");
        assert!(!health(false, true).is_ready());
        let stopping = Health {
            stopping: true,
            ..health(true, true)
        };
        assert_eq!((stopping.state(), stopping.is_ready()), ("draining", false));
        let told = r#"{"postgres":"away","redis":"reached","state":"degraded"}"#;
        assert_eq!(health(true, false).to_json().to_string(), told);
    }
}
