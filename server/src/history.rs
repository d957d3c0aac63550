//! History as joiners are shown it: rendered parts of rooms, read once for all who ask for them within
//! some seconds. The log and the archive are read by [`common::chat::history`]; next, [`crate::joining`].
//!
//! Messages are only ever added to a room's timeline, so a part stays right, but for edits and deletions,
//! which are added too: when one is seen, the room's parts are dropped.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    chat::{Chat, Entry, history::HistoryError, log::Opened},
    error::Chain,
    id::{MessageId, RoomId},
    kv::KvError,
};
use tokio::time::{Instant, sleep};

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

/// The histories of all rooms that were read lately. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Histories {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    chat: Chat,
    rooms: Mutex<HashMap<RoomId, Arc<Kept>>>,
    /// Bytes of all parts.
    bytes: Arc<AtomicUsize>,
    archive_rests_until: Mutex<Instant>,
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

#[derive(Debug, Default)]
struct Parts {
    /// By the id after which they begin. Between two of them there may be messages.
    by_start: BTreeMap<MessageId, Part>,
    /// Up to here it was seen whether messages were edited or deleted.
    level: MessageId,
    /// What the archive told who joined the room while it was cold, for this limit.
    cold: Option<(usize, Opened)>,
}

/// A stretch of a room's history, as the protocol shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Each message and where it begins in `json`.
    places: Vec<(MessageId, usize)>,
    /// The messages, with commas in between.
    json: String,
}

impl Histories {
    /// Histories of the rooms of `chat`.
    pub(crate) fn start(chat: Chat) -> Self {
        let inner = Arc::new(Inner {
            chat,
            rooms: Mutex::default(),
            bytes: Arc::default(),
            archive_rests_until: Mutex::new(Instant::now()),
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
    /// fails, what the log tells is all there is.
    pub(crate) async fn beginning(
        &self,
        room: &RoomId,
        since: Option<MessageId>,
        limit: usize,
    ) -> Result<Opened, KvError> {
        let Inner { chat, .. } = &*self.inner;
        let opened = chat.log.beginning(room, since, limit).await?;
        if opened.warm && !opened.behind {
            return Ok(opened);
        }
        let kept = self.kept(room);
        let mut parts = kept.parts.lock().await;
        if let Some((of_limit, cold)) = &parts.cold
            && (since, opened.warm, limit) == (None, false, *of_limit)
            && cold.top == opened.top
        {
            let members = opened.members;
            return Ok(Opened {
                members,
                ..cold.clone()
            });
        }
        if *self.archive_rests_until() > Instant::now() {
            return Ok(opened);
        }
        match chat.beginning_further(room, since, limit, opened.clone()).await {
            Ok(further) => {
                let is_cold = since.is_none() && !further.warm;
                parts.cold = is_cold.then(|| (limit, further.clone()));
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

    /// The messages of a room after an id, as many as one part has; `top` is the newest, as far as the
    /// asker knows. Empty if there are none.
    pub(crate) async fn part(
        &self,
        room: &RoomId,
        after: MessageId,
        top: MessageId,
    ) -> Result<Part, HistoryError> {
        let kept = self.kept(room);
        let mut parts = kept.parts.lock().await;
        let part = parts.get(&self.inner.chat, room, after, top).await?;
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

impl Parts {
    async fn get(
        &mut self,
        chat: &Chat,
        room: &RoomId,
        after: MessageId,
        top: MessageId,
    ) -> Result<Part, HistoryError> {
        if !self.by_start.is_empty() && top > self.level {
            let entries = chat.newer(room, self.level, READ).await?;
            let follow = entries
                .first()
                .is_some_and(|first| first.prev == self.level);
            if follow && entries.len() < READ {
                self.add(self.level, &entries);
            } else {
                self.by_start.clear();
            }
        } else if top < self.level {
            self.by_start.clear(); // Redis has lost its newest
        }
        if self.by_start.is_empty() {
            self.level = top;
        }
        if let Some(part) = self.find(after) {
            return Ok(part);
        }
        let mut entries = chat.newer(room, after, READ).await?;
        let next = self.by_start.range(after..).next().map(|(start, _)| *start);
        if let Some(next) = next {
            entries.retain(|entry| entry.id <= next);
        }
        self.add(after, &entries);
        // Where nothing is in between, the next one begins here as well.
        let found = self.find(after).or_else(|| self.find(next?));
        Ok(found.unwrap_or_default())
    }

    /// What is kept of the messages after an id, if the next one is.
    fn find(&self, after: MessageId) -> Option<Part> {
        let (_, part) = self.by_start.range(..=after).next_back()?;
        part.after(after)
    }

    /// Keeps messages that follow an id, without a gap.
    fn add(&mut self, mut after: MessageId, entries: &[Entry]) {
        let newer = entries.iter().filter(|entry| entry.id > self.level);
        if newer.clone().any(Entry::revises) {
            self.by_start.clear();
        }
        for part in Part::split(entries) {
            let last = part.last();
            self.level = self.level.max(last);
            match self.by_start.range_mut(..after).next_back() {
                Some((_, before))
                    if before.last() == after
                        && before.json.len() + part.json.len() < PART_BYTES =>
                {
                    before.append(&part);
                }
                _ => {
                    self.by_start.insert(after, part);
                }
            }
            after = last;
        }
    }

    /// Drops the oldest parts of more bytes than these.
    fn fit(&mut self, bytes: usize) {
        let mut over = self.bytes().saturating_sub(bytes);
        while over > 0
            && let Some((_, part)) = self.by_start.pop_first()
        {
            over = over.saturating_sub(part.bytes());
        }
    }

    fn bytes(&self) -> usize {
        self.by_start.values().map(Part::bytes).sum()
    }
}

impl Part {
    /// Messages in parts of bounded size.
    pub(crate) fn split(entries: &[Entry]) -> impl Iterator<Item = Self> {
        let mut left = entries.iter().peekable();
        std::iter::from_fn(move || {
            let mut part = Self::default();
            while let Some(entry) = left.peek() {
                let size = part.json.len() + entry.rendered_len();
                if !part.places.is_empty() && size > PART_BYTES {
                    break;
                }
                if !part.places.is_empty() {
                    part.json.push(',');
                }
                part.places.push((entry.id, part.json.len()));
                entry.render(&mut part.json);
                left.next();
            }
            (!part.places.is_empty()).then_some(part)
        })
    }

    /// Its messages after an id, if there are any.
    fn after(&self, after: MessageId) -> Option<Self> {
        let first = self.places.partition_point(|(id, _)| *id <= after);
        let (_, begin) = *self.places.get(first)?;
        let places = self.places[first..].iter();
        Some(Self {
            places: places.map(|(id, place)| (*id, place - begin)).collect(),
            json: self.json[begin..].to_owned(),
        })
    }

    fn append(&mut self, other: &Self) {
        self.json.push(',');
        let moved = self.json.len();
        let places = other.places.iter();
        self.places
            .extend(places.map(|(id, place)| (*id, place + moved)));
        self.json.push_str(&other.json);
    }

    /// The newest message; 0 if it is empty.
    pub(crate) fn last(&self) -> MessageId {
        self.places.last().map_or(MessageId::ZERO, |(id, _)| *id)
    }

    /// Its messages, with commas in between.
    pub(crate) fn json(&self) -> &str {
        &self.json
    }

    fn bytes(&self) -> usize {
        self.json.len() + self.places.len() * size_of::<(MessageId, usize)>()
    }
}
