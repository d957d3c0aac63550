//! Presence of this server: its lease, and how many members each room has here.

use std::{collections::HashMap, time::Duration};

use common::{
    chat::Chat,
    error::Chain,
    id::{BootId, RoomId},
    shutdown::Shutdown,
    telemetry::Beats,
};
use futures_util::{StreamExt, stream};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use crate::hub::Hub;

/// Rooms that are told at once.
const PIPELINE: usize = 64;
/// Rooms that are told before what has changed meanwhile is looked at.
const BATCH: usize = 256;
/// After how long a change is told: where many come or go together, not all hear of each.
const GATHER: Duration = Duration::from_millis(25);
/// After a failure.
const RETRY: Duration = Duration::from_millis(500);

/// What a server tells of who is here.
#[derive(Debug, Clone)]
pub(crate) struct Presence {
    pub(crate) server: BootId,
    /// When its lease was renewed.
    pub(crate) lease: Beats,
    pub(crate) chat: Chat,
    pub(crate) hub: Hub,
    pub(crate) end: Shutdown,
}

/// The tasks that tell it.
pub(crate) struct Telling([JoinHandle<()>; 2]);

impl Presence {
    /// Tells it until the end: each room of `rooms_changed`, to which `changed` leads, and the lease.
    pub(crate) fn start(
        self,
        changed: mpsc::UnboundedSender<RoomId>,
        rooms_changed: mpsc::UnboundedReceiver<RoomId>,
    ) -> Telling {
        let Self {
            server,
            chat,
            hub,
            end,
            ..
        } = self.clone();
        let telling = tell_changes(server, chat, hub, rooms_changed, end);
        Telling([
            tokio::spawn(self.keep_lease(changed)),
            tokio::spawn(telling),
        ])
    }
}

impl Telling {
    /// Waits for their end.
    pub(crate) async fn ended(self) {
        for task in self.0 {
            let _ = task.await;
        }
    }
}

/// Tells Redis of each room whose number of local members has changed: always the latest number, so
/// that many joins at once cost few calls. Ends between two calls, never within one: a flush that is
/// asked for and not enqueued would keep others from asking.
async fn tell_changes(
    server: BootId,
    chat: Chat,
    hub: Hub,
    mut changed: mpsc::UnboundedReceiver<RoomId>,
    end: Shutdown,
) {
    let mut batch = Vec::new();
    // Rooms whose number has changed since it was told, or may not have been heard, and when it is to be told.
    let mut rooms: HashMap<RoomId, Instant> = HashMap::new();
    loop {
        while let Ok(room) = changed.try_recv() {
            batch.push(room);
        }
        let now = Instant::now();
        for room in batch.drain(..) {
            // An empty room is flushed as soon as that is known.
            let is_empty = hub.members(&room) == 0;
            let due = if is_empty { now } else { now + GATHER };
            let tell_at = rooms.entry(room).or_insert(due);
            *tell_at = due.min(*tell_at);
        }
        let due = rooms.extract_if(|_, tell_at| *tell_at <= now).take(BATCH);
        let due: Vec<_> = due.collect();
        if due.is_empty() {
            let next = rooms.values().min().copied();
            tokio::select! {
                biased;
                count = changed.recv_many(&mut batch, 1000) => if count == 0 { return },
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
                () = end.asked() => return,
            }
            continue;
        }
        let (chat, hub) = (&chat, &hub);
        let outcomes: Vec<_> = stream::iter(due)
            .map(|(room, _)| async move {
                let here = hub.members(&room);
                let done = chat.tell_members(server, &room, here).await;
                (room, done)
            })
            .buffer_unordered(PIPELINE)
            .collect()
            .await;
        let mut failed = None;
        for (room, done) in outcomes {
            if let Err(error) = done {
                failed = Some(error);
                rooms.insert(room, now);
            }
        }
        if let Some(error) = failed {
            tracing::warn!(error = %Chain(&error), rooms = rooms.len(), "cannot tell who is present; trying again");
            tokio::select! {
                () = sleep(RETRY) => {}
                () = end.asked() => return,
            }
        }
    }
}

impl Presence {
    /// Keeps this server's lease, and its rooms in Redis, until the end.
    async fn keep_lease(self, changed: mpsc::UnboundedSender<RoomId>) {
        let Self {
            server,
            lease,
            chat,
            hub,
            end,
        } = self;
        let touch_every = (chat.settings.room_ttl / 3).min(Duration::from_secs(60));
        let mut touched = Instant::now();
        loop {
            let renewed = chat.renew_lease(server).await;
            if renewed.is_ok() {
                lease.beat();
            }
            match renewed {
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
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::{
        chat::{
            archived::Waits,
            bus::{Bus, BusEvent},
        },
        testing::TestChat,
    };

    use super::*;
    use crate::outbox::Outbox;

    /// A hub that hears these events, and the rooms that are to be told.
    fn hub_of(
        chat: &Chat,
        bus: Bus,
        events: mpsc::UnboundedReceiver<BusEvent>,
    ) -> (Hub, mpsc::UnboundedReceiver<RoomId>) {
        let (changed, to_tell) = mpsc::unbounded_channel();
        let waits = Waits::new(chat.clone(), Duration::from_secs(1), 1);
        (
            Hub::start(chat.clone(), bus, waits, events, changed),
            to_tell,
        )
    }

    #[tokio::test]
    async fn after_a_gap_in_what_is_heard_each_room_is_to_be_told_anew() {
        let test = TestChat::start().await;
        let (redis, keys) = (test.queue.redis.clone(), test.queue.keys.clone());
        let (bus, _unheard) = Bus::start(redis, keys);
        let (tell, events) = mpsc::unbounded_channel();
        let (hub, mut to_tell) = hub_of(&test.chat, bus, events);
        let outbox = Arc::new(Outbox::new(1 << 20));
        let room: RoomId = "missed".parse().unwrap();
        hub.enter(&room, hub.connection(), &outbox);
        assert_eq!(to_tell.recv().await, Some(room.clone()));

        tell.send(BusEvent::Resumed).unwrap();

        let told = tokio::time::timeout(Duration::from_secs(20), to_tell.recv()).await;
        assert_eq!(told.ok().flatten(), Some(room));
    }

    #[tokio::test]
    async fn where_many_come_together_few_are_told_of_each_and_all_of_the_last() {
        const MANY: u64 = 50;
        let test = TestChat::start().await;
        let (redis, keys) = (test.queue.redis.clone(), test.queue.keys.clone());
        let (full, quiet) = ("full".parse().unwrap(), "quiet".parse().unwrap());
        let (ears, mut heard) = Bus::start(redis.clone(), keys.clone());
        assert!(ears.subscribe(&full).await && ears.subscribe(&quiet).await);
        let (bus, events) = Bus::start(redis, keys);
        let (hub, to_tell) = hub_of(&test.chat, bus, events);
        let chat = test.chat.clone();
        let (_stop, end) = Shutdown::manual();
        let telling = tell_changes(BootId::fresh(), chat, hub.clone(), to_tell, end);
        tokio::spawn(telling);
        let outbox = Arc::new(Outbox::new(1 << 20));

        let (mut told, begun) = (Vec::new(), Instant::now());
        for _ in 0..MANY {
            hub.enter(&full, hub.connection(), &outbox);
            tokio::task::yield_now().await;
        }
        hub.enter(&quiet, hub.connection(), &outbox);
        let all = BusEvent::Members(full, MANY);
        let alone = BusEvent::Members(quiet, 1);
        while !(told.contains(&all) && told.contains(&alone)) {
            told.push(heard.recv().await.unwrap());
        }

        told.retain(|event| *event != alone);
        let at_most = begun.elapsed().as_millis() / GATHER.as_millis();
        assert!(told.len() as u128 <= at_most, "{told:?}");
    }
}
