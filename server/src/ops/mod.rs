//! The dashboard at `/ops`: what an operator sees and changes. Off unless the server has a token for somebody.
//!
//! [`people`] says who it is, [`door`] who may, [`api`] is the table of all calls: [`read`] looks, [`change`]
//! changes, [`bulk`] changes many dead jobs, [`live`] tells what is so every second. The page is in
//! `server/static/ops`. No call costs more when more jobs wait.

mod api;
mod bulk;
mod change;
mod door;
mod live;
mod people;
mod query;
mod read;
#[cfg(test)]
mod test;

use std::sync::{Arc, Mutex, PoisonError};

use common::{
    chat::{Chat, inspect::Rooms},
    error::Chain,
    kv::KvError,
    queue::{bulks::Bulks, inspect::Inspector, operate::Operator, periodic::entries::Entries},
    shutdown::Shutdown,
};

use tokio::task::JoinSet;

pub(crate) use api::answer;
pub(crate) use people::People;

use crate::{
    app::{App, Connections},
    drain::Drain,
    error::ApiError,
    limits::Limits,
};
use live::Live;
use people::Who;

/// What the routes of the dashboard work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ops {
    people: Arc<People>,
    inspector: Inspector,
    operator: Operator,
    periodic: Entries,
    bulks: Bulks,
    rooms: Rooms,
    live: Arc<Live>,
    /// The bulk changes that are at work here.
    work: Arc<Mutex<JoinSet<()>>>,
    host: Host,
}

/// What the dashboard needs of its server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) limits: Limits,
    pub(crate) connections: Connections,
    /// The server drains: what runs here for somebody ends.
    pub(crate) shutdown: Shutdown,
    pub(crate) drain: Drain,
    /// The server ends: who still looks is cut off.
    pub(crate) closing: Shutdown,
}

impl std::fmt::Debug for Ops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ops").finish_non_exhaustive()
    }
}

impl Ops {
    /// A dashboard for these people, over the queues and rooms of a chat.
    pub(crate) fn new(people: People, chat: &Chat, host: Host) -> Self {
        let parts = || (chat.log.redis().clone(), chat.log.keys().clone());
        let (inspecting, operating, ticking, changing, chatting) =
            (parts(), parts(), parts(), parts(), parts());
        let inspector = Inspector::new(inspecting.0, inspecting.1);
        let bulks = Bulks::new(changing.0, changing.1);
        let rooms = Rooms::new(chatting.0, chatting.1);
        Self {
            people: Arc::new(people),
            live: Arc::new(Live::new(inspector.clone(), bulks.clone(), rooms.clone())),
            inspector,
            operator: Operator::new(operating.0, operating.1),
            periodic: Entries::new(ticking.0, ticking.1),
            bulks,
            rooms,
            work: Arc::default(),
            host,
        }
    }

    /// Changes the queues in somebody's name.
    fn operator_for(&self, who: &Who) -> Operator {
        self.operator.clone().acting_for(&who.name)
    }

    fn work(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    pub(crate) fn of(app: &App) -> Self {
        Self {
            limits: app.limits.clone(),
            connections: app.connections.clone(),
            shutdown: app.shutdown.clone(),
            drain: app.drain.clone(),
            closing: app.closing.clone(),
        }
    }
}

/// Waits until the bulk changes that are at work here have stopped, as they do when the server drains.
pub(crate) async fn ended(ops: Option<Ops>) {
    let work = ops.map(|ops| std::mem::take(&mut *ops.work()));
    if let Some(mut work) = work {
        while work.join_next().await.is_some() {}
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn away(error: KvError) -> ApiError {
    tracing::warn!(error = %Chain(&error), "Redis failed a request of the dashboard");
    ApiError::Unavailable
}
