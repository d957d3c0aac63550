//! Health and metrics.

use http::StatusCode;
use serde::Serialize;
use warp::reply::{Reply, json, with_status};

use crate::app::App;

#[derive(Serialize)]
struct Health {
    ready: bool,
    redis: bool,
    postgres: bool,
    draining: bool,
}

/// The process runs.
pub(crate) async fn live() -> impl Reply {
    "live"
}

/// Whether it can serve. Without Postgres the chat goes on, so that alone does not make it unready.
pub(crate) async fn ready(app: App) -> impl Reply {
    let (redis, postgres) = tokio::join!(app.chat.ping_redis(), app.chat.archive.ping());
    let draining = app.shutdown.is_asked();
    let (redis, postgres) = (redis.is_ok(), postgres.is_ok());
    let ready = redis && !draining;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    with_status(
        json(&Health {
            ready,
            redis,
            postgres,
            draining,
        }),
        status,
    )
}

/// Prometheus's text form.
pub(crate) async fn metrics(app: App) -> impl Reply {
    metrics::gauge!("rhubarb_connections")
        .set(u32::try_from(app.connections.count()).unwrap_or(u32::MAX));
    app.metrics.render()
}
