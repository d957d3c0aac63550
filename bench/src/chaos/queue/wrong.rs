//! What the check takes, besides the history, and what it gives: what was left in Redis, what must not
//! be, and what was counted.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use common::queue::JobId;

use super::{cause::Cause, plan::Key};

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
    Alive(Key),
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
    Misinformed(Key),
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
            Self::Alive(key) => write!(f, "{key} was to be dead and is not"),
            Self::Stuck(n) => write!(f, "{n} jobs never ended"),
            Self::TwoIds(key, ids) => {
                let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
                write!(f, "{key} was made twice: {}", ids.join(", "))
            }
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
            Self::Misinformed(key) => write!(
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
