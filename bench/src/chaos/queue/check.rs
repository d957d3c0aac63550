//! The check: what the history of a run must not hold. Pure, so that it can itself be tested with
//! histories that are wrong.

use std::collections::{BTreeSet, HashMap};

use common::queue::{JobId, OnDeath};

use super::{
    cause::{Cause, cause, has_died},
    event::Outcome,
    history::{Claim, History, Run},
    plan::{Deed, End, Group, Key, Part, Plan},
    wrong::{Counts, Remains, Wrong},
};
use crate::number::count;

/// Workers that a job may take down before it is buried, by default.
pub(super) const MAX_DEATHS: usize = 3;

/// Checks everything; the list is empty if all is well.
pub(super) fn check(plan: Plan, history: &History, remains: &Remains) -> (Vec<Wrong>, Counts) {
    let mut check = Check {
        plan,
        history,
        remains,
        wrong: Vec::new(),
        counts: Counts::default(),
    };
    check.all();
    (check.wrong, check.counts)
}

struct Check<'a> {
    plan: Plan,
    history: &'a History,
    remains: &'a Remains,
    wrong: Vec<Wrong>,
    counts: Counts,
}

impl Check<'_> {
    fn all(&mut self) {
        for batch in &self.history.accepted {
            self.counts.accepted += u64::from(batch.jobs);
            batch.keys().for_each(|key| self.promised(key));
        }
        for batch in &self.history.unsure {
            self.counts.unsure += u64::from(batch.jobs);
            for key in batch.keys() {
                if self.was_there(key) {
                    self.counts.unsure_ran += 1;
                    self.promised(key);
                }
            }
        }
        self.identities();
        self.revived();
        for (key, runs) in &self.history.runs {
            self.repeated(*key, runs);
        }
        self.exits();
        if self.remains.stuck > 0 {
            self.wrong.push(Wrong::Stuck(self.remains.stuck));
        }
        self.counts.revived = count(self.remains.revived.len());
        self.wrong
            .extend(self.remains.keys.iter().cloned().map(Wrong::Leftover));
        self.wrong
            .extend(self.remains.findings.iter().cloned().map(Wrong::Audit));
    }

    fn runs(&self, key: Key) -> &[Run] {
        self.history.runs.get(&key).map_or(&[], Vec::as_slice)
    }

    fn was_there(&self, key: Key) -> bool {
        !self.runs(key).is_empty() || self.remains.dead.contains_key(&key)
    }

    /// A job that Redis has taken: it has ended as the plan says, and its group too.
    fn promised(&mut self, key: Key) {
        self.ended(key);
        if let Deed::Master(group) = self.plan.deed(key) {
            self.counts.groups += 1;
            self.counts.children += u64::from(group.children);
            for child in 0..group.children {
                self.ended(key.part(Part::Child(child)));
            }
            self.followed(key, &group);
        }
    }

    fn ended(&mut self, key: Key) {
        let is_done = self.is_done(key);
        let dead = self.remains.dead.get(&key);
        match self.plan.end(key) {
            End::Done => match dead {
                Some(why) => self.wrong.push(Wrong::Dead(key, why.clone())),
                None if !is_done => self.wrong.push(Wrong::Lost(key)),
                None => {}
            },
            End::Dead | End::Poison if dead.is_some() && !is_done => {
                self.counts.dead_as_planned += 1;
            }
            End::Dead | End::Poison => self.wrong.push(Wrong::Alive(key)),
        }
        if self.plan.end(key) == End::Poison && self.runs(key).len() > MAX_DEATHS {
            self.wrong.push(Wrong::Poison(key, self.runs(key).len()));
        }
    }

    fn is_done(&self, key: Key) -> bool {
        let done = |run: &Run| matches!(run.end, Some((_, Outcome::Done)));
        self.runs(key).iter().any(done)
    }

    /// What follows a group: once, when all children have ended, and told of the dead among them.
    fn followed(&mut self, key: Key, group: &Group) {
        let then = key.part(Part::Then);
        if group.fails() {
            self.counts.withheld += 1;
            if !self.remains.dead.contains_key(&then) || !self.runs(then).is_empty() {
                self.wrong.push(Wrong::NoCallback(key));
            }
            return;
        }
        if !self.is_done(then) {
            self.wrong.push(Wrong::NoCallback(key));
            return;
        }
        self.counts.callbacks += 1;
        let first = self
            .runs(then)
            .iter()
            .map(|run| run.start)
            .min()
            .unwrap_or(0);
        for child in (0..group.children).map(|n| key.part(Part::Child(n))) {
            // A child that was buried has settled by that; its end came later.
            if self.plan.end(child) == End::Done && !self.remains.revived.contains(&child) {
                let ends = self.runs(child).iter().filter_map(|run| run.end);
                let done = ends
                    .filter(|(_, outcome)| *outcome == Outcome::Done)
                    .map(|(t, _)| t);
                if done.min().is_none_or(|end| end > first) {
                    self.wrong.push(Wrong::Early(key, child));
                }
            }
        }
        self.told(key, then, group);
    }

    fn told(&mut self, key: Key, then: Key, group: &Group) {
        let id_of = |child: u32| {
            self.remains
                .buried
                .get(&key.part(Part::Child(child)))
                .copied()
        };
        let doomed: BTreeSet<_> = group
            .doomed
            .iter()
            .filter_map(|child| id_of(*child))
            .collect();
        // Others may have been buried for their workers' deaths; each of these was seen.
        let buried: BTreeSet<_> = (0..group.children).filter_map(id_of).collect();
        for told in self.history.failures.get(&then).into_iter().flatten() {
            let told: BTreeSet<_> = told.iter().copied().collect();
            if !told.is_superset(&doomed) || !told.is_subset(&buried) {
                self.wrong.push(Wrong::Misinformed(key));
                return;
            }
        }
    }

    /// What was buried against the plan had taken three workers down, or its group had failed.
    fn revived(&mut self) {
        for key in &self.remains.revived {
            let whole = self.plan.deed(key.part(Part::Whole));
            let is_explained = if let (Part::Then, Deed::Master(group)) = (key.part, whole) {
                let child = |n| key.part(Part::Child(n));
                let buried = |n| self.remains.buried.contains_key(&child(n));
                group.on_death == OnDeath::Fail && (0..group.children).any(buried)
            } else {
                let id = self.remains.buried.get(key);
                let claims = id.and_then(|id| self.history.claims.get(id));
                let died = |claim: &&Claim| has_died(self.history, claim);
                claims.into_iter().flatten().filter(died).count() >= MAX_DEATHS
            };
            if !is_explained {
                let why = "buried, and not for the workers that it took down".to_owned();
                self.wrong.push(Wrong::Dead(*key, why));
            }
        }
    }

    /// Each job has one id, and each id one job.
    fn identities(&mut self) {
        let mut owner: HashMap<JobId, Key> = HashMap::new();
        for (key, runs) in &self.history.runs {
            let mut ids: BTreeSet<_> = runs.iter().map(|run| run.id).collect();
            ids.extend(self.remains.buried.get(key));
            for id in &ids {
                if owner.insert(*id, *key).is_some() {
                    self.wrong.push(Wrong::SameId(*id));
                }
            }
            if ids.len() > 1 {
                self.wrong
                    .push(Wrong::TwoIds(*key, ids.into_iter().collect()));
            }
        }
    }

    /// Each claim but the first was made because the one before it had come to its end.
    fn repeated(&mut self, key: Key, runs: &[Run]) {
        self.counts.runs += count(runs.len());
        self.counts.double_effects +=
            u64::from(runs.iter().filter(|run| run.effect.is_some()).count() > 1);
        for id in runs.iter().map(|run| run.id).collect::<BTreeSet<_>>() {
            let claims = self.history.claims.get(&id).map_or(&[][..], Vec::as_slice);
            let of_id = || runs.iter().filter(|run| run.id == id);
            for run in of_id() {
                let same = |who, attempt| who == run.who && attempt == run.attempt;
                let ran = of_id()
                    .filter(|other| same(other.who, other.attempt))
                    .count();
                let claimed = claims
                    .iter()
                    .filter(|claim| same(claim.who, claim.attempt()))
                    .count();
                if ran > claimed {
                    self.wrong.push(Wrong::Unclaimed(key, id));
                    return;
                }
            }
            for two in claims.windows(2) {
                let (before, after) = (&two[0], &two[1]);
                if before.settled.as_deref() == Some("done") {
                    self.wrong.push(Wrong::AfterItsEnd(key, id));
                    continue;
                }
                let run =
                    of_id().find(|run| run.who == before.who && run.attempt == before.attempt());
                let cause = cause(self.history, before, after, run);
                // What was buried is retried by us alone.
                let by_us = self.remains.revived.contains(&key);
                match cause.filter(|cause| *cause != Cause::Revived || by_us) {
                    Some(Cause::Revived) => {}
                    Some(Cause::Planned) => self.counts.planned_retries += 1,
                    // What had not begun did not run twice.
                    Some(_) if run.is_none() => {}
                    Some(cause) => *self.counts.duplicates.entry(cause).or_default() += 1,
                    None => {
                        let claims = [before, after].map(|c| format!("{} {}", c.who, c.lease));
                        let claims = claims.join(" then ");
                        self.wrong.push(Wrong::Unexplained(key, id, claims));
                    }
                }
            }
        }
    }

    /// Processes end because they were killed or asked to.
    fn exits(&mut self) {
        for (who, life) in &self.history.lives {
            let Some((_, signal, code)) = life.exit else {
                continue;
            };
            let as_ordered = match signal {
                Some(signal) => signal == 9 && life.killed.is_some(),
                None => code == Some(0),
            };
            if !as_ordered {
                let how = format!("{who} ended by itself: signal {signal:?}, code {code:?}");
                self.wrong.push(Wrong::Exit(how));
            }
        }
    }
}
