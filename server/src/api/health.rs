//! Health and metrics.

use http::StatusCode;
use serde::Serialize;
use warp::reply::{Reply, json, with_status};

use crate::app::App;

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
    let (redis, postgres) = tokio::join!(app.chat.ping_redis(), app.chat.archive.ping());
    let reached = |reached: bool| if reached { "reached" } else { "away" };
    let (ready, state) = match (app.shutdown.is_asked(), redis.is_ok()) {
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
        redis: reached(redis.is_ok()),
        postgres: reached(postgres.is_ok()),
    };
    with_status(json(&health), status)
}

/// Prometheus's text form.
pub(crate) async fn metrics(app: App) -> impl Reply {
    metrics::gauge!("rhubarb_connections")
        .set(u32::try_from(app.connections.count()).unwrap_or(u32::MAX));
    app.metrics.render()
}
