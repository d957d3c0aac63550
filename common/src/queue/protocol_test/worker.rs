//! A worker as a process: what it remembers, what it asks of Redis, what it does with the answers.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    scripts::{Claimed, Held, Settlement, Split, Turn, Verdict},
    store::{CHILDREN, Id, Lease, Policy, Role, Store, Who},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Life {
    Up,
    /// Asked to stop: it claims no more and gives back what it holds.
    Stopping,
    Down,
}

/// How far a master's split has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Progress {
    Nothing,
    /// Redis has so many children.
    Has(u8),
    Sealed,
}

/// A job that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Running {
    pub(super) id: Id,
    pub(super) lease: Lease,
    pub(super) role: Role,
    pub(super) progress: Progress,
    pub(super) had_group: bool,
}

/// A worker's memory. It runs one job at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    pub(super) life: Life,
    /// What it held when its heartbeat ended while it lived: this, and only this, others may run, too.
    pub(super) doubtful: BTreeSet<Id>,
    /// Answered by BRPOP and not yet claimed.
    pub(super) popped: Option<Id>,
    pub(super) running: Option<Running>,
    /// Finished, and not yet settled as far as it knows.
    pub(super) finished: Vec<Settlement>,
}

impl Worker {
    pub(super) const FRESH: Self = Self {
        life: Life::Up,
        doubtful: BTreeSet::new(),
        popped: None,
        running: None,
        finished: Vec::new(),
    };

    pub(super) fn turn(&self) -> Turn {
        let has_slot = self.running.is_none() && self.life == Life::Up;
        Turn {
            settle: self.finished.clone(),
            popped: self.popped,
            wanted: usize::from(has_slot),
        }
    }

    /// Settles what it finished and claims, and hears the answer.
    pub(super) fn take_turn(&mut self, store: &mut Store, own: Who) {
        let claimed = store.turn(own, &self.turn());
        self.finished.clear();
        self.popped = None;
        self.start(&claimed);
    }

    pub(super) fn start(&mut self, claimed: &Claimed) {
        for (id, lease, role) in claimed {
            self.running = Some(Running {
                id: *id,
                lease: *lease,
                role: *role,
                progress: Progress::Nothing,
                had_group: false,
            });
        }
    }

    pub(super) fn finish(&mut self, verdict: Verdict) {
        if let Some(running) = self.running.take() {
            self.finished.push(Settlement {
                id: running.id,
                lease: running.lease,
                role: running.role,
                had_group: running.had_group,
                verdict,
            });
        }
    }

    /// What its heartbeat tells it, by numbers alone.
    pub(super) fn holds_more_than_it_knows(&self, store: &Store, own: Who) -> bool {
        let held = store.claims.get(&own).map_or(0, BTreeMap::len);
        held > usize::from(self.running.is_some()) + self.finished.len()
    }

    /// Claims whose answer was lost: those that are neither running nor finished.
    pub(super) fn unknown_claims(&self, store: &Store, own: Who) -> Vec<(Id, Held)> {
        let knows = |id: Id, lease: Lease| {
            let runs = self
                .running
                .is_some_and(|it| (it.id, it.lease) == (id, lease));
            runs || self
                .finished
                .iter()
                .any(|it| (it.id, it.lease) == (id, lease))
        };
        let held = store.held(own).into_iter();
        held.filter(|(id, held)| !knows(*id, held.lease)).collect()
    }

    /// What a running master does next, if it is one.
    pub(super) fn next_split(&self, policy: Policy) -> Option<Split> {
        let running = self.running.filter(|it| it.role == Role::Master)?;
        match running.progress {
            Progress::Nothing => Some(Split::Begin(policy)),
            Progress::Has(n) if n < CHILDREN => Some(Split::Add(policy, n)),
            Progress::Has(_) => Some(Split::Seal),
            Progress::Sealed => None,
        }
    }
}
