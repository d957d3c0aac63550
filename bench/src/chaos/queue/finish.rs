//! The finish: when no more goes wrong, what is left is worked off, looked at, and cleared away as an
//! operator would.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, bail};
use common::queue::{
    Body, JobId,
    audit::Auditor,
    dead::{Fate, Filter},
    operate::Operator,
};
use tokio::time::{Instant, sleep};

use super::{
    plan::{End, Part, Plan},
    storm::Storm,
    task::Errand,
    wrong::Remains,
};
use crate::{chaos::ledger::Role, number::count};

/// The longest job, two times to live, and some.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is dead now, each with its id and the last word on it.
type Dead = HashMap<super::plan::Key, (JobId, String)>;

/// Works off, looks and clears away.
pub(super) async fn finish(storm: &Storm, plan: Plan) -> Result<Remains> {
    let mut remains = Remains::default();
    drain(storm).await?;
    let buried = dead(storm).await?;
    remains.buried = buried.iter().map(|(key, (id, _))| (*key, *id)).collect();
    revive(storm, plan, &mut remains).await?;
    stop_workers(storm).await?;

    let last = dead(storm).await?;
    remains.dead = last.into_iter().map(|(key, (_, why))| (key, why)).collect();
    let jobs = storm.redis.bodies().await?;
    remains.stuck = jobs.saturating_sub(count(remains.dead.len()));
    audit(storm, &mut remains).await?;
    let operator = Operator::new(storm.redis.redis().clone(), storm.redis.keys.clone());
    operator
        .all_dead(Fate::Discard, &Filter::default(), None, |_| {})
        .await?;
    audit(storm, &mut remains).await?;
    remains.keys = leftovers(storm).await?;
    Ok(remains)
}

/// Waits until all jobs have ended and the dead workers are known to be dead.
async fn drain(storm: &Storm) -> Result<()> {
    let keys = &storm.redis.keys;
    let workers = storm
        .slots
        .iter()
        .filter(|slot| slot.who().role == Role::Worker);
    let workers = count(workers.count());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let jobs = storm.redis.bodies().await?;
        let dead: u64 = ask(storm, "ZCARD", &keys.dead()).await?;
        let known: u64 = ask(storm, "ZCARD", &keys.workers()).await?;
        // If it never comes to this, the check says what is missing.
        if (jobs == dead && known <= workers) || Instant::now() > deadline {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Retries what is dead against the plan: first what took workers down, then what followed a group that
/// failed for it.
async fn revive(storm: &Storm, plan: Plan, remains: &mut Remains) -> Result<()> {
    let operator = Operator::new(storm.redis.redis().clone(), storm.redis.keys.clone());
    for of_groups in [false, true] {
        let dead = dead(storm).await?;
        let chosen: Vec<_> = dead
            .iter()
            .filter(|(key, _)| {
                plan.end(**key) == End::Done && (key.part == Part::Then) == of_groups
            })
            .collect();
        let ids: Vec<_> = chosen.iter().map(|(_, (id, _))| *id).collect();
        operator.retry(&ids).await?;
        remains.revived.extend(chosen.iter().map(|(key, _)| **key));
        remains
            .buried
            .extend(chosen.iter().map(|(key, (id, _))| (**key, *id)));
        drain(storm).await?;
    }
    Ok(())
}

async fn stop_workers(storm: &Storm) -> Result<()> {
    storm.slots.iter().for_each(|slot| slot.close());
    let deadline = Instant::now() + PATIENCE;
    while storm.slots.iter().any(|slot| slot.is_busy()) {
        if Instant::now() > deadline {
            bail!("a worker does not stop");
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn dead(storm: &Storm) -> Result<Dead> {
    let keys = &storm.redis.keys;
    let ids: Vec<JobId> = storm
        .redis
        .ask(redis::cmd("ZRANGE").arg(keys.dead()).arg(0).arg(-1))
        .await?;
    let mut dead = HashMap::new();
    for id in ids {
        let body: Option<String> = storm
            .redis
            .ask(redis::cmd("HGET").arg(keys.bucket(id)).arg(id))
            .await?;
        let last: Option<String> = storm
            .redis
            .ask(redis::cmd("LINDEX").arg(keys.history(id)).arg(-1))
            .await?;
        let body = body.with_context(|| format!("{id} is dead and has no body"))?;
        let errand: Errand = serde_json::from_str(Body::read(&body)?.args.get())?;
        dead.insert(errand.key, (id, last.unwrap_or_default()));
    }
    Ok(dead)
}

async fn audit(storm: &Storm, remains: &mut Remains) -> Result<()> {
    let auditor = Auditor::new(storm.redis.redis().clone(), storm.redis.keys.clone());
    let report = auditor.audit(|_| {}).await?;
    remains
        .findings
        .extend(report.findings.iter().map(ToString::to_string));
    Ok(())
}

/// What should have gone: everything but the totals, the numbers given out last and what is kept for operators.
async fn leftovers(storm: &Storm) -> Result<Vec<String>> {
    let prefix = storm.redis.keys.prefix();
    let mut names = storm.redis.all_keys().await?;
    names.retain(|name| {
        let own = name.strip_prefix(prefix).unwrap_or(name);
        !["stats", "tasks", "samples"].contains(&own) && !own.starts_with("mark:")
    });
    Ok(names)
}

async fn ask(storm: &Storm, what: &str, key: &str) -> Result<u64> {
    storm.redis.ask(redis::cmd(what).arg(key)).await
}
