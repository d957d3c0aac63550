//! Audit: accounts for every job, on a live system, and repairs what hands or accidents broke.
//!
//! It walks over the bodies in chunks; each chunk is one script, so that every answer is true of one
//! instant and a job that moves is never taken for a lost one. Then it walks over what points at jobs:
//! entries that point at nothing, claims of workers that are not on the list, groups that cannot end.
//! A repair re-checks and acts in one step. What a worker's own care mends within seconds (lost pops, a
//! list that was deleted) is not reported.

mod balance;
mod finding;
mod names;
mod walk;

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Serialize;

use balance::Buckets;
pub use finding::{Finding, Problem};

use super::{ENDS, Queue, buckets, inspect::PLACES};
use crate::kv::{Keys, KvError, Redis, Script};

static MEND: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "check and repair what the audit found",
        &[
            ENDS,
            PLACES,
            include_str!("../lua/count.lua"),
            include_str!("../lua/mend.lua"),
        ],
    )
});

/// Suspects a script call.
const CHUNK: usize = 200;

/// Accounts for the jobs under one namespace.
#[derive(Debug, Clone)]
pub struct Auditor {
    redis: Redis,
    keys: Keys,
}

/// What an audit found out.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// By queue, in the order of priority.
    pub queues: BTreeMap<Queue, Account>,
    /// Jobs that are not settled, by the count of bodies.
    pub jobs: u64,
    /// Jobs that were enqueued and have neither ended nor were written off nor are here, in all;
    /// exact also while the system works.
    pub missing: i64,
    /// What is amiss.
    pub findings: Vec<Finding>,
}

/// The jobs of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Counted since ever.
    pub enqueued: i64,
    /// Counted since ever.
    pub completed: i64,
    /// Counted since ever.
    pub discarded: i64,
    /// Counted since ever.
    pub cancelled: i64,
    /// Counted since ever: not started in time.
    pub expired: i64,
    /// Written off by earlier repairs.
    pub lost: i64,
    /// Seen on the walk, as are the next ones.
    pub waiting: u64,
    /// In the lines of lanes.
    pub laned: u64,
    /// For their time.
    pub scheduled: u64,
    /// With a worker.
    pub claimed: u64,
    /// For a worker to come that knows them.
    pub parked: u64,
    /// For somebody to look at.
    pub dead: u64,
    /// In no place.
    pub nowhere: u64,
    /// Entries of the list.
    pub listed: u64,
    /// Entries of jobs that do not wait: discarded, or listed twice. They are passed over.
    pub leftover: u64,
}

impl Account {
    /// Jobs that are not settled.
    pub fn present(&self) -> u64 {
        let underway = self.waiting + self.laned + self.scheduled + self.claimed;
        underway + self.parked + self.dead + self.nowhere
    }

    /// Enqueued jobs that are not accounted for.
    pub fn missing(&self) -> i64 {
        let ended = self.completed + self.discarded + self.cancelled + self.expired;
        self.enqueued - ended - self.lost - self.present().cast_signed()
    }
}

/// How far an audit has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What it walks over.
    pub over: &'static str,
    /// How many it has seen.
    pub done: u64,
    /// How many there are, about.
    pub total: u64,
}

impl Auditor {
    /// Accounts for the jobs under `keys`.
    pub fn new(redis: Redis, keys: Keys) -> Self {
        Self { redis, keys }
    }

    /// Walks over everything. The cost is in proportion to what Redis holds, in steps of a few ms.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn audit(&self, mut progress: impl FnMut(Step)) -> Result<Report, KvError> {
        buckets::move_old(&self.redis, &self.keys).await?;
        let names = self.names(&mut progress).await?;
        let before = self.balance(&names.buckets).await?;
        let mut report = self.walk(&names, before.0, progress).await?;
        let (jobs, after) = self.balance(&names.buckets).await?;
        for (queue, account) in &mut report.queues {
            let total = |what: &str| after.get(&format!("{what}:{queue}")).copied().unwrap_or(0);
            account.enqueued = total("enqueued");
            account.completed = total("completed");
            account.discarded = total("discarded");
            account.cancelled = total("cancelled");
            account.expired = total("expired");
            account.lost = total("lost");
        }
        let sum = |what: &str| -> i64 {
            after
                .iter()
                .filter(|(name, _)| name.split(':').next() == Some(what))
                .map(|(_, n)| n)
                .sum()
        };
        let ends = ["completed", "discarded", "cancelled", "expired", "lost"];
        let gone: i64 = ends.into_iter().map(sum).sum();
        report.jobs = jobs;
        report.missing = sum("enqueued") - gone - jobs.cast_signed();
        // If nothing moved, each queue's sum must come out, too: unless a scan told an entry twice, or
        // jobs of an unknown queue were written off before.
        let walked: u64 = report.queues.values().map(Account::present).sum();
        let by_queue =
            before == (jobs, after.clone()) && walked == jobs && !after.contains_key("lost");
        let imbalance = |n: i64, queue: &str| (n != 0).then(|| (n.to_string(), queue.to_owned()));
        let imbalances: Vec<_> = if by_queue {
            let each = report.queues.iter();
            each.filter_map(|(queue, account)| imbalance(account.missing(), queue.name()))
                .collect()
        } else {
            imbalance(report.missing, "").into_iter().collect()
        };
        let findings = imbalances
            .into_iter()
            .map(|(n, queue)| Finding::new(Problem::Imbalance, n, queue));
        report.findings.extend(findings);
        Ok(report)
    }

    /// Repairs what can be; notes on each finding what was done. Returns how many findings remain.
    ///
    /// # Errors
    /// If Redis fails; what was not repaired is found by the next audit.
    pub async fn repair(
        &self,
        findings: &mut [Finding],
        mut progress: impl FnMut(Step),
    ) -> Result<usize, KvError> {
        // Workers and marks first: they tell where jobs are. Then ids by number, so that jobs wait again
        // in the order in which they were enqueued.
        findings.sort_by_cached_key(Finding::order);
        let (mut done, total) = (0, findings.len() as u64);
        // What is said of all bodies, by itself: it has to know where they are, when the rest is mended.
        let counts = |found: &Finding| found.problem == Problem::Imbalance && found.at.is_empty();
        for alike in findings.chunk_by_mut(|one, next| counts(one) == counts(next)) {
            let buckets = if alike.first().is_some_and(counts) {
                self.names(&mut progress).await?.buckets
            } else {
                Buckets::default()
            };
            for chunk in alike.chunks_mut(CHUNK) {
                while self.mend(chunk, &buckets).await? == Again::Yes {}
                done += chunk.len() as u64;
                progress(Step {
                    over: "repairs",
                    done,
                    total,
                });
            }
        }
        Ok(findings.iter().filter(|f| f.repaired.is_none()).count())
    }

    /// Keeps of `suspects` what is so.
    async fn confirm(&self, suspects: Vec<Finding>) -> Result<Vec<Finding>, KvError> {
        let mut confirmed = Vec::new();
        for chunk in suspects.chunks(CHUNK) {
            let reply: Vec<(usize, u8, String)> =
                self.call(chunk, Check::Look, &Buckets::default()).await?;
            confirmed.extend(reply.into_iter().map(|(at, ..)| chunk[at - 1].clone()));
        }
        Ok(confirmed)
    }

    async fn mend(&self, chunk: &mut [Finding], buckets: &Buckets) -> Result<Again, KvError> {
        let pending: Vec<usize> = (0..chunk.len())
            .filter(|at| chunk[*at].repaired.is_none())
            .collect();
        let asked: Vec<Finding> = pending.iter().map(|at| chunk[*at].clone()).collect();
        let reply: Vec<(usize, u8, String)> = self.call(&asked, Check::Mend, buckets).await?;
        let mut still = vec![false; asked.len()];
        let mut again = Again::No;
        for (at, repaired, done) in reply {
            still[at - 1] = true;
            if repaired == 1 {
                chunk[pending[at - 1]].repaired = Some(done);
            } else if asked[at - 1].problem == Problem::LowMark {
                again = Again::Yes; // it takes bounded steps
            }
        }
        for (at, still) in pending.into_iter().zip(still) {
            if !still {
                chunk[at].repaired = Some("is well again by itself".to_owned());
            }
        }
        Ok(again)
    }

    async fn call(
        &self,
        suspects: &[Finding],
        check: Check,
        buckets: &Buckets,
    ) -> Result<Vec<(usize, u8, String)>, KvError> {
        let mut call = MEND.on(self.keys.prefix());
        call.arg(match check {
            Check::Look => "look",
            Check::Mend => "mend",
        });
        buckets.write(&mut call);
        for Finding {
            problem,
            subject,
            at,
            ..
        } in suspects
        {
            call.arg(problem.name()).arg(subject).arg(at);
        }
        call.run(&self.redis).await
    }
}

/// What to do with a suspect.
#[derive(Debug, Clone, Copy)]
enum Check {
    Look,
    Mend,
}

/// Whether a repair goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}
