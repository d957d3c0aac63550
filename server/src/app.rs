//! The application: what every route and connection works with.

use std::sync::Arc;

use common::{
    chat::{Chat, archived::Waits},
    health::figures::Figures,
    shutdown::Shutdown,
    telemetry::Beats,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use crate::{
    api::jobs::Jobs,
    auth::Door,
    drain::Drain,
    history::Histories,
    hub::Hub,
    limits::{Limits, Place},
    ops::Ops,
    premium::Premium,
    runtime::Naps,
};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) chat: Chat,
    pub(crate) hub: Hub,
    /// Who waits until a message is in the archive.
    pub(crate) waits: Waits,
    /// Who may connect.
    pub(crate) door: Door,
    /// What they may ask.
    pub(crate) limits: Limits,
    /// Whose rooms' jobs go first.
    pub(crate) premium: Premium,
    pub(crate) histories: Histories,
    /// Jobs over HTTP, if that is on.
    pub(crate) jobs: Option<Jobs>,
    /// The dashboard, if that is on.
    pub(crate) ops: Option<Ops>,
    /// This server's lease.
    pub(crate) lease: Beats,
    /// What all processes tell.
    pub(crate) figures: Figures,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) connections: Connections,
    /// The server was told to stop: it is not ready any more.
    pub(crate) stopping: Shutdown,
    /// The server drains: clients are asked to go.
    pub(crate) shutdown: Shutdown,
    /// How they go.
    pub(crate) drain: Drain,
    /// The server ends: clients are cut off.
    pub(crate) closing: Shutdown,
    /// What tells the threads how often they are woken.
    pub(crate) naps: Naps,
    /// What one slow reader may cost, in bytes.
    pub(crate) outbox_bytes: usize,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

/// Counts the open sockets and streams: warp's graceful shutdown does not wait for what was upgraded.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    open: Arc<watch::Sender<usize>>,
}

/// One open socket or stream.
#[derive(Debug)]
pub(crate) struct Open {
    connections: Connections,
    /// Its place among those of its address, if it counts there.
    _place: Option<Place>,
}

impl Connections {
    pub(crate) fn new() -> Self {
        Self {
            open: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Counts one until it is dropped.
    pub(crate) fn enter(&self, place: impl Into<Option<Place>>) -> Open {
        self.open.send_modify(|open| *open += 1);
        Open {
            connections: self.clone(),
            _place: place.into(),
        }
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        *self.open.borrow()
    }

    /// Waits until none is.
    pub(crate) async fn none(&self) {
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.open.send_modify(|open| *open -= 1);
    }
}
