//! Jobs by state, page by page.

use std::{fmt, str::FromStr, sync::LazyLock};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Entry, Inspector, ONLY_LOOKS, PLACES, Times, claimed_ms, score, task_and_args, tries};
use crate::{
    id::IdError,
    kv::{KvError, Script},
    queue::{Body, JobId, Queue, dead::Filter, turn::Lease},
};

static JOBS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "list jobs",
        &[
            ONLY_LOOKS,
            crate::queue::LIB,
            PLACES,
            include_str!("../lua/jobs.lua"),
        ],
    )
});

/// Jobs that one script call reads at most.
const CHUNK: usize = 100;
/// Calls for one page at most: leftovers in a list make pages shorter, not slower.
const CALLS: usize = 50;
/// Lanes that are looked through at most.
const LANES: usize = 1000;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In line.
    Waiting,
    /// In the line of its lane.
    Laned,
    /// For its time to come.
    Scheduled,
    /// With a worker.
    Claimed,
    /// For a worker to come that knows them.
    Parked,
    /// Kept for somebody to look at.
    Dead,
}

impl State {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Laned => "laned",
            Self::Scheduled => "scheduled",
            Self::Claimed => "claimed",
            Self::Parked => "parked",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No page begins behind so many: numbers are exact up to here.
pub(super) const FARTHEST: usize = 1 << 53;

/// Where a page begins: a place (a queue, a lane, a worker, a kind, or the name of the state) and how many of its jobs
/// come before. Jobs that move meanwhile may be seen twice or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    place: String,
    from: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.place, self.from)
    }
}

impl FromStr for Cursor {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || {
            IdError::new(
                text,
                "a cursor (such as high:50); take it from the last page",
            )
        };
        let (place, from) = text.rsplit_once(':').ok_or_else(wrong)?;
        let from = from.parse().ok().filter(|from| *from <= FARTHEST);
        let from = from.ok_or_else(wrong)?;
        Ok(Self {
            place: place.to_owned(),
            from,
        })
    }
}

crate::id_as_text!(Cursor);

/// Which jobs to list.
#[derive(Debug, Clone)]
pub struct Listing {
    /// In this state.
    pub state: State,
    /// Of those that wait: in this queue. All, by priority, if not set.
    pub queue: Option<Queue>,
    /// Of those in lanes: in this one. If not set, in all, but for those beyond the first thousand lanes.
    pub lane: Option<String>,
    /// Those that fit; the time of burial counts for the dead only. Such a page is of the first few thousand jobs
    /// from the cursor on, and the next goes on behind them.
    pub filter: Filter,
    /// How many at most; with a filter, there may be up to a hundred more.
    pub limit: usize,
    /// From the beginning, if not set.
    pub cursor: Option<Cursor>,
}

/// Some jobs in one state: next to run first; of the dead, the latest first.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// When this was so.
    pub now_ms: u64,
    /// The state.
    pub state: State,
    /// The jobs.
    pub jobs: Vec<Row>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// One job on a page.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// Name of its task; none if its body cannot be read.
    pub task: Option<String>,
    /// What the task runs on.
    pub args: Option<Box<RawValue>>,
    /// The master whose child it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_of: Option<JobId>,
    /// Attempts so far, that which runs included.
    pub attempts: u32,
    /// Workers that died while they ran it.
    pub deaths: u32,
    /// When it was enqueued.
    pub enqueued_ms: Option<u64>,
    /// Since when it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since_ms: Option<u64>,
    /// The lane in whose line it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// When it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// Who runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Since when it is run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_ms: Option<u64>,
    /// When it was parked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_ms: Option<u64>,
    /// When it was buried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buried_ms: Option<u64>,
    /// Why its last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

type Found = (String, String, String, String, Vec<u8>);

impl Inspector {
    /// Lists jobs. Costs as much as the page is long.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn jobs(&self, listing: &Listing) -> Result<Page, KvError> {
        let mut page = Page {
            now_ms: 0,
            state: listing.state,
            jobs: Vec::new(),
            next: None,
        };
        let places = self.places(listing).await?;
        let (mut from, mut places) = match &listing.cursor {
            Some(Cursor { place, from }) if places.contains(place) => {
                let at = places.iter().position(|p| p == place).unwrap_or(0);
                (*from, places[at..].iter())
            }
            _ => (0, places.iter()),
        };
        let mut place = places.next();
        for _ in 0..CALLS {
            let Some(here) = place else { break };
            let room = listing.limit.saturating_sub(page.jobs.len());
            if room == 0 {
                break;
            }
            let wanted = if listing.filter == Filter::default() {
                CHUNK.min(room)
            } else {
                CHUNK
            };
            let more = self
                .read_into(&mut page, listing, here, &mut from, wanted)
                .await?;
            if !more {
                (place, from) = (places.next(), 0);
            }
        }
        page.next = place.map(|place| Cursor {
            place: place.clone(),
            from,
        });
        Ok(page)
    }

    async fn read_into(
        &self,
        page: &mut Page,
        listing: &Listing,
        place: &str,
        from: &mut usize,
        wanted: usize,
    ) -> Result<bool, KvError> {
        let mut call = JOBS.on(self.keys.prefix());
        call.arg(page.state.name())
            .arg(place)
            .arg(*from)
            .arg(wanted);
        let (now_ms, passed, more, found): (u64, usize, u8, Vec<Found>) =
            call.run(&self.redis).await?;
        page.now_ms = now_ms;
        let mut rows = found.into_iter().map(|job| row(page.state, place, job));
        if page.state != State::Dead {
            *from += passed;
            page.jobs
                .extend(rows.filter(|row| row.fits(&listing.filter)));
            return Ok(more == 1);
        }
        while page.jobs.len() < listing.limit
            && let Some(row) = rows.next()
        {
            *from += 1;
            let buried_ms = row.buried_ms.unwrap_or(0);
            if listing
                .filter
                .since_ms
                .is_some_and(|since| buried_ms < since)
            {
                return Ok(false); // all others died earlier
            }
            if row.fits(&listing.filter) {
                page.jobs.push(row);
            }
        }
        Ok(more == 1 || rows.len() > 0)
    }

    /// The keys that hold jobs in a state, in the order in which they are read.
    async fn places(&self, listing: &Listing) -> Result<Vec<String>, KvError> {
        match listing.state {
            State::Waiting => Ok(Queue::ALL
                .into_iter()
                .filter(|queue| listing.queue.is_none_or(|wanted| wanted == *queue))
                .map(|queue| queue.to_string())
                .collect()),
            State::Laned => match &listing.lane {
                Some(lane) => Ok(vec![lane.clone()]),
                None => self.lane_names(0, LANES).await,
            },
            State::Claimed => {
                let key = self.keys.workers();
                self.names("list the workers", &["ZRANGE", &key, "0", "-1"])
                    .await
            }
            State::Parked => {
                let key = self.keys.parked();
                self.names("list the kinds of parked jobs", &["SMEMBERS", &key])
                    .await
            }
            State::Scheduled | State::Dead => Ok(vec![listing.state.to_string()]),
        }
    }

    /// What a command answers, sorted.
    async fn names(&self, doing: &'static str, words: &[&str]) -> Result<Vec<String>, KvError> {
        let mut connection = self.redis.connection().await?;
        let mut command = redis::Cmd::new();
        command.arg(words);
        let names = command.query_async(&mut connection).await;
        let mut names: Vec<String> = names.map_err(|source| self.redis.failed(doing, source))?;
        names.sort_unstable();
        Ok(names)
    }
}

impl Row {
    fn fits(&self, filter: &Filter) -> bool {
        let queue = filter
            .queue
            .is_none_or(|queue| self.id.starts_with(queue.name()));
        queue
            && self.buried_ms.is_none_or(|ms| filter.fits_time(ms))
            && (filter.task.is_none() || filter.task == self.task)
            && (filter.group.is_none() || filter.group == self.child_of)
            && filter.fits_error(self.error.as_deref())
    }
}

fn row(state: State, place: &str, (id, detail, before, entry, body): Found) -> Row {
    let body = String::from_utf8_lossy(&body);
    let (task, args) = task_and_args(&body);
    let (attempts, deaths) = tries(&before);
    let times = Times::of(&body);
    let last = Entry::read(&entry);
    let child_of = Body::read(&body).ok().and_then(|body| body.group);
    let mut row = Row {
        id,
        child_of,
        task,
        args,
        attempts,
        deaths,
        enqueued_ms: times.made,
        ..Row::default()
    };
    match state {
        State::Waiting => row.waiting_since_ms = times.waiting_since(last.as_ref()),
        State::Laned => {
            row.waiting_since_ms = times.waiting_since(last.as_ref());
            row.lane = Some(place.to_owned());
        }
        State::Scheduled => row.due_ms = score(&detail),
        State::Parked => row.parked_ms = score(&detail),
        State::Dead => row.buried_ms = score(&detail),
        State::Claimed => {
            row.attempts = Lease::from(detail.as_str()).attempt();
            row.worker = Some(place.to_owned());
            row.claimed_ms = claimed_ms(&detail);
        }
    }
    row.error = last.and_then(|entry| entry.error);
    row
}
