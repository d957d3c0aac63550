//! One room's rendered parts, and the reading of what is not kept.

use std::collections::{BTreeMap, HashMap};

use common::{
    chat::{Entry, history::HistoryError, log::Opened},
    id::{MessageId, RoomId},
};
use tokio::time::Instant;

use super::{ARCHIVE_RESTS, Inner, PART_BYTES, READ};

/// One room's parts.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// By the id after which they begin. Between two of them there may be messages.
    pub(super) by_start: BTreeMap<MessageId, Part>,
    /// Up to here it was seen whether messages were edited or deleted.
    pub(super) level: MessageId,
    /// What was told to who joined the room while it was cold, by what was asked: `since` and limit.
    pub(super) cold: HashMap<(Option<MessageId>, usize), Told>,
    /// When the archive was needed last and could not be read.
    failed: Option<Instant>,
}

/// What somebody was told who joined a cold room.
#[derive(Debug)]
pub(super) struct Told {
    /// What the log told.
    log: Opened,
    /// What the archive told further.
    further: Opened,
    at: Instant,
}

impl Told {
    /// Tells it now.
    pub(super) fn now(log: Opened, further: Opened) -> Self {
        let at = Instant::now();
        Self { log, further, at }
    }

    /// What another one is told who asked the same at a moment, and was told `log` by the log: the same, if
    /// nothing has come since.
    pub(super) fn again(&self, asked_at: Instant, log: &Opened) -> Option<Opened> {
        let members = log.members;
        let of_first = Opened {
            members,
            ..self.log.clone()
        };
        // Of a room that has left Redis the log tells nothing: whether it was away meanwhile, only the
        // time can tell.
        let waited = asked_at < self.at && *log == of_first;
        let is_same = !log.warm && (waited || log.top == self.further.top);
        is_same.then(|| Opened {
            members,
            ..self.further.clone()
        })
    }
}

/// A stretch of a room's history, as the protocol shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Each message and where it begins in `json`.
    places: Vec<(MessageId, usize)>,
    /// The messages, with commas in between.
    json: String,
}

impl Parts {
    /// What somebody is told who joins a cold room, if another one was told it who asked the same: see
    /// [`Told::again`].
    pub(super) fn told(
        &self,
        since: Option<MessageId>,
        limit: usize,
        asked_at: Instant,
        log: &Opened,
    ) -> Option<Opened> {
        self.cold.get(&(since, limit))?.again(asked_at, log)
    }

    /// The messages after an id, as many as one part has; those that are not kept are read.
    pub(super) async fn get(
        &mut self,
        inner: &Inner,
        room: &RoomId,
        after: MessageId,
        top: MessageId,
    ) -> Result<Part, HistoryError> {
        if !self.by_start.is_empty() && top > self.level {
            let entries = self.read(inner, room, self.level).await?;
            let follow = entries
                .first()
                .is_some_and(|first| first.prev == self.level);
            if follow && entries.len() < READ {
                self.add(self.level, &entries);
            } else {
                self.by_start.clear();
            }
        }
        if self.by_start.is_empty() {
            self.level = top;
        }
        if let Some(part) = self.find(after) {
            return Ok(part);
        }
        let mut entries = self.read(inner, room, after).await?;
        let next = self.by_start.range(after..).next().map(|(start, _)| *start);
        if let Some(next) = next {
            entries.retain(|entry| entry.id <= next);
        }
        self.add(after, &entries);
        // Where nothing is in between, the next one begins here as well.
        let found = self.find(after).or_else(|| self.find(next?));
        Ok(found.unwrap_or_default())
    }

    async fn read(
        &mut self,
        inner: &Inner,
        room: &RoomId,
        after: MessageId,
    ) -> Result<Vec<Entry>, HistoryError> {
        // Those who waited for one who waited in vain do not wait once more, one after another.
        if self
            .failed
            .is_some_and(|failed| failed.elapsed() < ARCHIVE_RESTS)
        {
            return Err(HistoryError::Late);
        }
        let _permit = inner.reads.acquire().await;
        let read = inner.chat.newer(room, after, READ).await;
        let failed = matches!(read, Err(HistoryError::Archive(_) | HistoryError::Late));
        self.failed = failed.then(Instant::now);
        if failed {
            // They promise what cannot be read now.
            self.cold.clear();
        }
        read
    }

    /// What is kept of the messages after an id, if the next one is.
    fn find(&self, after: MessageId) -> Option<Part> {
        let (_, part) = self.by_start.range(..=after).next_back()?;
        let mut found = part.after(after)?;
        // A small history is one frame, however it came to be kept.
        while let Some(next) = self.by_start.get(&found.last())
            && found.json.len() + next.json.len() < PART_BYTES
        {
            found.append(next);
        }
        Some(found)
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
    pub(super) fn fit(&mut self, bytes: usize) {
        let mut over = self.bytes().saturating_sub(bytes);
        while over > 0
            && let Some((_, part)) = self.by_start.pop_first()
        {
            over = over.saturating_sub(part.bytes());
        }
    }

    /// How many it has.
    pub(super) fn bytes(&self) -> usize {
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
