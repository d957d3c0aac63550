//! A bulk change, at work: it retries or discards dead jobs, tells every second how far it has come, and stops
//! when somebody wants that or the server drains.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use common::{
    error::Chain,
    kv::KvError,
    queue::{
        bulks::{Bulk, Course},
        dead::{Done, Fate, Filter},
    },
};
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use super::{Ops, people::Who};

/// How often it is told of, and looked whether it is to stop.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Begins one; returns its name.
pub(super) async fn begin(
    ops: &Ops,
    who: &Who,
    fate: Fate,
    filter: Filter,
    rate: Option<f64>,
) -> Result<String, KvError> {
    let now_ms = ops.operator.now_ms().await?;
    ops.bulks.tidy(now_ms).await?;
    let bulk = Bulk {
        id: Uuid::new_v4().simple().to_string()[..12].to_owned(),
        by: who.name.clone(),
        fate,
        filter,
        rate,
        begun_ms: now_ms,
        told_ms: now_ms,
        dead: ops.operator.count_dead().await?,
        done: Done::default(),
        state: Course::Running,
        why: None,
    };
    ops.bulks.tell(&bulk).await?;
    let id = bulk.id.clone();
    let mut work = ops.work();
    while work.try_join_next().is_some() {}
    work.spawn(run(ops.clone(), who.clone(), bulk));
    drop(work);
    Ok(id)
}

async fn run(ops: Ops, who: Who, mut bulk: Bulk) {
    let so_far = Mutex::new(Done::default());
    let look = || *so_far.lock().unwrap_or_else(PoisonError::into_inner);
    let operator = ops.operator_for(&who);
    let (filter, rate) = (bulk.filter.clone(), bulk.rate);
    let mut work = std::pin::pin!(operator.all_dead(bulk.fate, &filter, rate, |done| {
        *so_far.lock().unwrap_or_else(PoisonError::into_inner) = done;
    }));
    let mut tick = interval(TELL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut work => {
                match ended {
                    Ok(_) => bulk.state = Course::Done,
                    Err(error) => {
                        bulk.state = Course::Failed;
                        bulk.why = Some(Chain(&error).to_string());
                    }
                }
                break;
            }
            () = ops.host.shutdown.asked() => {
                bulk.state = Course::Stopped;
                bulk.why = Some("the server was told to stop".to_owned());
                break;
            }
            _ = tick.tick() => {
                bulk.done = look();
                if let Some(by) = told(&ops, &mut bulk).await {
                    bulk.state = Course::Stopped;
                    bulk.why = Some(format!("{by} stopped it"));
                    break;
                }
            }
        }
    }
    bulk.done = look();
    told(&ops, &mut bulk).await;
    let Done { seen, changed, .. } = bulk.done;
    tracing::info!(
        operator = who.name,
        bulk.id,
        seen,
        changed,
        state = ?bulk.state,
        "a bulk change of dead jobs ended: {changed} of {seen}"
    );
}

/// Tells how it stands; returns who wants it to stop. What cannot be told now is told a second later.
async fn told(ops: &Ops, bulk: &mut Bulk) -> Option<String> {
    let telling = async {
        bulk.told_ms = ops.operator.now_ms().await?;
        ops.bulks.tell(bulk).await
    };
    telling.await.unwrap_or_else(|error| {
        tracing::warn!(error = %Chain(&error), bulk.id, "cannot tell how far a bulk change has come");
        None
    })
}
