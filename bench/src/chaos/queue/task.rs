//! The task of this run: one that does what the plan says of its key, and tells the ledger.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use common::queue::{JobContext, Task, TaskError, task::exponential};
use nix::{
    sys::signal::{Signal, raise},
    unistd::pause,
};
use serde::{Deserialize, Serialize};

use super::{
    event::{Event, Outcome},
    plan::{Deed, Group, Key, Part, Plan},
    point::Point,
};
use crate::chaos::ledger::Ledger;

/// A job of this run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Errand {
    /// Its name; the plan knows the rest.
    pub(super) key: Key,
}

/// What its code works with.
#[derive(Debug)]
pub(super) struct Site {
    /// What each job does.
    pub(super) plan: Plan,
    /// Where it is told.
    pub(super) ledger: Ledger,
    /// The driver's order to die where the next job passes this point.
    pub(super) dies_at: Mutex<Option<Point>>,
}

impl Site {
    /// Orders the worker to die at a point.
    pub(super) fn order_death(&self, at: Point) {
        *self.dies_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// A job passes a point: dies here, if that was ordered.
    fn pass(&self, at: Point, key: Key) {
        // The lock is held until the end: one job does it.
        let dies_at = self.dies_at.lock().unwrap_or_else(PoisonError::into_inner);
        if *dies_at == Some(at) {
            self.die(key, Some(at));
        }
    }

    fn die(&self, key: Key, at: Option<Point>) {
        self.ledger.note(&Event::Dying { key, at });
        let _ = raise(Signal::SIGKILL);
        pause();
    }
}

impl Task for Errand {
    const NAME: &'static str = "chaos.errand";
    type Context = Site;
    type Output = ();

    async fn run(self, site: &Site, job: &JobContext) -> Result<(), TaskError> {
        let (key, attempt) = (self.key, job.attempt());
        site.ledger.note(&Event::Started {
            key,
            id: job.id(),
            attempt,
        });
        let outcome = self.work(site, job).await;
        if outcome.is_ok() {
            site.pass(Point::MidRun, key);
            site.ledger.note(&Event::Effect { key });
            site.pass(Point::AfterEffect, key);
        }
        let ended = match &outcome {
            Ok(()) => Outcome::Done,
            Err(error) if error.is_fatal() => Outcome::Fatal,
            Err(_) => Outcome::Failed,
        };
        site.ledger.note(&Event::Ended {
            key,
            attempt,
            outcome: ended,
        });
        outcome
    }

    fn backoff(attempt: u32) -> Duration {
        exponential(
            attempt,
            Duration::from_millis(50),
            Duration::from_millis(400),
        )
    }
}

impl Errand {
    async fn work(&self, site: &Site, job: &JobContext) -> Result<(), TaskError> {
        match site.plan.deed(self.key) {
            Deed::Work(0) => Ok(()),
            Deed::Work(ms) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
            Deed::Fails(times) if job.attempt() <= times => Err("not yet, as planned".into()),
            Deed::Fails(_) => Ok(()),
            Deed::Fatal => Err(TaskError::fatal("doomed, as planned")),
            Deed::Hopeless => Err("never, as planned".into()),
            Deed::Poison => {
                site.die(self.key, None);
                Ok(())
            }
            Deed::Master(group) => self.split(&group, site, job).await,
            Deed::Follow => {
                let dead = job.failures().await?.into_keys().collect();
                site.ledger.note(&Event::Failures {
                    key: self.key,
                    dead,
                });
                Ok(())
            }
        }
    }

    async fn split(&self, group: &Group, site: &Site, job: &JobContext) -> Result<(), TaskError> {
        let key = self.key;
        let mut split = job.fan_out(group.on_death, &group.children).await?;
        for n in 0..split.plan()? {
            let child = Self {
                key: key.part(Part::Child(n)),
            };
            split.add(&child).await?;
        }
        let then = Self {
            key: key.part(Part::Then),
        };
        split.then(&then).await?;
        site.ledger.note(&Event::Sealed { key });
        Ok(())
    }
}
