//! The scripts, one function each. What they share is in [`super::store`].

use std::collections::BTreeMap;

use super::{
    mistakes::Mistake,
    store::{Group, Heart, Id, Lease, Policy, Role, Store, Who},
};

/// A job that took so many workers down is buried.
pub(super) const MAX_DEATHS: u8 = 2;

/// How a claim ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    Done,
    Retry,
    RetryLater,
    Bury,
    Back,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Settlement {
    pub(super) id: Id,
    pub(super) lease: Lease,
    pub(super) role: Role,
    pub(super) had_group: bool,
    pub(super) verdict: Verdict,
}

/// What a worker asks of `turn.lua`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Turn {
    pub(super) settle: Vec<Settlement>,
    pub(super) popped: Option<Id>,
    /// How many to claim, the popped one included; if 0, that one is listed again.
    pub(super) wanted: usize,
}

/// What a worker asks of `fan_out.lua` and `seal.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Split {
    Begin(Policy),
    /// The child with this index.
    Add(Policy, u8),
    Seal,
}

/// What these two answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum SplitReply {
    ClaimLost,
    Sealed,
    Next(u8),
}

/// What `held.lua` tells of one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Held {
    pub(super) lease: Lease,
    pub(super) deaths: u8,
    pub(super) role: Role,
}

pub(super) type Claimed = Vec<(Id, Lease, Role)>;

impl Store {
    /// `turn.lua`: settles, then claims; returns what was claimed.
    pub(super) fn turn(&mut self, worker: Who, turn: &Turn) -> Claimed {
        let mut accepted = Vec::new();
        for it in &turn.settle {
            let lease = self
                .claims
                .get(&worker)
                .and_then(|claims| claims.get(&it.id));
            let fits = if self.errs(Mistake::SettleUnfenced) {
                self.jobs.contains_key(&it.id)
            } else if self.errs(Mistake::FenceByAttempt) {
                lease.is_some_and(|lease| lease.attempt == it.lease.attempt)
            } else {
                lease == Some(&it.lease)
            };
            if !fits {
                continue;
            }
            accepted.push(*it);
            if it.verdict == Verdict::Done {
                *self.ledger.completed.entry(it.id).or_default() += 1;
                if it.lease.recorded {
                    self.forget(it.id);
                }
            }
        }
        for it in &accepted {
            self.drop_claim(worker, it.id);
            if it.verdict == Verdict::Done {
                self.jobs.remove(&it.id);
            }
        }
        for it in accepted {
            self.settle(&it);
        }
        self.claim(worker, turn)
    }

    fn settle(&mut self, it: &Settlement) {
        match it.verdict {
            Verdict::Done => {
                if it.had_group || it.lease.recorded {
                    self.settle_master(it.id);
                }
                if let Role::Follower(master) = it.role {
                    self.failed.remove(&master);
                }
                self.leave_group(it.role, it.id, false);
            }
            Verdict::Back => {
                if self.groups.contains_key(&it.id) {
                    self.attempts.entry(it.id).or_insert((0, 0));
                }
                self.push_front(it.id);
            }
            Verdict::Retry => {
                self.record_attempt(it);
                self.push_back(it.id);
            }
            Verdict::RetryLater => {
                self.record_attempt(it);
                self.scheduled.insert(it.id);
            }
            Verdict::Bury => {
                self.record_attempt(it);
                self.bury(it.id, it.role);
            }
        }
    }

    fn record_attempt(&mut self, it: &Settlement) {
        self.attempts.entry(it.id).or_default().0 = it.lease.attempt;
    }

    fn drop_claim(&mut self, worker: Who, id: Id) {
        if let Some(claims) = self.claims.get_mut(&worker) {
            claims.remove(&id);
            if claims.is_empty() {
                self.claims.remove(&worker);
            }
        }
    }

    fn claim(&mut self, worker: Who, turn: &Turn) -> Claimed {
        let mut taken = Vec::new();
        if let Some(id) = turn.popped {
            if turn.wanted == 0 {
                self.queue.push(id);
            } else if self.take(id) {
                taken.push(id);
            }
        }
        while taken.len() < turn.wanted
            && let Some(id) = self.queue.pop()
        {
            if self.take(id) {
                taken.push(id);
            }
        }
        let mut claimed = Vec::new();
        for id in taken {
            let Some(role) = self.jobs.get(&id).copied() else {
                continue;
            };
            let before = self.attempts.get(&id).copied();
            let nth = self.ledger.claims.entry(id).or_default();
            *nth += 1;
            let lease = Lease {
                attempt: before.map_or(0, |(attempts, _)| attempts) + 1,
                recorded: before.is_some(),
                nth: *nth,
            };
            self.claims.entry(worker).or_default().insert(id, lease);
            if !self.errs(Mistake::ClaimUnlisted) {
                self.workers.insert(worker, Heart::Beats);
            }
            claimed.push((id, lease, role));
        }
        claimed
    }

    /// `overdue.lua`: the time of one scheduled job has come.
    pub(super) fn promote(&mut self, id: Id) {
        self.scheduled.remove(&id);
        self.push_back(id);
    }

    /// `held.lua`.
    pub(super) fn held(&self, worker: Who) -> BTreeMap<Id, Held> {
        let claims = self.claims.get(&worker).into_iter().flatten();
        let held = |(id, lease): (&Id, &Lease)| {
            let (_, deaths) = self.attempts.get(id).copied().unwrap_or_default();
            let role = self.jobs.get(id).copied().unwrap_or(Role::Plain);
            let lease = *lease;
            (
                *id,
                Held {
                    lease,
                    deaths,
                    role,
                },
            )
        };
        claims.map(held).collect()
    }

    /// `reap.lua`, with what `held.lua` told some time ago.
    pub(super) fn reap(&mut self, worker: Who, read: &BTreeMap<Id, Held>) {
        let beats = self.workers.get(&worker) == Some(&Heart::Beats);
        if beats && !self.errs(Mistake::ReapTheLiving) {
            return;
        }
        for (id, held) in read {
            let claims = self.claims.get(&worker);
            let lease = claims.and_then(|claims| claims.get(id));
            if lease != Some(&held.lease) && !self.errs(Mistake::ReapUnfenced) {
                continue;
            }
            self.drop_claim(worker, *id);
            let deaths = held.deaths + 1;
            self.attempts.insert(*id, (held.lease.attempt, deaths));
            if deaths >= MAX_DEATHS {
                self.bury(*id, held.role);
            } else {
                self.push_front(*id);
            }
        }
        if !self.claims.contains_key(&worker) || self.errs(Mistake::ReapStrikesOff) {
            self.workers.remove(&worker);
        }
    }

    /// `sweep.lua`; `asked` was seen missing before. What a process remembers of that, and for how long
    /// (the grace), is left open: anything may be asked for at any time.
    pub(super) fn sweep(&mut self, asked: Option<Id>) {
        let tail = self.tail();
        if !self.errs(Mistake::SweepKeepsCursor) {
            let listed_from = match tail {
                Some((Id::Pushed(number), _)) if number > self.cursor => number,
                Some(_) => self.cursor + 1,
                None => self.last + 1,
            };
            if listed_from > self.cursor + 1 {
                self.loosen(self.cursor + 1, listed_from - 1);
                self.cursor = listed_from - 1;
            }
        }
        let Some(id) = asked else { return };
        let Some(place) = self.loose.get(&id).copied() else {
            return;
        };
        let is_missing = tail.is_none_or(|(_, order)| place < order);
        if !is_missing && !self.errs(Mistake::SweepPassesPlace) {
            return;
        }
        if self.jobs.contains_key(&id) {
            self.queue.push(id);
        } else {
            self.loose.remove(&id);
        }
    }

    /// `revive.lua`, on a dead job.
    pub(super) fn revive(&mut self, id: Id) {
        self.dead.remove(&id);
        self.attempts.insert(id, (0, 0));
        self.push_back(id);
    }

    /// `beat.lua`.
    pub(super) fn beat(&mut self, worker: Who) {
        self.workers.insert(worker, Heart::Beats);
    }

    /// `retire.lua`.
    pub(super) fn retire(&mut self, worker: Who) {
        if !self.claims.contains_key(&worker) || self.errs(Mistake::RetireHolding) {
            self.workers.remove(&worker);
        }
    }

    /// `fan_out.lua` and `seal.lua`. The plan is how many children there are; it is the same always.
    pub(super) fn split(
        &mut self,
        worker: Who,
        master: Id,
        lease: Lease,
        split: Split,
    ) -> SplitReply {
        let held = self
            .claims
            .get(&worker)
            .and_then(|claims| claims.get(&master));
        let unfenced = if split == Split::Seal {
            self.errs(Mistake::SealUnfenced)
        } else {
            self.errs(Mistake::FanOutUnfenced)
        };
        if held != Some(&lease) && !unfenced {
            return SplitReply::ClaimLost;
        }
        let fresh = |policy| Group {
            policy,
            total: 0,
            sealed: false,
            fired: false,
            master_settled: false,
        };
        let (policy, index) = match split {
            Split::Seal => {
                let group = self.groups.entry(master).or_insert(fresh(Policy::Continue));
                if !group.sealed {
                    group.sealed = true;
                    self.fire_if_done(master);
                }
                return SplitReply::Sealed;
            }
            Split::Begin(policy) => (policy, None),
            Split::Add(policy, index) => (policy, Some(index)),
        };
        let group = *self.groups.entry(master).or_insert(fresh(policy));
        if group.sealed {
            return SplitReply::Sealed;
        }
        let mut total = group.total;
        if let Some(index) = index
            && (total <= index || self.errs(Mistake::FanOutForgetsIndex))
        {
            for id in self.push_new(&[Role::Child(master)]) {
                self.left.entry(master).or_default().insert(id);
            }
            total += 1;
            self.groups.insert(master, Group { total, ..group });
        }
        SplitReply::Next(total)
    }
}
