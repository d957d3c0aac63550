//! What lies in Redis, key by key, and what the scripts share: `lua/numbers.lua`, `head.lua`, `often.lua`,
//! `lib.lua` and `claims.lua`, function by function.
//!
//! A field stands for the key of its name, so that "in exactly one place" is something to check and
//! nothing that the types give away. [`Ledger`] is what Redis does not remember.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::mistakes::Mistake;

/// Children of a group.
pub(super) const CHILDREN: u8 = 2;

/// A job's id, as it reads in Redis: `default-3` or `default+1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Id {
    Pushed(u8),
    Unlisted(u8),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pushed(number) => write!(f, "default-{number}"),
            Self::Unlisted(number) => write!(f, "default+{number}"),
        }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A worker's number; each boot is another worker.
pub(super) type Who = usize;

/// A place in line, the score in `loose`, in the steps of `lib.lua`.
pub(super) type Place = i64;
const STEP: Place = 1;
/// From one number to the next.
pub(super) const NUMBER: Place = 1 << 20;

/// What a body tells of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Role {
    Plain,
    Master,
    Child(Id),
    Follower(Id),
}

/// The fence of a claim. The real one carries the time; here it is the n-th claim of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Lease {
    pub(super) attempt: u8,
    /// `#` for `@`: there is a record of earlier attempts.
    pub(super) recorded: bool,
    pub(super) nth: u8,
}

/// What `workers` tells of one that is on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Heart {
    Beats,
    Ended,
}

/// What becomes of a group when a child dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Policy {
    Continue,
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Group {
    pub(super) policy: Policy,
    pub(super) total: u8,
    pub(super) sealed: bool,
    pub(super) fired: bool,
    pub(super) master_settled: bool,
}

/// What has happened, kept outside Redis: only the properties look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Ledger {
    /// Every job that was ever accepted.
    pub(super) made: BTreeMap<Id, Role>,
    /// How often Redis took it for done.
    pub(super) completed: BTreeMap<Id, u8>,
    /// What was buried at least once.
    pub(super) buried: BTreeSet<Id>,
    /// How often it was claimed, as far as that matters.
    pub(super) claims: BTreeMap<Id, u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Store {
    /// From left to right: pushed at the left, popped at the right.
    pub(super) queue: Vec<Id>,
    pub(super) last: u8,
    pub(super) later: u8,
    pub(super) cursor: u8,
    pub(super) loose: BTreeMap<Id, Place>,
    pub(super) jobs: BTreeMap<Id, Role>,
    /// Attempts and deaths.
    pub(super) attempts: BTreeMap<Id, (u8, u8)>,
    pub(super) scheduled: BTreeSet<Id>,
    pub(super) dead: BTreeSet<Id>,
    pub(super) claims: BTreeMap<Who, BTreeMap<Id, Lease>>,
    pub(super) workers: BTreeMap<Who, Heart>,
    pub(super) groups: BTreeMap<Id, Group>,
    pub(super) left: BTreeMap<Id, BTreeSet<Id>>,
    pub(super) failed: BTreeMap<Id, BTreeSet<Id>>,
    pub(super) ledger: Ledger,
    /// What these scripts do wrong, if anything.
    pub(super) mistake: Option<Mistake>,
}

impl Store {
    pub(super) fn errs(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    pub(super) fn push_new(&mut self, roles: &[Role]) -> Vec<Id> {
        let mut ids = Vec::new();
        for role in roles {
            self.last += 1;
            let id = Id::Pushed(self.last);
            self.make(id, *role);
            self.queue.insert(0, id);
            ids.push(id);
        }
        ids
    }

    pub(super) fn make_unlisted(&mut self, role: Role) -> Id {
        self.later += 1;
        let id = Id::Unlisted(self.later);
        self.make(id, role);
        id
    }

    fn make(&mut self, id: Id, role: Role) {
        self.jobs.insert(id, role);
        self.ledger.made.insert(id, role);
    }

    fn fresh_number(&self, id: Id) -> Option<u8> {
        match id {
            Id::Pushed(number) if number > self.cursor && number <= self.last => Some(number),
            _ => None,
        }
    }

    /// Whether a job waits.
    pub(super) fn waits(&self, id: Id) -> bool {
        self.fresh_number(id).is_some() || self.loose.contains_key(&id)
    }

    /// The next id to be popped and its place; drops what stands there in vain.
    pub(super) fn tail(&mut self) -> Option<(Id, Place)> {
        while let Some(id) = self.queue.last().copied() {
            let fresh = self.fresh_number(id).map(|n| Place::from(n) * NUMBER);
            if let Some(place) = fresh.or(self.loose.get(&id).copied()) {
                return Some((id, place));
            }
            self.queue.pop();
        }
        None
    }

    pub(super) fn loosen(&mut self, from: u8, to: u8) {
        for number in from..=to {
            let place = Place::from(number) * NUMBER;
            self.loose.insert(Id::Pushed(number), place);
        }
    }

    pub(super) fn push_front(&mut self, id: Id) {
        let place = match self.tail() {
            Some((_, place)) => place - NUMBER,
            None => Place::from(self.last) * NUMBER,
        };
        self.loose.insert(id, place);
        self.queue.push(id);
    }

    pub(super) fn push_back(&mut self, id: Id) {
        let highest = self.loose.values().max().copied().unwrap_or(0);
        let last = Place::from(self.last) * NUMBER;
        self.loose.insert(id, last.max(highest) + STEP);
        self.queue.insert(0, id);
    }

    pub(super) fn forget(&mut self, id: Id) {
        self.jobs.remove(&id);
        self.attempts.remove(&id);
    }

    pub(super) fn fire_if_done(&mut self, master: Id) {
        let Some(group) = self.groups.get(&master).copied() else {
            return;
        };
        if (!group.sealed && !self.errs(Mistake::FireUnsealed)) || group.fired {
            return;
        }
        if self.left.contains_key(&master) {
            return;
        }
        let failed = self
            .failed
            .get(&master)
            .is_some_and(|some| !some.is_empty());
        if failed && group.policy == Policy::Fail {
            let id = self.make_unlisted(Role::Follower(master));
            self.dead.insert(id);
        } else {
            self.push_new(&[Role::Follower(master)]);
        }
        if group.master_settled {
            self.groups.remove(&master);
        } else if !self.errs(Mistake::FireForgets)
            && let Some(group) = self.groups.get_mut(&master)
        {
            group.fired = true;
        }
    }

    pub(super) fn leave_group(&mut self, role: Role, id: Id, failed: bool) {
        let Role::Child(master) = role else { return };
        let was_left = remove_from(&mut self.left, master, id);
        if failed && was_left {
            self.failed.entry(master).or_default().insert(id);
        } else if !failed {
            remove_from(&mut self.failed, master, id);
        }
        if was_left {
            self.fire_if_done(master);
        }
    }

    pub(super) fn settle_master(&mut self, id: Id) {
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        if group.sealed && !group.fired {
            group.master_settled = true;
            return;
        }
        let sealed = group.sealed;
        self.groups.remove(&id);
        if !sealed {
            self.left.remove(&id);
            self.failed.remove(&id);
        }
    }

    pub(super) fn bury(&mut self, id: Id, role: Role) {
        self.dead.insert(id);
        self.ledger.buried.insert(id);
        self.leave_group(role, id, true);
    }

    /// The only gate to a claim.
    pub(super) fn take(&mut self, id: Id) -> bool {
        if self.errs(Mistake::NoGate) {
            return self.jobs.contains_key(&id);
        }
        let Some(number) = self.fresh_number(id) else {
            return self.loose.remove(&id).is_some();
        };
        if !self.errs(Mistake::ClaimLeavesGap) {
            self.loosen(self.cursor + 1, number - 1);
        }
        self.cursor = number;
        true
    }
}

/// Removes from a set in Redis, where an empty one is gone.
fn remove_from(sets: &mut BTreeMap<Id, BTreeSet<Id>>, key: Id, id: Id) -> bool {
    let Some(set) = sets.get_mut(&key) else {
        return false;
    };
    let was_in = set.remove(&id);
    if set.is_empty() {
        sets.remove(&key);
    }
    was_in
}
