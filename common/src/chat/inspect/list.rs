//! Rooms, page by page: from the sets that Redis has of them, or by a walk over all keys.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use clap::ValueEnum;
use serde::Serialize;

use super::{RoomStatus, Rooms};
use crate::{
    id::{IdError, RoomId},
    kv::KvError,
};

/// Keys that one step of a walk over all looks at.
const STEP: RangeInclusive<usize> = 100..=1000;
/// Rooms that one script call looks at.
const LOOK: usize = 100;
/// No page begins behind so many: numbers are exact up to here.
const FARTHEST: u64 = 1 << 53;
/// Steps for one page at most: it may be empty, and go on.
const STEPS: usize = 20;

/// Which rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// With messages that are not in the archive yet: the longest first.
    Dirty,
    /// With members: server by server.
    Occupied,
    /// Whose jobs go before others': the first to end first.
    Premium,
    /// All that Redis holds something of. This walks over all keys of Redis, so it is slower where there are more.
    All,
}

impl Which {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dirty => "dirty",
            Self::Occupied => "occupied",
            Self::Premium => "premium",
            Self::All => "all",
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a page begins: in which set, and where in it. Rooms that come and go meanwhile may be seen twice or not
/// at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomCursor {
    place: String,
    from: u64,
}

impl fmt::Display for RoomCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.place, self.from)
    }
}

impl FromStr for RoomCursor {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || {
            IdError::new(
                text,
                "a cursor (such as dirty:50); take it from the last page",
            )
        };
        let (place, from) = text.rsplit_once(':').ok_or_else(wrong)?;
        let from = from.parse().ok().filter(|from| *from <= FARTHEST);
        Ok(Self {
            place: place.to_owned(),
            from: from.ok_or_else(wrong)?,
        })
    }
}

crate::id_as_text!(RoomCursor);

/// Some rooms.
#[derive(Debug, Clone, Serialize)]
pub struct RoomPage {
    /// Which.
    pub which: Which,
    /// The rooms.
    pub rooms: Vec<RoomStatus>,
    /// Where the next page begins, if there may be one.
    pub next: Option<RoomCursor>,
}

impl Rooms {
    /// Lists rooms, `limit` or more of them: as many as the last step found. Costs as much as the page is long, but for [`Which::All`], which
    /// looks at twenty thousand keys at most and may find none among them.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn list(
        &self,
        which: Which,
        limit: usize,
        cursor: Option<&RoomCursor>,
    ) -> Result<RoomPage, KvError> {
        let from = cursor.map_or(0, |cursor| cursor.from);
        let (rooms, next) = match which {
            Which::Dirty => self.ranked(which, "-inf", from, limit).await?,
            Which::Premium => {
                let above = format!("({}", self.now_ms().await?);
                self.ranked(which, &above, from, limit).await?
            }
            Which::Occupied => self.occupied(limit, cursor).await?,
            Which::All => self.walk(limit, from).await?,
        };
        Ok(RoomPage { which, rooms, next })
    }

    /// A part of a sorted set of rooms.
    async fn ranked(
        &self,
        which: Which,
        above: &str,
        from: u64,
        limit: usize,
    ) -> Result<(Vec<RoomStatus>, Option<RoomCursor>), KvError> {
        let key = match which {
            Which::Premium => self.keys.premium(),
            _ => self.keys.dirty(),
        };
        let mut range = redis::cmd("ZRANGE");
        range.arg(key).arg(above).arg("+inf").arg("BYSCORE");
        range.arg("LIMIT").arg(from).arg(limit);
        let names: Vec<String> = self.redis.read("list rooms", &range).await?;
        let next = (names.len() == limit).then(|| RoomCursor {
            place: which.name().to_owned(),
            from: from + limit as u64,
        });
        Ok((self.show_all(&known(&names)).await?, next))
    }

    /// The rooms of each server whose lease runs. One with members on several is told of the first of them.
    async fn occupied(
        &self,
        limit: usize,
        cursor: Option<&RoomCursor>,
    ) -> Result<(Vec<RoomStatus>, Option<RoomCursor>), KvError> {
        let mut servers: Vec<_> = self.overview().await?.servers;
        servers.sort_by(|one, other| one.id.cmp(&other.id));
        let begin = cursor.map_or("", |cursor| cursor.place.as_str());
        let mut servers = servers.into_iter().map(|server| server.id);
        let mut server = servers.find(|id| id.as_str() >= begin);
        let mut from = cursor
            .filter(|cursor| Some(&cursor.place) == server.as_ref())
            .map_or(0, |cursor| cursor.from);
        let mut rooms = Vec::new();
        for _ in 0..STEPS {
            let Some(here) = &server else { break };
            if rooms.len() >= limit {
                break;
            }
            let scan = redis::cmd("SSCAN").arg(self.rooms_of(here)).clone();
            let (next, names) = self.scan(&scan, from, limit, None).await?;
            let found = self.show_all(&known(&names)).await?;
            let is_told_here =
                |room: &RoomStatus| room.members_by_server.keys().next() == Some(here);
            rooms.extend(found.into_iter().filter(is_told_here));
            from = next;
            if next == 0 {
                server = servers.next();
            }
        }
        let next = server.map(|place| RoomCursor { place, from });
        Ok((rooms, next))
    }

    /// Walks over all keys of Redis, a bounded part of them.
    async fn walk(
        &self,
        limit: usize,
        mut from: u64,
    ) -> Result<(Vec<RoomStatus>, Option<RoomCursor>), KvError> {
        let (before, after) = (format!("{}room:", self.keys.prefix()), ":meta");
        let pattern = format!("{}*{after}", escaped(&before));
        // A page of few rooms takes small steps: a step's rooms are all told of.
        let step = limit.saturating_mul(10).clamp(*STEP.start(), *STEP.end());
        let mut rooms = Vec::new();
        for _ in 0..STEPS {
            let (next, names) = self
                .scan(&redis::cmd("SCAN"), from, step, Some(&pattern))
                .await?;
            let name = |key: String| {
                let name = key.strip_prefix(&before)?.strip_suffix(after)?;
                Some(name.to_owned())
            };
            let names: Vec<_> = names.into_iter().filter_map(name).collect();
            for some in known(&names).chunks(LOOK) {
                rooms.extend(self.show_all(some).await?);
            }
            from = next;
            if from == 0 || rooms.len() >= limit {
                break;
            }
        }
        let next = (from != 0).then(|| RoomCursor {
            place: Which::All.name().to_owned(),
            from,
        });
        Ok((rooms, next))
    }

    async fn scan(
        &self,
        command: &redis::Cmd,
        from: u64,
        count: usize,
        pattern: Option<&str>,
    ) -> Result<(u64, Vec<String>), KvError> {
        let mut scan = command.clone();
        scan.arg(from).arg("COUNT").arg(count);
        if let Some(pattern) = pattern {
            scan.arg("MATCH").arg(pattern);
        }
        self.redis.read("walk over rooms", &scan).await
    }
}

/// A text as a pattern that nothing else fits.
fn escaped(text: &str) -> String {
    let special = |c: char| "*?[]^\\".contains(c);
    let escaped = |c: char| special(c).then_some('\\').into_iter().chain([c]);
    text.chars().flat_map(escaped).collect()
}

/// What somebody has written by hand and is no room's name is passed over.
fn known(names: &[String]) -> Vec<RoomId> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}
