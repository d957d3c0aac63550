//! Presence of this server: its lease, and how many members each room has here.

use std::{collections::BTreeSet, time::Duration};

use common::{
    chat::Chat,
    error::Chain,
    id::{BootId, RoomId},
    shutdown::Shutdown,
};
use futures_util::{StreamExt, stream};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::hub::Hub;

/// Rooms that are told at once.
const PIPELINE: usize = 64;
/// Between two rounds: of those who come or go together, few hear of each one.
const GATHER: Duration = Duration::from_millis(25);
/// After a failure.
const RETRY: Duration = Duration::from_millis(500);

/// Tells Redis of each room whose number of local members has changed: always the latest number, so
/// that many joins at once cost few calls. Ends between two calls, never within one: a flush that is
/// asked for and not enqueued would keep others from asking.
pub(crate) async fn tell_changes(
    server: BootId,
    chat: Chat,
    hub: Hub,
    mut changed: mpsc::UnboundedReceiver<RoomId>,
    end: Shutdown,
) {
    let mut batch = Vec::new();
    let mut rooms = BTreeSet::new();
    loop {
        if rooms.is_empty() {
            tokio::select! {
                biased;
                count = changed.recv_many(&mut batch, 1000) => if count == 0 { return },
                () = end.asked() => return,
            }
        }
        while let Ok(room) = changed.try_recv() {
            batch.push(room);
        }
        rooms.extend(batch.drain(..));
        let (chat, hub) = (&chat, &hub);
        let failed: Vec<_> = stream::iter(std::mem::take(&mut rooms))
            .map(|room| async move {
                let here = hub.members(&room);
                chat.tell_members(server, &room, here)
                    .await
                    .err()
                    .map(|error| (room, error))
            })
            .buffer_unordered(PIPELINE)
            .filter_map(|failed| async move { failed })
            .collect()
            .await;
        let mut pause = GATHER;
        if let Some((_, error)) = failed.first() {
            tracing::warn!(error = %Chain(error), rooms = failed.len(), "cannot tell who is present; trying again");
            rooms.extend(failed.into_iter().map(|(room, _)| room));
            pause = RETRY;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = end.asked() => return,
        }
    }
}

/// Keeps this server's lease, and its rooms in Redis, until the end.
pub(crate) async fn keep_lease(
    server: BootId,
    chat: Chat,
    hub: Hub,
    changed: mpsc::UnboundedSender<RoomId>,
    end: Shutdown,
) {
    let touch_every = (chat.settings.room_ttl / 3).min(Duration::from_secs(60));
    let mut touched = Instant::now();
    loop {
        match chat.renew_lease(server).await {
            Ok(true) => {}
            // The lease had ended, and the rooms were told that nobody is here.
            Ok(false) => {
                for room in hub.room_ids() {
                    let _ = changed.send(room);
                }
            }
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "cannot renew this server's lease");
            }
        }
        if touched.elapsed() >= touch_every {
            touched = Instant::now();
            if let Err(error) = chat.log.touch(&hub.room_ids()).await {
                tracing::warn!(error = %Chain(&error), "cannot keep rooms in Redis");
            }
        }
        tokio::select! {
            () = sleep((chat.settings.server_lease / 3).min(touch_every)) => {}
            () = end.asked() => return,
        }
    }
}
