//! Periodic tasks: enqueued again and again by a timetable, each tick once, by whichever worker is quickest.
//! There is no leader to lose: every worker knows the timetable, and Redis takes each tick once
//! (`lua/tick.lua`). Time is Redis's: a worker's own clock may be wrong by minutes.
//!
//! [`timetable`] tells the ticks; `ticker` is what a worker does about them; [`entries`] is what people ask
//! and change. `docs/periodic.md` tells how to use it.

pub mod entries;
pub(super) mod ticker;
pub mod timetable;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Body, EnqueueError, Queue, Task, asked::body_for};
use timetable::{Timetable, TimetableError};

/// A job's body, made for a tick.
type Make = Box<dyn Fn() -> Result<Body<'static>, EnqueueError> + Send + Sync>;

/// A task that is enqueued by a timetable.
///
/// Every worker that runs a registry with it takes part. Its name is what makes ticks one: it is the
/// task's name unless [`Self::named`] says otherwise, which it must if one task is in several timetables.
pub struct Periodic {
    name: String,
    queue: Queue,
    timetable: Timetable,
    missed: Missed,
    overlap: Overlap,
    task: &'static str,
    make: Make,
}

/// What becomes of ticks that no worker was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// They are passed over.
    Skip,
    /// The latest of them runs, the others are passed over.
    #[default]
    RunOnce,
    /// The latest so many of them run, a thousand at most.
    RunAll(u16),
}

/// What becomes of a tick while the job of the one before is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It runs all the same.
    #[default]
    Allow,
    /// It is passed over. A job that is dead holds nothing up.
    Skip,
}

impl Periodic {
    /// By a cron expression in a time zone: `"0 9 * * MON-FRI"`, `"Europe/Zurich"`. Five fields, or six with
    /// seconds first. A time that a clock change skips is caught up right after it; one that comes twice
    /// counts once; steps and wildcards of the hour follow the clock as it is.
    ///
    /// # Errors
    /// If the expression or the zone cannot be read, or no time ever matches.
    pub fn cron<T: Task>(
        expression: &str,
        zone: &str,
        task: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<Self, TimetableError> {
        Ok(Self::new(Timetable::cron(expression, zone)?, task))
    }

    /// At all multiples of a period since 1970: `Duration::from_secs(60)` is each full minute.
    ///
    /// # Errors
    /// If the period is shorter than a second.
    pub fn every<T: Task>(
        period: Duration,
        task: impl Fn() -> T + Send + Sync + 'static,
    ) -> Result<Self, TimetableError> {
        Ok(Self::new(Timetable::every(period)?, task))
    }

    fn new<T: Task>(timetable: Timetable, task: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self {
            name: T::NAME.to_owned(),
            queue: T::QUEUE,
            timetable,
            missed: Missed::default(),
            overlap: Overlap::default(),
            task: T::NAME,
            make: Box::new(move || body_for(&task())),
        }
    }

    /// Under a name of its own.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { name, ..self }
    }

    /// Onto another queue than the task's own.
    #[must_use]
    pub fn on(self, queue: Queue) -> Self {
        Self { queue, ..self }
    }

    /// What becomes of ticks that no worker was there for.
    #[must_use]
    pub fn missed(self, missed: Missed) -> Self {
        Self { missed, ..self }
    }

    /// What becomes of a tick while the job of the one before is not settled.
    #[must_use]
    pub fn overlap(self, overlap: Overlap) -> Self {
        Self { overlap, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, as every worker and tool can read it.
    fn definition(&self) -> Definition {
        Definition {
            task: self.task.to_owned(),
            queue: self.queue,
            timetable: self.timetable.clone(),
            missed: self.missed,
            overlap: self.overlap,
        }
    }
}

impl fmt::Debug for Periodic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Periodic({}, {})", self.name, self.timetable)
    }
}

/// What a periodic task is: the same text for the same thing, so that releases can be told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Name of the task.
    pub task: String,
    /// Where its jobs go.
    pub queue: Queue,
    /// Its ticks.
    pub timetable: Timetable,
    /// What becomes of ticks that no worker was there for.
    pub missed: Missed,
    /// What becomes of a tick while the job of the one before is not settled.
    pub overlap: Overlap,
}

impl Definition {
    fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
