//! History as joiners are shown it: rendered parts of rooms, read once for all who ask for them within
//! some seconds. The log and the archive are read by [`common::chat::history`]; next, [`crate::joining`].
//!
//! Messages are only ever added to a room's timeline, so a part stays right, but for edits and deletions,
//! which are added too: when one is seen, the room's parts are dropped.

mod looks;
mod parts;
#[cfg(test)]
mod test;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    chat::{Chat, history::HistoryError, log::Opened},
    error::Chain,
    id::{MessageId, RoomId},
    kv::KvError,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use looks::Looks;
pub(crate) use parts::Part;
use parts::{Parts, Told};

/// Messages that are read at once.
pub(crate) const READ: usize = 500;
/// A part has so many bytes at most, unless one message has more.
const PART_BYTES: usize = 64 * 1024;
/// Bytes that all kept parts may have together.
const KEPT_BYTES: usize = 32 << 20;
/// How long a room's parts are kept after their last use.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// After the archive could not be asked, how long nobody asks it.
const ARCHIVE_RESTS: Duration = Duration::from_secs(1);
/// Answers of the archive that are kept of a cold room.
const COLD_ANSWERS: usize = 16;
/// Rooms that are read at once: what is being read takes memory, too.
const READS: usize = 8;

/// The histories of all rooms that were read lately. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Histories {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    chat: Chat,
    rooms: Mutex<HashMap<RoomId, Arc<Kept>>>,
    looks: Looks<Opened>,
    /// Bytes of all parts.
    bytes: Arc<AtomicUsize>,
    archive_rests_until: Mutex<Instant>,
    reads: Semaphore,
}

/// One room's parts.
#[derive(Debug)]
struct Kept {
    /// Held while the room is read, so that all who wait share what is found.
    parts: tokio::sync::Mutex<Parts>,
    used: Mutex<Instant>,
    bytes: AtomicUsize,
    bytes_of_all: Arc<AtomicUsize>,
}

impl Histories {
    /// Histories of the rooms of `chat`.
    pub(crate) fn start(chat: Chat) -> Self {
        let inner = Arc::new(Inner {
            chat,
            rooms: Mutex::default(),
            looks: Looks::default(),
            bytes: Arc::default(),
            archive_rests_until: Mutex::new(Instant::now()),
            reads: Semaphore::new(READS),
        });
        let sweeping = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                sleep(KEPT_FOR / 2).await;
                let Some(inner) = sweeping.upgrade() else {
                    return;
                };
                inner
                    .rooms()
                    .retain(|_, kept| kept.used().elapsed() < KEPT_FOR);
            }
        });
        Self { inner }
    }

    /// Where a room's history begins for a joiner. Where only the archive can tell, it is asked; if that
    /// fails, what the log tells is all there is. Found once for all who ask the same at once.
    pub(crate) async fn beginning(
        &self,
        room: &RoomId,
        since: Option<MessageId>,
        limit: usize,
    ) -> Result<Opened, KvError> {
        let find = || self.find_beginning(room, since, limit);
        let question = (room.clone(), since, limit);
        self.inner.looks.share(question, find).await
    }

    async fn find_beginning(
        &self,
        room: &RoomId,
        since: Option<MessageId>,
        limit: usize,
    ) -> Result<Opened, KvError> {
        let chat = &self.inner.chat;
        let asked_at = Instant::now();
        let mut opened = chat.log.beginning(room, since, limit).await?;
        if opened.warm && !opened.behind {
            return self.unless_lost(room, since, limit, opened).await;
        }
        let kept = self.kept(room);
        let waited = kept.parts.try_lock().is_err();
        let mut parts = kept.parts.lock().await;
        let mut told = parts.told(since, limit, asked_at, &opened);
        if told.is_none() && waited {
            // Somebody else was asking the archive: most who waited have it from Redis now.
            drop(parts);
            opened = chat.log.beginning(room, since, limit).await?;
            if opened.warm && !opened.behind {
                return self.unless_lost(room, since, limit, opened).await;
            }
            parts = kept.parts.lock().await;
            told = parts.told(since, limit, asked_at, &opened);
        }
        if let Some(told) = told {
            return Ok(told);
        }
        if *self.archive_rests_until() > Instant::now() {
            return Ok(opened);
        }
        match chat
            .beginning_further(room, since, limit, opened.clone())
            .await
        {
            Ok(further) => {
                // Those whose server ended come back at once, most of them from the same message on.
                if further.warm || parts.cold.len() >= COLD_ANSWERS {
                    parts.cold.clear();
                }
                if !further.warm {
                    let told = Told::now(opened, further.clone());
                    parts.cold.insert((since, limit), told);
                }
                Ok(further)
            }
            Err(HistoryError::Redis(error)) => Err(error),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), room.id = %room, "cannot ask the archive for a room's history");
                *self.archive_rests_until() = Instant::now() + ARCHIVE_RESTS;
                Ok(opened)
            }
        }
    }

    /// Drops what is kept of a room if Redis has lost the end of it.
    async fn unless_lost(
        &self,
        room: &RoomId,
        since: Option<MessageId>,
        limit: usize,
        opened: Opened,
    ) -> Result<Opened, KvError> {
        let kept = self.inner.rooms().get(room).cloned();
        let Some(kept) = kept else { return Ok(opened) };
        let Ok(mut parts) = kept.parts.try_lock() else {
            return Ok(opened); // whoever reads it sees as much
        };
        if parts.by_start.is_empty() || opened.top >= parts.level {
            return Ok(opened);
        }
        // Or somebody else has read on meanwhile.
        let again = self.inner.chat.log.beginning(room, since, limit).await?;
        if again.top < parts.level {
            parts.by_start.clear();
            parts.level = again.top;
        }
        Ok(again)
    }

    /// The messages of a room after an id, as many as one part has; `top` is the newest, as far as the
    /// asker knows. Empty if there are none.
    pub(crate) async fn part(
        &self,
        room: &RoomId,
        after: MessageId,
        top: MessageId,
    ) -> Result<Part, HistoryError> {
        if after >= top {
            return Ok(Part::default()); // nothing was missed, or nothing was ever said
        }
        let kept = self.kept(room);
        let mut parts = kept.parts.lock().await;
        let part = parts.get(&self.inner, room, after, top).await?;
        parts.fit(KEPT_BYTES / 4);
        kept.count(parts.bytes());
        drop(parts);
        if self.inner.bytes.load(Ordering::Relaxed) > KEPT_BYTES {
            self.make_room();
        }
        Ok(part)
    }

    /// As [`Self::part`], of what is in the log alone: in a cold room there may be holes before it.
    pub(crate) async fn part_of_log(
        &self,
        room: &RoomId,
        after: MessageId,
    ) -> Result<Part, HistoryError> {
        let (entries, _) = self.inner.chat.log.after(room, after, READ).await?;
        Ok(Part::split(&entries).next().unwrap_or_default())
    }

    fn kept(&self, room: &RoomId) -> Arc<Kept> {
        let mut rooms = self.inner.rooms();
        let kept = rooms.entry(room.clone()).or_insert_with(|| {
            Arc::new(Kept {
                parts: tokio::sync::Mutex::default(),
                used: Mutex::new(Instant::now()),
                bytes: AtomicUsize::new(0),
                bytes_of_all: Arc::clone(&self.inner.bytes),
            })
        });
        *kept.used() = Instant::now();
        Arc::clone(kept)
    }

    /// Drops the rooms that were not used for the longest time, until a quarter is free.
    fn make_room(&self) {
        let mut rooms = self.inner.rooms();
        let mut by_use: Vec<_> = rooms
            .iter()
            .map(|(room, kept)| (*kept.used(), room.clone()))
            .collect();
        by_use.sort_unstable();
        for (_, room) in by_use {
            if self.inner.bytes.load(Ordering::Relaxed) <= KEPT_BYTES / 4 * 3 {
                return;
            }
            rooms.remove(&room);
        }
    }

    fn archive_rests_until(&self) -> MutexGuard<'_, Instant> {
        lock(&self.inner.archive_rests_until)
    }
}

impl Inner {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<Kept>>> {
        lock(&self.rooms)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn used(&self) -> MutexGuard<'_, Instant> {
        lock(&self.used)
    }

    fn count(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.bytes_of_all.fetch_add(bytes, Ordering::Relaxed);
        self.bytes_of_all.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.count(0);
    }
}
