//! Recovery: how soon what was interrupted went on, by the history of a run.

use std::collections::{BTreeMap, HashSet};

use common::queue::JobId;
use serde::Serialize;

use super::{
    cause::has_died,
    check::MAX_DEATHS,
    faults::Fault,
    history::{Claim, History, Life},
    wrong::Remains,
};
use crate::chaos::{ledger::Role, spread::Spread};

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Recovery {
    /// From the kill of a worker to the next claim of each job that it held.
    pub(super) held_by_killed: Spread,
    /// The same of those for which Redis was away meanwhile or just before.
    pub(super) held_by_killed_amid_more: Spread,
    /// From the pop of an id whose worker never heard of it to its claim.
    pub(super) lost_pops: Spread,
    /// From a worker's order to stop to its end.
    pub(super) stops: Spread,
    /// The same of those for which Redis was away meanwhile or just before.
    pub(super) stops_amid_more: Spread,
    /// From the end of an outage to the first job that began, by kind.
    pub(super) first_job: BTreeMap<&'static str, Spread>,
    /// The same for each worker that lived through it.
    pub(super) each_worker: BTreeMap<&'static str, Spread>,
}

impl Recovery {
    /// Measures.
    pub(super) fn of(history: &History, remains: &Remains) -> Self {
        let (held_by_killed, held_by_killed_amid_more) =
            apart(history, held_by_killed(history, remains));
        let (stops, stops_amid_more) = apart(history, stops(history));
        let (first_job, each_worker) = after_outages(history);
        let lost = history.lost_pops.iter().filter_map(|(t, id)| {
            let next = next_claim(history, *id, *t)?;
            (!is_disturbed(history, *t, next.t)).then(|| next.t - t)
        });
        Self {
            held_by_killed,
            held_by_killed_amid_more,
            lost_pops: Spread::of(lost.collect()),
            stops,
            stops_amid_more,
            first_job,
            each_worker,
        }
    }
}

/// How long spans took: those in quiet times, and the others.
fn apart(history: &History, spans: Vec<(u64, u64)>) -> (Spread, Spread) {
    let (amid_more, quiet): (Vec<_>, Vec<_>) = spans
        .into_iter()
        .partition(|(from, to)| is_disturbed(history, *from, *to));
    let times = |spans: Vec<(u64, u64)>| {
        let times = spans.into_iter().map(|(from, to)| to.saturating_sub(from));
        Spread::of(times.collect())
    };
    (times(quiet), times(amid_more))
}

fn held_by_killed(history: &History, remains: &Remains) -> Vec<(u64, u64)> {
    let buried: HashSet<_> = remains.buried.values().collect();
    let mut spans = Vec::new();
    for (id, claims) in &history.claims {
        let mut deaths = 0;
        for two in claims.windows(2) {
            let (before, after) = (&two[0], &two[1]);
            deaths += usize::from(has_died(history, before));
            if deaths >= MAX_DEATHS && buried.contains(id) {
                break; // it was buried then, and retried by hand much later
            }
            let killed = history.lives.get(&before.who).and_then(|life| life.killed);
            let Some(killed) = killed.filter(|t| before.settled.is_none() && before.t <= *t) else {
                continue;
            };
            spans.push((killed, after.t));
        }
    }
    spans
}

/// Of those that were not killed meanwhile.
fn stops(history: &History) -> Vec<(u64, u64)> {
    let lives = history.lives.values();
    lives
        .filter_map(|life| match (life.stopped, life.exit) {
            (Some(asked), Some((ended, None, _))) => Some((asked, ended)),
            _ => None,
        })
        .collect()
}

fn next_claim(history: &History, id: JobId, after: u64) -> Option<&Claim> {
    let claims = history.claims.get(&id)?;
    claims.iter().find(|claim| claim.t > after)
}

/// Whether nobody could reach Redis for some time, between these two or so shortly before that the
/// heartbeats were given more time for it.
fn is_disturbed(history: &History, from: u64, to: u64) -> bool {
    let meets = |(began, over, _): &(u64, u64, Fault)| {
        over - began >= SHORT_NS && *began < to && over + GOING_ON_NS > from
    };
    history.outages.iter().any(meets)
}

/// A shorter outage disturbs nobody.
const SHORT_NS: u64 = 1_000_000_000;
/// After a long one nobody counts as dead for a whole time to live.
const GOING_ON_NS: u64 = 6_000_000_000;

type ByKind = BTreeMap<&'static str, Spread>;

fn after_outages(history: &History) -> (ByKind, ByKind) {
    let mut starts: Vec<_> = history
        .runs
        .values()
        .flatten()
        .map(|run| (run.start, run.who))
        .collect();
    starts.sort_unstable();
    let mut first: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    let mut each: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
    for (began, over, fault) in history
        .outages
        .iter()
        .filter(|(.., fault)| fault.is_outage())
    {
        let after = &starts[starts.partition_point(|(t, _)| t < over)..];
        if let Some((t, _)) = after.first() {
            first.entry(fault.name()).or_default().push(t - over);
        }
        for (who, life) in &history.lives {
            let was_hit = history
                .hits
                .iter()
                .any(|(t, hit, ..)| hit == who && *t > *began && *t < over + SETTLED_NS);
            if who.role == Role::Worker && !was_hit && lived_through(life, *began, *over) {
                let next = after.iter().find(|(_, runner)| runner == who);
                each.entry(fault.name())
                    .or_default()
                    .extend(next.map(|(t, _)| t - over));
            }
        }
    }
    let spread = |times: BTreeMap<&'static str, Vec<u64>>| {
        times
            .into_iter()
            .map(|(kind, times)| (kind, Spread::of(times)))
            .collect()
    };
    (spread(first), spread(each))
}

/// Whoever has other troubles this soon after an outage is not asked how it went on.
const SETTLED_NS: u64 = 2_000_000_000;

/// Whether a worker was there and well before an outage and for some time after it.
fn lived_through(life: &Life, began: u64, over: u64) -> bool {
    let later = over + SETTLED_NS;
    let ended = [life.killed, life.stopped, life.exit.map(|(t, ..)| t)];
    life.boot.is_some_and(|boot| boot + 1_000_000_000 < began)
        && ended.into_iter().flatten().all(|t| t > later)
        && life
            .silent
            .iter()
            .all(|(from, to, _)| *to < began || *from > later)
}
