//! The named points at which a process is killed or its socket cut, and who waits for whom there.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::chaos::ledger::Role;

/// A step of a process. *Before* a step: the command was not sent on. *During*: Redis has carried it
/// out, and its answer was not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Point {
    /// A producer: the job is made and not yet pushed.
    BeforeEnqueue,
    /// A producer: pushed, and it does not know.
    DuringEnqueue,
    /// A producer: jobs for later are stored, and it does not know.
    DuringSchedule,
    /// Redis has popped an id for BRPOP, and the worker does not know.
    AfterPop,
    /// The worker has an id and has not claimed it.
    BeforeClaim,
    /// Claimed, and the worker does not know.
    AfterClaim,
    /// The job has begun and has had no effect.
    MidRun,
    /// The job has had its effect and has not returned.
    AfterEffect,
    /// The job has returned and nothing was said of it.
    BeforeSettle,
    /// Settled, and the worker does not know.
    DuringSettle,
    /// Some children of a group are made, the next chunk is not.
    MidSplit,
    /// A chunk of children is made, and the master does not know.
    DuringSplit,
    /// All children are made and the group is open.
    BeforeSeal,
    /// Sealed, and the master does not know.
    DuringSeal,
    /// Jobs that were due are listed, and who did it does not know.
    DuringPromotion,
    /// A dead worker's jobs are about to be given back.
    BeforeReap,
    /// They were, and who did it does not know.
    DuringReap,
    /// Ids that were popped and lost are about to be listed again.
    BeforeSweep,
    /// They were, and who did it does not know.
    DuringSweep,
    /// The heartbeat was heard, and the worker does not know.
    DuringBeat,
}

impl Point {
    /// All of them.
    pub(crate) const ALL: [Self; 20] = [
        Self::BeforeEnqueue,
        Self::DuringEnqueue,
        Self::DuringSchedule,
        Self::AfterPop,
        Self::BeforeClaim,
        Self::AfterClaim,
        Self::MidRun,
        Self::AfterEffect,
        Self::BeforeSettle,
        Self::DuringSettle,
        Self::MidSplit,
        Self::DuringSplit,
        Self::BeforeSeal,
        Self::DuringSeal,
        Self::DuringPromotion,
        Self::BeforeReap,
        Self::DuringReap,
        Self::BeforeSweep,
        Self::DuringSweep,
        Self::DuringBeat,
    ];

    /// Whose step it is.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::BeforeEnqueue | Self::DuringEnqueue | Self::DuringSchedule => Role::Producer,
            _ => Role::Worker,
        }
    }

    /// Whether the job itself passes it, and no command does.
    pub(crate) fn is_inside_the_job(self) -> bool {
        matches!(self, Self::MidRun | Self::AfterEffect)
    }

    /// Its name.
    pub(crate) fn name(self) -> String {
        serde_json::to_value(self)
            .ok()
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

/// What is done to a process that passes a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// It is killed with signal 9.
    Kill,
    /// The connection is cut, and the process lives.
    Cut,
    /// What passes is held back for longer than a client waits.
    Late,
}

/// Who waits for a process to pass. The first that passes the point is hit.
#[derive(Debug, Default)]
pub(crate) struct Ambush {
    waiting: Mutex<BTreeMap<Point, Vec<Act>>>,
}

impl Ambush {
    /// Waits at a point.
    pub(crate) fn lay(&self, at: Point, act: Act) {
        self.waiting().entry(at).or_default().push(act);
    }

    /// A process passes these points: what is to be done to it, and where.
    pub(crate) fn spring(&self, points: &[Point]) -> Option<(Point, Act)> {
        let mut waiting = self.waiting();
        let at = points.iter().find(|at| waiting.contains_key(at))?;
        let acts = waiting.get_mut(at)?;
        let act = acts.pop()?;
        if acts.is_empty() {
            waiting.remove(at);
        }
        Some((*at, act))
    }

    /// Lets everybody pass from now on; returns how many still waited.
    pub(crate) fn lift(&self) -> usize {
        std::mem::take(&mut *self.waiting())
            .values()
            .map(Vec::len)
            .sum()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting().values().map(Vec::len).sum()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<Point, Vec<Act>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_passes_is_hit_and_the_next_is_not() {
        let ambush = Ambush::default();
        ambush.lay(Point::AfterPop, Act::Cut);

        assert_eq!(ambush.spring(&[Point::AfterClaim]), None);
        let hit = ambush.spring(&[Point::AfterClaim, Point::AfterPop]);
        assert_eq!(hit, Some((Point::AfterPop, Act::Cut)));
        assert_eq!(ambush.spring(&[Point::AfterPop]), None);
        assert_eq!(ambush.len(), 0);
    }
}
