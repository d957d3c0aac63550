//! Health and metrics.

use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use tokio::time::timeout;
use warp::reply::{Reply, json, with_status};

use crate::app::App;

/// How long Postgres may take to answer.
const ARCHIVE_PATIENCE: Duration = Duration::from_millis(300);

#[derive(Serialize)]
struct Health {
    state: &'static str,
    redis: &'static str,
    postgres: &'static str,
}

/// The process runs.
pub(crate) async fn live() -> impl Reply {
    "live"
}

/// Whether it can serve. Without Postgres the chat goes on, so that alone does not make it unready.
pub(crate) async fn ready(app: App) -> impl Reply {
    // A Postgres that stalls must not make the answer late: who asks would take it for a no.
    let archive = timeout(ARCHIVE_PATIENCE, app.chat.archive.ping());
    let (redis, postgres) = tokio::join!(app.chat.ping_redis(), archive);
    let postgres = matches!(postgres, Ok(Ok(())));
    // Both connections count: what is not heard is not delivered.
    let redis = redis.is_ok() && app.hub.is_hearing();
    let reached = |reached: bool| if reached { "reached" } else { "away" };
    let (ready, state) = match (app.stopping.is_asked(), redis) {
        (true, _) => (false, "draining"),
        (false, false) => (false, "waiting for Redis"),
        (false, true) => (true, "ready"),
    };
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let health = Health {
        state,
        redis: reached(redis),
        postgres: reached(postgres),
    };
    with_status(json(&health), status)
}

/// Prometheus's text form.
pub(crate) async fn metrics(app: App) -> impl Reply {
    metrics::gauge!("rhubarb_connections")
        .set(u32::try_from(app.connections.count()).unwrap_or(u32::MAX));
    app.metrics.render()
}
