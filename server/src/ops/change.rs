//! What the dashboard changes, each time in somebody's name.

use common::{
    chat::ask::{AskError, Asked},
    error::Chain,
    id::RoomId,
    queue::{
        EnqueueError, JobId, Queue,
        cancel::Cancel,
        dead::{Fate, Filter},
        periodic::entries::Change,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json as value;
use warp::reply::{Reply, Response, json, with_status};

use super::{Ops, away, bulk, people::Who};
use crate::error::ApiError;

/// Jobs that are named one by one, at most.
const MOST: usize = 500;

/// Jobs by their ids. Here and below, a field of another name is no slip to pass over: what was meant as a bound
/// would be none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Jobs {
    ids: Vec<JobId>,
}

/// What became of them.
#[derive(Serialize)]
struct Changed {
    /// So many were changed; others were in another state.
    changed: usize,
    /// Of those to cancel: so many are being run, and their workers are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<usize>,
}

/// Dead jobs by what they have in common: the fields of a [`Filter`], as serde refuses no unknown ones beside those
/// of another struct.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Dead {
    task: Option<String>,
    queue: Option<Queue>,
    error: Option<String>,
    group: Option<JobId>,
    since_ms: Option<u64>,
    before_ms: Option<u64>,
    /// All of them are meant: what is to be discarded is not named by leaving it out.
    all: bool,
    /// So many a second at most.
    rate: Option<f64>,
}

impl Dead {
    /// What is empty is not there.
    fn filter(self) -> Filter {
        let some = |text: &String| !text.is_empty();
        Filter {
            task: self.task.filter(some),
            queue: self.queue,
            error: self.error.filter(some),
            group: self.group,
            since_ms: self.since_ms,
            before_ms: self.before_ms,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bulk {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneQueue {
    queue: Queue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Periodic {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Room {
    room: RoomId,
}

/// Retries, discards or cancels jobs.
pub(super) async fn jobs(
    ops: &Ops,
    who: &Who,
    verb: &str,
    jobs: Jobs,
) -> Result<Response, ApiError> {
    if jobs.ids.is_empty() || jobs.ids.len() > MOST {
        return Err(ApiError::BadRequest(format!(
            "1 to {MOST} ids are expected"
        )));
    }
    let operator = ops.operator_for(who);
    let mut asked = None;
    let changed = match verb {
        "retry" => operator.retry(&jobs.ids).await.map_err(away)?.len(),
        "discard" => operator.discard(&jobs.ids).await.map_err(away)?.len(),
        "cancel" => {
            let answers = operator.cancel(&jobs.ids).await.map_err(away)?;
            let count = |wanted: fn(&&Cancel) -> bool| answers.iter().filter(wanted).count();
            asked = Some(count(|one| matches!(one, Cancel::Asked)));
            count(|one| matches!(one, Cancel::Cancelled))
        }
        _ => return Err(ApiError::NotFound),
    };
    Ok(json(&Changed { changed, asked }).into_response())
}

/// Begins to retry or discard dead jobs that fit; 202 with the id under which this is told and stopped.
pub(super) async fn dead(
    ops: &Ops,
    who: &Who,
    verb: &str,
    dead: Dead,
) -> Result<Response, ApiError> {
    let fate = match verb {
        "retry" => Fate::Retry,
        "discard" => Fate::Discard,
        _ => return Err(ApiError::NotFound),
    };
    if dead
        .rate
        .is_some_and(|rate| !(0.01..=100_000.0).contains(&rate))
    {
        let text = "`rate` is 0.01 to 100000 jobs a second";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    let (all, rate) = (dead.all, dead.rate);
    let filter = dead.filter();
    if fate == Fate::Discard && filter == Filter::default() && !all {
        let text = "a discard of all dead jobs is asked for with `\"all\": true`";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    let id = bulk::begin(ops, who, fate, filter, rate).await;
    let accepted = json(&value!({"id": id.map_err(away)?}));
    Ok(with_status(accepted, http::StatusCode::ACCEPTED).into_response())
}

/// Asks whichever server works on it to stop.
pub(super) async fn stop_bulk(ops: &Ops, who: &Who, bulk: Bulk) -> Result<Response, ApiError> {
    let now_ms = ops.operator.now_ms().await.map_err(away)?;
    let operator = ops.operator_for(who);
    let name = format!("bulk change {}", bulk.id);
    let written = operator.write_down("stop", &name).await;
    written.map_err(away)?;
    let stopping = ops.bulks.ask_stop(&bulk.id, now_ms, &who.name);
    let stopped = stopping.await.map_err(away)?;
    Ok(json(&value!({"changed": u8::from(stopped)})).into_response())
}

/// Pauses, drains or resumes a queue.
pub(super) async fn queue(
    ops: &Ops,
    who: &Who,
    verb: &str,
    OneQueue { queue }: OneQueue,
) -> Result<Response, ApiError> {
    let operator = ops.operator_for(who);
    let changed = match verb {
        "pause" => operator.pause(queue).await,
        "drain" => operator.drain(queue).await,
        "resume" => operator.resume(queue).await,
        _ => return Err(ApiError::NotFound),
    };
    let changed = u8::from(changed.map_err(away)?);
    Ok(json(&value!({"changed": changed})).into_response())
}

/// Pauses, resumes or forgets a periodic task.
pub(super) async fn periodic(
    ops: &Ops,
    who: &Who,
    verb: &str,
    Periodic { name }: Periodic,
) -> Result<Response, ApiError> {
    let change = match verb {
        "pause" => Change::Pause,
        "resume" => Change::Resume,
        "forget" => Change::Forget,
        _ => return Err(ApiError::NotFound),
    };
    let operator = ops.operator_for(who);
    let changed = operator.change_periodic(&name, change).await;
    let changed = changed.map_err(away)?;
    Ok(json(&value!({"outcome": changed})).into_response())
}

/// Asks for a room's flush or rehydration, by the same job that servers ask.
pub(super) async fn room(
    ops: &Ops,
    who: &Who,
    verb: &str,
    Room { room }: Room,
) -> Result<Response, ApiError> {
    let operator = ops.operator_for(who);
    let asked = match verb {
        "flush" => ops.rooms.ask_flush(&operator, &room).await,
        "rehydrate" => ops.rooms.ask_rehydrate(&operator, &room).await,
        _ => return Err(ApiError::NotFound),
    };
    Ok(json(&match asked.map_err(refused)? {
        Asked::Enqueued(job) => value!({"outcome": "enqueued", "job": job}),
        Asked::UnderWay => value!({"outcome": "under_way"}),
        Asked::NotNeeded => value!({"outcome": "not_needed"}),
    })
    .into_response())
}

fn refused(error: AskError) -> ApiError {
    match error {
        AskError::Redis(error) => away(error),
        AskError::Enqueue(EnqueueError::Draining { queue }) => ApiError::QueueDrains(queue),
        AskError::Enqueue(EnqueueError::Full(_)) => ApiError::Full,
        other => {
            tracing::error!(error = %Chain(&other), "a room's job could not be enqueued");
            ApiError::Internal
        }
    }
}
