//! A bulk change, at work: it retries or discards dead jobs, tells every second how far it has come, and stops
//! when somebody wants that or the server drains.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{
    error::Chain,
    kv::KvError,
    queue::{
        bulks::{Bulk, Course},
        dead::{Done, Fate, Filter},
        operate::Operator,
    },
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use super::{Ops, people::Who};

/// How often it is told of, and looked whether it is to stop.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// So long after a failure of Redis it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// It is given up if Redis failed it for so long.
const PATIENCE: Duration = Duration::from_secs(300);
/// How it ended is tried to be told so often.
const LAST_WORDS: usize = 10;

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
    let operator = ops.operator_for(who);
    let done = operator.begin_all_dead(fate, &filter).await?;
    let bulk = Bulk {
        id: Uuid::new_v4().simple().to_string()[..12].to_owned(),
        by: who.name.clone(),
        fate,
        filter,
        rate,
        begun_ms: now_ms,
        told_ms: now_ms,
        dead: ops.operator.count_dead().await?,
        done,
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

/// What is known of the work while it goes on.
pub(super) struct Progress(Mutex<(Done, Option<String>)>);

impl From<Done> for Progress {
    fn from(done: Done) -> Self {
        Self(Mutex::new((done, None)))
    }
}

impl Progress {
    fn look(&self) -> (Done, Option<String>) {
        self.get().clone()
    }

    fn get(&self) -> MutexGuard<'_, (Done, Option<String>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes all that fit. What Redis fails goes on a second later, where it was, until that has failed for `patience`.
pub(super) async fn work(
    operator: &Operator,
    bulk: &Bulk,
    patience: Duration,
    progress: &Progress,
) -> Result<(), KvError> {
    let (fate, filter, rate) = (bulk.fate, &bulk.filter, bulk.rate);
    let mut failing_since: Option<Instant> = None;
    loop {
        let (from, _) = progress.look();
        let walk = operator.go_on_all_dead(fate, filter, rate, from, |done| {
            *progress.get() = (done, None);
        });
        let Err(error) = walk.await else {
            progress.get().1 = None;
            return Ok(());
        };
        if progress.look().0 != from {
            failing_since = None;
        }
        if failing_since.get_or_insert_with(Instant::now).elapsed() >= patience {
            return Err(error);
        }
        tracing::warn!(error = %Chain(&error), bulk.id, "Redis failed a bulk change: it goes on");
        progress.get().1 = Some(format!("goes on after: {}", Chain(&error)));
        sleep(AGAIN).await;
    }
}

async fn run(ops: Ops, who: Who, mut bulk: Bulk) {
    let progress = Progress::from(bulk.done);
    let (operator, asked) = (ops.operator_for(&who), bulk.clone());
    let mut work = std::pin::pin!(work(&operator, &asked, PATIENCE, &progress));
    let mut tick = interval(TELL_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = &mut work => {
                bulk.state = Course::Done;
                bulk.why = None;
                if let Err(error) = ended {
                    bulk.state = Course::Failed;
                    bulk.why = Some(Chain(&error).to_string());
                }
                break;
            }
            () = ops.host.shutdown.asked() => {
                bulk.state = Course::Stopped;
                bulk.why = Some("the server was told to stop".to_owned());
                break;
            }
            _ = tick.tick() => {
                (bulk.done, bulk.why) = progress.look();
                if let Ok(Some(by)) = told(&ops, &mut bulk).await {
                    bulk.state = Course::Stopped;
                    bulk.why = Some(format!("{by} stopped it"));
                    break;
                }
            }
        }
    }
    bulk.done = progress.look().0;
    for _ in 0..LAST_WORDS {
        if told(&ops, &mut bulk).await.is_ok() {
            break;
        }
        sleep(AGAIN).await;
    }
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
async fn told(ops: &Ops, bulk: &mut Bulk) -> Result<Option<String>, KvError> {
    let telling = async {
        bulk.told_ms = ops.operator.now_ms().await?;
        ops.bulks.tell(bulk).await
    };
    telling.await.inspect_err(|error| {
        tracing::warn!(error = %Chain(error), bulk.id, "cannot tell how far a bulk change has come");
    })
}
