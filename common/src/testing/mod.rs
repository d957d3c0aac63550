//! What tests and benchmarks need: a namespace of their own on a real Redis, a schema of their own on a
//! real Postgres, servers that they may kill, a way to wait for events,
//! and jobs that run when they are told to.

mod chat;
mod postgres;
mod queue;
mod redis_server;
mod stepper;

use std::time::Duration;

pub use chat::TestChat;
pub use postgres::{TestDatabase, TestPostgres};
pub use queue::{RunningWorker, TestQueue};
pub use redis_server::RedisServer;
pub use stepper::Stepper;

/// The longest that a test waits for an event. It only passes when the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The environment variable `name`.
///
/// # Panics
/// If it is not set.
pub fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run the tests with bin/test"))
}

/// Waits until `probe` gives a value, looking again every few milliseconds.
///
/// # Panics
/// If that takes longer than [`PATIENCE`]; the message names `what`.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "waited {PATIENCE:?} for this: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A name that no other test has.
pub fn unique(prefix: &str) -> String {
    format!(
        "{prefix}{}",
        &uuid::Uuid::new_v4().simple().to_string()[..16]
    )
}
