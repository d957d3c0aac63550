//! The history of a run: the lines of the ledger, put together by job and by process.

use std::collections::{BTreeMap, HashMap};

use common::queue::JobId;

use super::{
    event::{Event, Outcome},
    faults::Fault,
    lease::attempt_of,
    plan::Key,
    point::{Act, Point},
};
use crate::chaos::ledger::{Line, Role, Who};

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) who: Who,
    pub(super) id: JobId,
    pub(super) attempt: u32,
    pub(super) start: u64,
    pub(super) effect: Option<u64>,
    pub(super) end: Option<(u64, Outcome)>,
}

/// One claim to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// When it was seen first.
    pub(super) t: u64,
    pub(super) who: Who,
    pub(super) lease: String,
    /// The verdict that Redis has carried out on it.
    pub(super) settled: Option<String>,
}

impl Claim {
    /// When Redis made it, by Redis's clock, µs: it tells the order of claims to one job.
    pub(super) fn order(&self) -> u64 {
        let time = self.lease.split(['@', '#']).nth(1);
        time.and_then(|time| time.parse().ok()).unwrap_or(0)
    }

    /// The attempt that it is for.
    pub(super) fn attempt(&self) -> u32 {
        attempt_of(&self.lease)
    }
}

/// One life of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) boot: Option<u64>,
    /// When it was killed, with signal 9.
    pub(super) killed: Option<u64>,
    /// When it was asked to stop.
    pub(super) stopped: Option<u64>,
    /// When it was frozen or out of reach, though it lived.
    pub(super) silent: Vec<(u64, u64, Fault)>,
    /// When and how it ended: the signal, the code.
    pub(super) exit: Option<(u64, Option<i32>, Option<i32>)>,
}

/// A number of keys that were enqueued in one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first: Key,
    pub(super) jobs: u32,
}

impl Batch {
    /// The keys.
    pub(super) fn keys(self) -> impl Iterator<Item = Key> {
        (0..self.jobs).map(move |n| self.first.after(n))
    }
}

/// All that happened.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Calls of enqueue that returned.
    pub(super) accepted: Vec<Batch>,
    /// Calls that failed, or whose producer died before they returned: pushed or not.
    pub(super) unsure: Vec<Batch>,
    /// What ran, by key, each in the order of time.
    pub(super) runs: HashMap<Key, Vec<Run>>,
    /// Claims, by job, in the order of Redis's clock.
    pub(super) claims: HashMap<JobId, Vec<Claim>>,
    /// What the follow-ups were told of dead children.
    pub(super) failures: HashMap<Key, Vec<Vec<JobId>>>,
    pub(super) lives: BTreeMap<Who, Life>,
    /// Who was hit where, and how.
    pub(super) hits: Vec<(u64, Who, Point, Act)>,
    /// Ids that were popped for somebody who never heard of it.
    pub(super) lost_pops: Vec<(u64, JobId)>,
    /// What went wrong with all, from when to when.
    pub(super) outages: Vec<(u64, u64, Fault)>,
    /// Everything that went wrong, by name.
    pub(super) faults: BTreeMap<&'static str, u64>,
    /// Wall clocks of workers minus the mean of all, ms: lowest and highest.
    pub(super) skew_ms: (i64, i64),
}

impl History {
    /// Puts the lines, which are in the order of time, together.
    pub(super) fn of(lines: &[Line<Event>]) -> Self {
        let mut history = Self::default();
        let mut asked: HashMap<Who, Batch> = HashMap::new();
        let mut begun: HashMap<(Who, Fault), u64> = HashMap::new();
        let mut clocks = Vec::new();
        for Line { t, who, event } in lines {
            let (t, who) = (*t, *who);
            match event {
                Event::Asks { first, jobs } => {
                    let batch = Batch {
                        first: *first,
                        jobs: *jobs,
                    };
                    asked.insert(who, batch);
                }
                Event::Accepted { .. } => history.accepted.extend(asked.remove(&who)),
                Event::Unsure { .. } => history.unsure.extend(asked.remove(&who)),
                Event::Began { fault } => {
                    history.count(fault.name());
                    begun.insert((who, *fault), t);
                    if matches!(fault, Fault::StopWorker { .. }) {
                        history.life(who).stopped = Some(t);
                    }
                }
                Event::Over { fault } => {
                    let from = begun.remove(&(who, *fault)).unwrap_or(t);
                    if fault.silence().is_some() {
                        history.life(who).silent.push((from, t, *fault));
                    } else {
                        history.outages.push((from, t, *fault));
                    }
                }
                Event::Boot { wall_ms, .. } => {
                    history.life(who).boot = Some(t);
                    if who.role == Role::Worker {
                        let up_ms = i64::try_from(t / 1_000_000).unwrap_or(0);
                        clocks.push(wall_ms.cast_signed() - up_ms);
                    }
                }
                _ => history.add(t, who, event),
            }
        }
        // Frozen until its end: nobody has told that it was over.
        for ((who, fault), from) in begun {
            let life = history.life(who);
            if fault.silence().is_some() {
                let to = life.exit.map_or(from, |(t, ..)| t);
                life.silent.push((from, to, fault));
            }
        }
        history.unsure.extend(asked.into_values());
        for claims in history.claims.values_mut() {
            claims.sort_by_key(Claim::order);
        }
        clocks.sort_unstable();
        if let (Some(low), Some(high)) = (clocks.first(), clocks.last()) {
            let middle = clocks[clocks.len() / 2];
            history.skew_ms = (low - middle, high - middle);
        }
        history
    }

    fn add(&mut self, t: u64, who: Who, event: &Event) {
        match event {
            Event::Started { key, id, attempt } => {
                let run = Run {
                    who,
                    id: *id,
                    attempt: *attempt,
                    start: t,
                    effect: None,
                    end: None,
                };
                self.runs.entry(*key).or_default().push(run);
            }
            Event::Effect { key } => {
                if let Some(run) = self.run_of(*key, who) {
                    run.effect = Some(t);
                }
            }
            Event::Ended { key, outcome, .. } => {
                let end = Some((t, *outcome));
                if let Some(run) = self.run_of(*key, who) {
                    run.end = end;
                }
            }
            Event::Failures { key, dead } => {
                self.failures.entry(*key).or_default().push(dead.clone());
            }
            Event::Dying { at, .. } => {
                self.die(t, who);
                match at {
                    Some(at) => self.hits.push((t, who, *at, Act::Kill)),
                    None => self.count("worker killed by a poison job"),
                }
            }
            Event::Hit { at, act } => {
                self.hits.push((t, who, *at, *act));
                if *act == Act::Kill {
                    self.die(t, who);
                }
            }
            Event::Killed => {
                let name = match who.role {
                    Role::Producer => "producer killed at any moment",
                    _ => "worker killed at any moment",
                };
                self.count(name);
                self.die(t, who);
            }
            Event::Exited { signal, code } => {
                self.life(who).exit = Some((t, *signal, *code));
            }
            Event::Claimed { jobs } => {
                for (id, lease) in jobs {
                    self.claim(t, who, *id, lease);
                }
            }
            Event::Settled { jobs } => {
                for (id, lease, verdict) in jobs {
                    self.claim(t, who, *id, lease).settled = Some(verdict.clone());
                }
            }
            Event::PopLost { id } => self.lost_pops.push((t, *id)),
            _ => {}
        }
    }

    fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    fn life(&mut self, who: Who) -> &mut Life {
        self.lives.entry(who).or_default()
    }

    /// It was killed now, unless it was before.
    fn die(&mut self, t: u64, who: Who) {
        self.life(who).killed.get_or_insert(t);
    }

    /// The run of a job that goes on in a process.
    fn run_of(&mut self, key: Key, who: Who) -> Option<&mut Run> {
        let runs = self.runs.get_mut(&key)?;
        runs.iter_mut()
            .rev()
            .find(|run| run.who == who && run.end.is_none())
    }

    /// The claim of this lease; made if it was not seen before.
    fn claim(&mut self, t: u64, who: Who, id: JobId, lease: &str) -> &mut Claim {
        let claims = self.claims.entry(id).or_default();
        let same = |claim: &Claim| claim.who == who && claim.lease == lease;
        let at = claims.iter().position(same).unwrap_or_else(|| {
            claims.push(Claim {
                t,
                who,
                lease: lease.to_owned(),
                settled: None,
            });
            claims.len() - 1
        });
        &mut claims[at]
    }
}
