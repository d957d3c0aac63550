//! The check: what the history of a run must not hold. Pure, so that it can itself be tested with
//! histories that are wrong.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
};

use common::queue::{JobId, OnDeath};

use super::{
    cause::{Cause, cause, has_died},
    event::Outcome,
    history::{History, Run},
    plan::{Deed, End, Group, Key, Part, Plan},
};
use crate::number::count;

/// Workers that a job may take down before it is buried, by default.
const MAX_DEATHS: usize = 3;

/// What was left when all was over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Remains {
    /// Jobs that were dead at the first look, with their ids.
    pub(super) buried: HashMap<Key, JobId>,
    /// Of these, buried for the workers that died with them, or for their group's sake, though they were
    /// to be done; an operator has retried them.
    pub(super) revived: HashSet<Key>,
    /// Jobs that were dead at the last look, each with the reason.
    pub(super) dead: HashMap<Key, String>,
    /// Jobs that never ended.
    pub(super) stuck: u64,
    /// Keys in Redis that should have gone, or that belong to nobody.
    pub(super) keys: Vec<String>,
    /// What the product's own audit complains of.
    pub(super) findings: Vec<String>,
}

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// A job was accepted and never done, nor is it dead.
    Lost(Key),
    /// A job is dead that was to be done.
    Dead(Key, String),
    /// A job was to be dead and is not, or was done.
    NotDead(Key),
    /// Jobs were still there at the end.
    Stuck(u64),
    /// One job was made twice.
    TwoIds(Key, Vec<JobId>),
    /// One id was given to two jobs.
    SameId(JobId),
    /// A job was given to somebody though nobody had lost it.
    Unexplained(Key, JobId, String),
    /// A job was claimed after it had been settled.
    AfterItsEnd(Key, JobId),
    /// A worker ran a job more often than it had claimed it.
    Unclaimed(Key, JobId),
    /// What follows a group never ran, or is not dead where it should be.
    NoCallback(Key),
    /// What follows a group began before this child had ended.
    Early(Key, Key),
    /// What follows a group was told of the wrong dead children.
    WrongFailures(Key),
    /// A poison job was handed round.
    Poison(Key, usize),
    /// A process ended by itself.
    Exit(String),
    /// A key was left behind.
    Leftover(String),
    /// The product's own audit complains.
    Audit(String),
    /// The run was not what was asked for.
    Short(String),
    /// It took too long.
    Slow(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(key) => write!(f, "{key} is lost"),
            Self::Dead(key, why) => write!(f, "{key} is dead and was to be done: {why}"),
            Self::NotDead(key) => write!(f, "{key} was to be dead and is not"),
            Self::Stuck(n) => write!(f, "{n} jobs never ended"),
            Self::TwoIds(key, ids) => write!(f, "{key} was made twice: {ids:?}"),
            Self::SameId(id) => write!(f, "{id} was given to two jobs"),
            Self::Unexplained(key, id, why) => {
                write!(f, "{key} ({id}) ran again without a cause: {why}")
            }
            Self::AfterItsEnd(key, id) => {
                write!(f, "{key} ({id}) was claimed after it was settled")
            }
            Self::Unclaimed(key, id) => {
                write!(f, "{key} ({id}) ran more often than it was claimed")
            }
            Self::NoCallback(key) => write!(
                f,
                "what follows the group of {key} did not end as it should"
            ),
            Self::Early(key, child) => write!(
                f,
                "what follows the group of {key} began before {child} had ended"
            ),
            Self::WrongFailures(key) => write!(
                f,
                "what follows the group of {key} was told of the wrong dead"
            ),
            Self::Poison(key, times) => write!(f, "{key}, a poison job, ran {times} times"),
            Self::Exit(what) => write!(f, "{what}"),
            Self::Leftover(key) => write!(f, "left in Redis: {key}"),
            Self::Audit(finding) => write!(f, "audit: {finding}"),
            Self::Short(what) | Self::Slow(what) => f.write_str(what),
        }
    }
}

/// What was counted on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) unsure: u64,
    pub(super) unsure_ran: u64,
    pub(super) children: u64,
    pub(super) groups: u64,
    pub(super) callbacks: u64,
    pub(super) withheld: u64,
    pub(super) runs: u64,
    pub(super) planned_retries: u64,
    pub(super) dead_as_planned: u64,
    pub(super) revived: u64,
    /// Runs beyond the first that no plan asked for, by what explains them.
    pub(super) duplicates: BTreeMap<Cause, u64>,
    /// Jobs that had their effect more than once.
    pub(super) double_effects: u64,
}

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
                self.counts.dead_as_planned += 1
            }
            End::Dead | End::Poison => self.wrong.push(Wrong::NotDead(key)),
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
                self.wrong.push(Wrong::WrongFailures(key));
                return;
            }
        }
    }

    /// What was buried against the plan had taken three workers down, or its group had failed.
    fn revived(&mut self) {
        for key in &self.remains.revived {
            let is_explained = match (key.part, self.plan.deed(key.part(Part::Whole))) {
                (Part::Then, Deed::Master(group)) => {
                    let buried = |child| {
                        self.remains
                            .buried
                            .contains_key(&key.part(Part::Child(child)))
                    };
                    group.on_death == OnDeath::Fail && (0..group.children).any(buried)
                }
                _ => {
                    let id = self.remains.buried.get(key);
                    let claims = id
                        .and_then(|id| self.history.claims.get(id))
                        .into_iter()
                        .flatten();
                    claims.filter(|claim| has_died(self.history, claim)).count() >= MAX_DEATHS
                }
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
                match cause(self.history, before, after, run) {
                    Some(Cause::Revived) if self.remains.revived.contains(&key) => {}
                    Some(Cause::Planned) => self.counts.planned_retries += 1,
                    // What had not begun did not run twice.
                    Some(cause) if cause != Cause::Revived && run.is_some() => {
                        *self.counts.duplicates.entry(cause).or_default() += 1
                    }
                    Some(cause) if cause != Cause::Revived => {}
                    _ => {
                        let why = format!(
                            "{} {} then {} {}",
                            before.who, before.lease, after.who, after.lease
                        );
                        self.wrong.push(Wrong::Unexplained(key, id, why));
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
