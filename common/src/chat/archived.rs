//! Archived: waiting until a message is in the archive. One task per room with somebody who waits asks for
//! the room's flush, again when one has ended and not before, so that many who wait make few flushes. It
//! tells those whose message it has seen in the archive itself, not only below the watermark: Redis may
//! have lost the message between the two.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use super::{Chat, RoomLog, ask::AskError};
use crate::{
    error::Chain,
    id::{MessageId, RoomId},
    kv::KvError,
    pg::PgError,
};

/// Between two looks, in case the word that the room was flushed did not come, or the ask failed.
const LOOK: Duration = Duration::from_millis(250);
/// After a ring: what comes meanwhile is looked after with it.
const LINGER: Duration = Duration::from_millis(2);

/// A message was not seen in the archive in time. It is kept, and will be archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "kept in Redis, and not in the archive so far; it will be: send it again with the same clientId to wait for it"
)]
pub struct NotArchived;

/// Who waits in this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    chat: Chat,
    patience: Duration,
    most: usize,
    rooms: Mutex<HashMap<RoomId, Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// A message may be waited for more than once: it was sent again.
    waiters: BTreeMap<(MessageId, u64), oneshot::Sender<()>>,
    next: u64,
    ring: Arc<Notify>,
}

/// One who waits; forgotten when dropped.
struct Place<'a> {
    waits: &'a Waits,
    room: &'a RoomId,
    key: (MessageId, u64),
}

/// Why a look told nothing.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Redis(#[from] KvError),
    #[error(transparent)]
    Archive(#[from] PgError),
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl Waits {
    /// Nobody waits so far. Each waits for `patience` at most, and `most` in one room.
    pub fn new(chat: Chat, patience: Duration, most: usize) -> Self {
        let rooms = Mutex::default();
        let inner = Inner {
            chat,
            patience,
            most: most.max(1),
            rooms,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Waits until a message is in the archive, and has its room flushed for it.
    ///
    /// # Errors
    /// If that takes too long, or too many wait already.
    pub async fn archived(&self, room: &RoomId, id: MessageId) -> Result<(), NotArchived> {
        let (place, told) = self.enter(room, id).ok_or(NotArchived)?;
        let told = timeout(self.inner.patience, told).await;
        drop(place);
        match told {
            Ok(Ok(())) => Ok(()),
            _ => Err(NotArchived),
        }
    }

    /// A room was flushed: what the bus tells.
    pub fn heard(&self, room: &RoomId) {
        if let Some(waiting) = self.rooms().get(room) {
            waiting.ring.notify_one();
        }
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        let rooms = self.rooms();
        rooms.values().map(|waiting| waiting.waiters.len()).sum()
    }

    fn enter<'a>(
        &'a self,
        room: &'a RoomId,
        id: MessageId,
    ) -> Option<(Place<'a>, oneshot::Receiver<()>)> {
        let (tell, told) = oneshot::channel();
        let mut rooms = self.rooms();
        let is_first = !rooms.contains_key(room);
        let waiting = rooms.entry(room.clone()).or_default();
        if waiting.waiters.len() >= self.inner.most {
            return None;
        }
        waiting.next += 1;
        let key = (id, waiting.next);
        waiting.waiters.insert(key, tell);
        waiting.ring.notify_one();
        if is_first {
            let ring = Arc::clone(&waiting.ring);
            tokio::spawn(self.clone().look_after(room.clone(), ring));
        }
        let waits = self;
        Some((Place { waits, room, key }, told))
    }

    /// Has a room flushed until nobody waits for it.
    async fn look_after(self, room: RoomId, ring: Arc<Notify>) {
        let mut well = true;
        while !self.forget_if_empty(&room) {
            if timeout(LOOK, ring.notified()).await.is_ok() {
                tokio::time::sleep(LINGER).await;
            }
            match self.look(&room).await {
                Ok(()) => well = true,
                Err(error) if std::mem::replace(&mut well, false) => {
                    tracing::warn!(error = %Chain(&error), room.id = %room, "cannot tell what of {room} is archived; trying again");
                }
                Err(_) => {}
            }
        }
    }

    /// Tells those whose message is in the archive; asks for a flush if somebody is left.
    async fn look(&self, room: &RoomId) -> Result<(), LookError> {
        let chat = &self.inner.chat;
        let archived = chat.log.archived_up_to(room).await?;
        let ids = self.waited_for(room, archived);
        if !ids.is_empty() {
            let found = chat.archive.which(room, &ids).await?;
            self.tell(room, &found);
        }
        if !self.waited_for(room, MessageId::MAX).is_empty() {
            chat.ask_flush(room).await?;
        }
        Ok(())
    }

    /// What is waited for up to an id.
    fn waited_for(&self, room: &RoomId, to: MessageId) -> Vec<MessageId> {
        let rooms = self.rooms();
        let waiters = rooms.get(room).into_iter().flat_map(|of| of.waiters.keys());
        let ids = waiters.map(|(id, _)| *id);
        let mut ids: Vec<_> = ids.take_while(|id| *id <= to).collect();
        ids.dedup();
        ids
    }

    fn tell(&self, room: &RoomId, archived: &[MessageId]) {
        let mut rooms = self.rooms();
        let Some(waiting) = rooms.get_mut(room) else {
            return;
        };
        for id in archived {
            while let Some(key) = waiting.first_of(*id) {
                if let Some(tell) = waiting.waiters.remove(&key) {
                    let _ = tell.send(());
                }
            }
        }
    }

    fn forget_if_empty(&self, room: &RoomId) -> bool {
        let mut rooms = self.rooms();
        let empty = rooms.get(room).is_none_or(|of| of.waiters.is_empty());
        if empty {
            rooms.remove(room);
        }
        empty
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Waiting>> {
        let rooms = &self.inner.rooms;
        rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn first_of(&self, id: MessageId) -> Option<(MessageId, u64)> {
        let all_of = (id, 0)..=(id, u64::MAX);
        self.waiters.range(all_of).next().map(|(key, _)| *key)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waits.rooms().get_mut(self.room) {
            waiting.waiters.remove(&self.key);
        }
    }
}

impl RoomLog {
    /// The id up to which a room should be in the archive: its watermark, or all if it has nothing new.
    async fn archived_up_to(&self, room: &RoomId) -> Result<MessageId, KvError> {
        let mut connection = self.redis.connection().await?;
        let (watermark, dirty): (Option<MessageId>, Option<f64>) = redis::pipe()
            .atomic()
            .hget(self.keys.meta(room), "watermark")
            .zscore(self.keys.dirty(), room.as_str())
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("read a room's watermark", source))?;
        if dirty.is_none() {
            return Ok(MessageId::MAX);
        }
        Ok(watermark.unwrap_or_default())
    }
}
