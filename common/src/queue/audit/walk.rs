//! The walk of an audit: over the names of all keys, the bodies, what points at them, the lists.

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use super::{Account, Auditor, Finding, Problem, Report, Step, names::Names};
use crate::{
    kv::{KvError, Script},
    queue::{
        LIB, Queue,
        inspect::{ONLY_LOOKS, PLACES},
    },
};

static JOBS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "walk over the jobs",
        &[
            ONLY_LOOKS,
            LIB,
            PLACES,
            include_str!("../lua/audit_jobs.lua"),
        ],
    )
});
static INDEX: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "walk over what points at jobs",
        &[
            ONLY_LOOKS,
            LIB,
            PLACES,
            include_str!("../lua/audit_index.lua"),
        ],
    )
});
static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "walk over a queue's list",
        &[
            ONLY_LOOKS,
            LIB,
            PLACES,
            include_str!("../lua/audit_list.lua"),
        ],
    )
});

/// How many entries a step takes: as many as Redis manages in a few ms, so that workers do not feel the
/// audit, and bodies of a megabyte do not fill its memory.
struct Pace {
    count: usize,
    since: Instant,
}

impl Pace {
    const FIRST: usize = 32;
    const MOST: usize = 2000;
    const QUICK: Duration = Duration::from_millis(3);
    const SLOW: Duration = Duration::from_millis(12);

    fn new() -> Self {
        Self {
            count: Self::FIRST,
            since: Instant::now(),
        }
    }

    fn begin(&mut self) -> usize {
        self.since = Instant::now();
        self.count
    }

    fn end(&mut self) {
        let took = self.since.elapsed();
        if took < Self::QUICK {
            self.count = (self.count * 2).min(Self::MOST);
        } else if took > Self::SLOW {
            self.count = (self.count / 2).max(1);
        }
    }
}

type Problems = Vec<(String, String, String)>;
type JobsReply = (
    String,
    Vec<(Queue, String, u64)>,
    Problems,
    Vec<(String, u64, u64)>,
);

impl Auditor {
    pub(super) async fn walk(
        &self,
        names: &Names,
        bodies: u64,
        mut progress: impl FnMut(Step),
    ) -> Result<Report, KvError> {
        let mut report = Report::default();
        for queue in Queue::ALL {
            report.queues.insert(queue, Account::default());
        }

        let of = |problem: Problem, subjects: &[String]| -> Vec<Finding> {
            let finding = |subject: &String| Finding::new(problem, subject, "");
            subjects.iter().map(finding).collect()
        };
        let strangers = self
            .confirm(of(Problem::UnknownWorker, &names.holders))
            .await?;
        let mut highest = BTreeMap::new();
        let mut pace = Pace::new();
        for bucket in &names.buckets.names {
            self.bucket(bucket, &strangers, &mut pace, &mut highest, &mut report)
                .await?;
            let done = report.queues.values().map(Account::present).sum();
            progress(Step {
                over: "jobs",
                done,
                total: bodies.max(done),
            });
        }
        for (queue, (pushed, unlisted)) in highest {
            let numbers = format!("{pushed} {unlisted}");
            report
                .findings
                .push(Finding::new(Problem::LowMark, queue, numbers));
        }
        report.findings.extend(strangers);

        self.index(&mut report, "scheduled", "", &mut progress)
            .await?;
        self.index(&mut report, "dead", "", &mut progress).await?;
        self.index(&mut report, "attempts", "", &mut progress)
            .await?;
        for kind in &names.kinds {
            self.index(&mut report, "parked", kind, &mut progress)
                .await?;
        }
        for worker in &names.holders {
            self.index(&mut report, "claims", worker, &mut progress)
                .await?;
        }
        for master in &names.lefts {
            self.index(&mut report, "left", master, &mut progress)
                .await?;
        }
        self.lanes(&mut report, names, &mut progress).await?;
        self.index(&mut report, "unique", "", &mut progress).await?;
        for flow in &names.flow_jobs {
            self.index(&mut report, "flow", flow, &mut progress).await?;
        }
        let jobless = of(Problem::JoblessFlow, &names.flows);
        report.findings.extend(self.confirm(jobless).await?);
        let histories = of(Problem::NoBodyHistory, &names.histories);
        report.findings.extend(self.confirm(histories).await?);
        let unfired = of(Problem::Unfired, &names.masters);
        report.findings.extend(self.confirm(unfired).await?);
        for queue in Queue::ALL {
            self.list(&mut report, queue, &mut progress).await?;
        }
        // A scan may tell an entry twice.
        report.findings.sort();
        report.findings.dedup();
        report.findings.sort_by_cached_key(Finding::order);
        Ok(report)
    }

    /// Walks over the lines and slots of all lanes.
    async fn lanes(
        &self,
        report: &mut Report,
        names: &Names,
        progress: &mut impl FnMut(Step),
    ) -> Result<(), KvError> {
        self.index(report, "lane_jobs", "", progress).await?;
        for lane in &names.lines {
            self.index(report, "lane", lane, progress).await?;
        }
        for lane in &names.slots {
            self.index(report, "slots", lane, progress).await?;
        }
        let lanes = names.lines.iter().chain(&names.slots);
        let mut suspects: Vec<_> = lanes
            .map(|lane| Finding::new(Problem::SleepingLane, lane, ""))
            .collect();
        suspects.push(Finding::new(Problem::Miscount, "lanes", ""));
        report.findings.extend(self.confirm(suspects).await?);
        Ok(())
    }

    /// Walks over the names of all keys.
    pub(super) async fn names(&self, progress: &mut impl FnMut(Step)) -> Result<Names, KvError> {
        let prefix = self.keys.prefix();
        let failed = |source| self.redis.failed("walk over the keys", source);
        let mut connection = self.redis.connection().await?;
        let total: u64 = redis::cmd("DBSIZE")
            .query_async(&mut connection)
            .await
            .map_err(failed)?;
        let mut names = Names {
            buckets: self.no_buckets().await?,
            ..Names::default()
        };
        let (mut cursor, mut done) = (0_u64, 0);
        loop {
            let (next, some): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(format!("{prefix}[cfghjlps]*"))
                .arg("COUNT")
                .arg(Pace::MOST)
                .query_async(&mut connection)
                .await
                .map_err(failed)?;
            for name in some {
                let Ok(name) = String::from_utf8(name) else {
                    continue;
                };
                names.sort_in(&name[prefix.len()..]);
            }
            done = total.min(done + Pace::MOST as u64);
            progress(Step {
                over: "keys",
                done,
                total,
            });
            if next == 0 {
                names.tidy();
                return Ok(names);
            }
            cursor = next;
        }
    }

    /// Walks over the bodies of a bucket. `highest`: by queue, numbers that are above the mark's.
    async fn bucket(
        &self,
        bucket: &str,
        strangers: &[Finding],
        pace: &mut Pace,
        highest: &mut BTreeMap<String, (u64, u64)>,
        report: &mut Report,
    ) -> Result<(), KvError> {
        let mut cursor = "0".to_owned();
        loop {
            let mut call = JOBS.on(self.keys.prefix());
            call.arg(bucket).arg(&cursor).arg(pace.begin());
            for stranger in strangers {
                call.arg(&stranger.subject);
            }
            let (next, tallies, problems, above): JobsReply = call.run(&self.redis).await?;
            pace.end();
            for (queue, state, n) in tallies {
                report.queues.entry(queue).or_default().add(&state, n);
            }
            report.suspect(problems);
            for (queue, pushed, unlisted) in above {
                let most = highest.entry(queue).or_default();
                *most = (most.0.max(pushed), most.1.max(unlisted));
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn index(
        &self,
        report: &mut Report,
        kind: &'static str,
        of: &str,
        progress: &mut impl FnMut(Step),
    ) -> Result<(), KvError> {
        let mut pace = Pace::new();
        let mut cursor = "0".to_owned();
        let mut done = 0;
        loop {
            let mut call = INDEX.on(self.keys.prefix());
            call.arg(kind).arg(of).arg(&cursor).arg(pace.begin());
            let (next, seen, problems): (String, u64, Problems) = call.run(&self.redis).await?;
            pace.end();
            report.suspect(problems);
            done += seen;
            progress(Step {
                over: kind,
                done,
                total: done,
            });
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    async fn list(
        &self,
        report: &mut Report,
        queue: Queue,
        progress: &mut impl FnMut(Step),
    ) -> Result<(), KvError> {
        let mut pace = Pace::new();
        let mut from = 0;
        loop {
            let mut call = LIST.on(self.keys.prefix());
            let count = pace.begin();
            call.arg(queue).arg(from).arg(count);
            let (seen, waiting, strays): (isize, u64, Vec<Vec<u8>>) = call.run(&self.redis).await?;
            pace.end();
            let Ok(seen) = usize::try_from(seen) else {
                let finding = Finding::new(Problem::NotAList, queue.name(), "");
                report.findings.push(finding);
                return Ok(());
            };
            let account = report.queues.entry(queue).or_default();
            account.listed += seen as u64;
            account.leftover += seen as u64 - waiting;
            report.findings.extend(strays.into_iter().map(|text| {
                let text = String::from_utf8_lossy(&text).into_owned();
                Finding::new(Problem::Stray, text, queue.name())
            }));
            from += seen;
            progress(Step {
                over: "lists",
                done: from as u64,
                total: from as u64,
            });
            if seen < count {
                return Ok(());
            }
        }
    }
}

impl Report {
    fn suspect(&mut self, problems: Problems) {
        let findings = problems.into_iter().filter_map(|(name, subject, at)| {
            Some(Finding::new(Problem::from_name(&name)?, subject, at))
        });
        self.findings.extend(findings);
    }
}

impl Account {
    fn add(&mut self, state: &str, n: u64) {
        match state {
            "waiting" => self.waiting += n,
            "laned" => self.laned += n,
            "scheduled" => self.scheduled += n,
            "claimed" => self.claimed += n,
            "parked" => self.parked += n,
            "dead" => self.dead += n,
            _ => self.nowhere += n,
        }
    }
}
