//! Report: how attempts end, told in one place: to the metrics, to the totals by task, and to whoever follows
//! ([`super::tail`]). Before this, [`super::run`] came to a verdict; the totals go to Redis with the next
//! [`super::heartbeat`], and [`super::inspect::tasks`] shows them.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Histogram};

use super::{
    JobId,
    inspect::Times,
    registry::Entry,
    settle::Verdict,
    tail::{self, Event, Kind, Tail},
    turn::Claimed,
};
use crate::id::BootId;

/// How an attempt of a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    Retried,
    Buried,
    Cancelled,
    Expired,
}

impl Ending {
    const ALL: [Self; 5] = [
        Self::Done,
        Self::Retried,
        Self::Buried,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Its name in metrics, totals and events.
    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retried => "retried",
            Self::Buried => "buried",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Done => Kind::Done,
            Self::Retried => Kind::Retried,
            Self::Buried => Kind::Buried,
            Self::Cancelled => Kind::Cancelled,
            Self::Expired => Kind::Expired,
        }
    }

    /// The end that a verdict is, and its reason; none if the attempt did not come to one.
    fn of(verdict: &Verdict) -> Option<(Self, &str)> {
        match verdict {
            Verdict::Done => Some((Self::Done, "")),
            Verdict::Retry { error, .. } => Some((Self::Retried, error)),
            Verdict::Bury { error } => Some((Self::Buried, error)),
            Verdict::Cancel { reason } => Some((Self::Cancelled, reason)),
            Verdict::Expire { reason } => Some((Self::Expired, reason)),
            Verdict::Back | Verdict::Park => None,
        }
    }
}

/// What is counted of one task in this process.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Since the last beat that Redis heard.
    ends: [AtomicU64; Ending::ALL.len()],
    ran_us: AtomicU64,
    waited_ms: AtomicU64,
    /// Made at the first use: only then is there somebody who collects them.
    meters: OnceLock<Meters>,
}

/// The metrics of one task.
#[derive(Debug)]
struct Meters {
    ends: [Counter; Ending::ALL.len()],
    seconds: Histogram,
}

impl Meters {
    fn of(task: &'static str) -> Self {
        let counter = |ending: Ending| metrics::counter!("rhubarb_jobs_total", "task" => task, "outcome" => ending.name());
        Self {
            ends: Ending::ALL.map(counter),
            seconds: metrics::histogram!("rhubarb_job_seconds", "task" => task),
        }
    }
}

impl Tally {
    fn count(&self, task: &'static str, ending: Ending, took: Option<Duration>, waited: u64) {
        let meters = self.meters.get_or_init(|| Meters::of(task));
        self.ends[ending as usize].fetch_add(1, Ordering::Relaxed);
        self.waited_ms.fetch_add(waited, Ordering::Relaxed);
        meters.ends[ending as usize].increment(1);
        if let Some(took) = took {
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.ran_us.fetch_add(us, Ordering::Relaxed);
            meters.seconds.record(took.as_secs_f64());
        }
    }

    /// Takes what was counted: for the fields of `tasks`.
    pub(super) fn take(&self) -> Vec<(&'static str, u64)> {
        let ends = Ending::ALL.iter().zip(&self.ends);
        let counts = ends.map(|(ending, count)| (ending.name(), count));
        let sums = [("ran_us", &self.ran_us), ("waited_ms", &self.waited_ms)];
        counts
            .chain(sums)
            .map(|(name, count)| (name, count.swap(0, Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Puts back what could not be told.
    pub(super) fn give_back(&self, counts: &[(&'static str, u64)]) {
        for (name, count) in counts {
            let ending = Ending::ALL.iter().position(|ending| ending.name() == *name);
            let place = match (ending, *name) {
                (Some(ending), _) => &self.ends[ending],
                (None, "ran_us") => &self.ran_us,
                (None, _) => &self.waited_ms,
            };
            place.fetch_add(*count, Ordering::Relaxed);
        }
    }
}

/// One attempt that is being made, to be told of.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    tail: &'a Tail,
    worker: BootId,
    id: JobId,
    task: &'a str,
    number: u32,
    claimed_ms: u64,
    waited_ms: u64,
    began: std::time::Instant,
}

impl<'a> Attempt<'a> {
    /// The attempt for which a job was claimed; told to whoever follows.
    pub(super) fn begun(
        tail: &'a Tail,
        worker: BootId,
        claimed: &Claimed,
        body: &str,
        task: &'a str,
    ) -> Self {
        let claimed_ms = claimed.lease.claimed_ms();
        let attempt = Self {
            tail,
            worker,
            id: claimed.id,
            task,
            number: claimed.lease.attempt(),
            claimed_ms,
            waited_ms: waited(claimed, body),
            began: std::time::Instant::now(),
        };
        attempt.tail.tell(|| Event {
            waited_ms: Some(attempt.waited_ms),
            ..attempt.event(Kind::Claimed)
        });
        attempt
    }

    /// Tells how it ended. It took no time if its task was not run.
    pub(super) fn ended(&self, entry: &Entry, verdict: &Verdict, took: Option<Duration>) {
        let Some((ending, reason)) = Ending::of(verdict) else {
            return self.put_aside(verdict);
        };
        entry.tally.count(entry.name, ending, took, self.waited_ms);
        self.tail.tell(|| Event {
            took_ms: took.map(|took| took.as_secs_f64() * 1000.0),
            error: (!reason.is_empty()).then(|| tail::cut(reason)),
            ..self.event(ending.kind())
        });
    }

    /// Tells that it was parked or waits again.
    pub(super) fn put_aside(&self, verdict: &Verdict) {
        let kind = match verdict {
            Verdict::Park => Kind::Parked,
            _ => Kind::Released,
        };
        self.tail.tell(|| self.event(kind));
    }

    fn event(&self, kind: Kind) -> Event {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Event {
            // By Redis's clock, as far as the answer was quick.
            at_ms: self.claimed_ms.saturating_add(since),
            job: Some(self.id.to_string()),
            task: Some(self.task.to_owned()),
            worker: Some(self.worker.to_string()),
            attempt: Some(self.number),
            ..Event::of(kind)
        }
    }
}

/// How long a job waited before its first attempt, from the time at which it might run, by Redis's clock. Of later
/// attempts that is not known here.
fn waited(claimed: &Claimed, body: &str) -> u64 {
    if claimed.lease.attempt() > 1 || claimed.lease.has_record() {
        return 0;
    }
    let times = Times::of(body);
    let since = times.made.max(times.due);
    since.map_or(0, |since| claimed.lease.claimed_ms().saturating_sub(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_told_is_told_with_the_next_beat() {
        let tally = Tally::default();
        tally.count("t", Ending::Done, Some(Duration::from_millis(2)), 7);
        tally.count("t", Ending::Retried, None, 0);

        let counts = tally.take();
        let all = [
            ("done", 1),
            ("retried", 1),
            ("ran_us", 2000),
            ("waited_ms", 7),
        ];
        assert_eq!(counts, all);
        assert!(tally.take().is_empty());
        tally.give_back(&counts);
        assert_eq!(tally.take(), all);
    }
}
