//! What a worker answers over HTTP, if it is told to: whether it lives, whether it can work, its metrics.

use std::net::SocketAddr;

use anyhow::Context;
use common::{
    chat::Chat,
    health::{Health, Part, figures::Figures},
    kv::blocking::BlockingHealth,
    queue::Worker,
    shutdown::Shutdown,
    telemetry::Beats,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use warp::{
    Filter,
    filters::BoxedFilter,
    http::StatusCode,
    reply::{Reply, Response, json, with_status},
};

/// What there is to tell of a worker. Cheap to clone.
#[derive(Clone)]
pub struct Vitals {
    chat: Chat,
    blocking: BlockingHealth,
    heartbeat: Beats,
    stopping: Shutdown,
    figures: Figures,
    metrics: PrometheusHandle,
}

impl std::fmt::Debug for Vitals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vitals").finish_non_exhaustive()
    }
}

impl Vitals {
    /// Those of a worker that is about to run.
    pub fn of(
        worker: &Worker,
        chat: &Chat,
        stopping: &Shutdown,
        metrics: PrometheusHandle,
    ) -> Self {
        Self {
            chat: chat.clone(),
            blocking: worker.blocking_health(),
            heartbeat: worker.beats(),
            stopping: stopping.clone(),
            figures: Figures::new(chat.clone()),
            metrics,
        }
    }

    /// Answers at an address until the process ends.
    ///
    /// # Errors
    /// If nobody can listen there.
    pub async fn listen(self, address: &str) -> anyhow::Result<()> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listen on {address}; choose another with --listen"))?;
        let bound: SocketAddr = listener
            .local_addr()
            .context("read the address that is listened on")?;
        tracing::info!("health and metrics are at http://{bound}");
        let serving = warp::serve(self.routes()).incoming(listener).run();
        tokio::spawn(serving);
        Ok(())
    }

    fn routes(&self) -> BoxedFilter<(Response,)> {
        let live = warp::path!("health" / "live")
            .and(warp::get())
            .map(|| "live".into_response());
        let ready = warp::path!("health" / "ready")
            .and(warp::get())
            .and(self.with())
            .then(ready);
        let metrics = warp::path!("metrics")
            .and(warp::get())
            .and(self.with())
            .then(metrics);
        live.or(ready).unify().or(metrics).unify().boxed()
    }

    fn with(&self) -> BoxedFilter<(Self,)> {
        let vitals = self.clone();
        warp::any().map(move || vitals.clone()).boxed()
    }

    async fn health(&self) -> Health {
        let mut parts = self.chat.health().await.to_vec();
        let blocking = self.blocking.is_healthy();
        parts.push(Part::needed("blocking", blocking, ["healthy", "broken"]));
        parts.push(Part::beating("heartbeat", &self.heartbeat));
        Health {
            stopping: self.stopping.is_asked(),
            parts,
        }
    }
}

/// `GET /health/ready`
async fn ready(vitals: Vitals) -> Response {
    let health = vitals.health().await;
    let status = if health.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    with_status(json(&health.to_json()), status).into_response()
}

/// `GET /metrics`, in Prometheus's text form
async fn metrics(vitals: Vitals) -> Response {
    let (health, ()) = tokio::join!(vitals.health(), vitals.figures.refresh());
    health.tell();
    vitals.heartbeat.tell();
    vitals.metrics.render().into_response()
}
