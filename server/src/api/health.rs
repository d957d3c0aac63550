//! Health and metrics.

use common::health::{Health, Part};
use http::StatusCode;
use warp::reply::{Reply, json, with_status};

use crate::app::App;

/// The process runs.
pub(crate) async fn live() -> impl Reply {
    "live"
}

/// Whether it can serve.
pub(crate) async fn ready(app: App) -> impl Reply {
    let health = health(&app).await;
    let status = if health.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    with_status(json(&health.to_json()), status)
}

async fn health(app: &App) -> Health {
    let mut parts = app.chat.health().await.to_vec();
    // All ways to Redis count: what is not heard is not delivered.
    let hears = app.hub.is_hearing();
    parts.push(Part::needed("subscription", hears, ["hearing", "lost"]));
    parts.push(Part::beating("lease", &app.lease));
    Health {
        stopping: app.stopping.is_asked(),
        parts,
    }
}

/// Prometheus's text form.
pub(crate) async fn metrics(app: App) -> impl Reply {
    let (health, ()) = tokio::join!(health(&app), app.figures.refresh());
    health.tell();
    app.lease.tell();
    let here = [
        ("rhubarb_connections", app.connections.count()),
        ("rhubarb_rooms", app.hub.count()),
        ("rhubarb_members", app.hub.count_members()),
    ];
    for (name, n) in here {
        metrics::gauge!(name).set(u32::try_from(n).unwrap_or(u32::MAX));
    }
    app.metrics.render()
}
