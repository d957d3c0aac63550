//! What the dashboard is told when it asks. Every answer is bounded.

use common::{
    chat::inspect::list::Which,
    id::IdError,
    queue::{
        JobId,
        inspect::{
            explain::Explanation,
            list::{Listing, State},
            show::{Job, Known},
        },
        results::AnyOutcome,
        samples::Sample,
    },
};
use serde::Serialize;
use serde_json::{json as value, value::RawValue};
use warp::reply::{Reply, Response, json};

use super::{Ops, away, query::Query};
use crate::error::ApiError;

/// Jobs and lanes on a page.
const PAGE: usize = 50;
const LONGEST_PAGE: usize = 200;
/// Samples that one call of Redis reads, those of a week, and points that are told of them.
const CHUNK: usize = 1000;
const MOST_SAMPLES: usize = 8 * 24 * 60;
const POINTS: usize = 500;
/// Children on a page: each is looked at.
const CHILDREN: usize = 30;

/// What is known of one id.
#[derive(Serialize)]
#[serde(tag = "known", rename_all = "snake_case")]
enum Told {
    /// It is here.
    Job { job: Box<Job> },
    /// It has ended, and that is kept.
    Ended {
        id: JobId,
        outcome: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<Box<RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It has ended, and nothing is kept.
    Finished { id: JobId },
    /// There has been none.
    Never {
        id: JobId,
        #[serde(skip_serializing_if = "Option::is_none")]
        newest: Option<JobId>,
    },
}

/// That, and why it is not running.
#[derive(Serialize)]
struct Story {
    #[serde(flatten)]
    told: Told,
    why: Explanation,
}

/// The queues at this moment.
pub(super) async fn status(ops: &Ops) -> Result<Response, ApiError> {
    let status = ops.inspector.status().await.map_err(away)?;
    Ok(json(&status).into_response())
}

/// A page of the jobs in one state.
pub(super) async fn jobs(ops: &Ops, query: &Query) -> Result<Response, ApiError> {
    let state = query.text("state").unwrap_or("waiting");
    let all = [
        State::Waiting,
        State::Laned,
        State::Scheduled,
        State::Claimed,
        State::Parked,
        State::Dead,
    ];
    let state = all.into_iter().find(|one| one.name() == state);
    let state = state.ok_or_else(|| ApiError::BadRequest("`state` is none".to_owned()))?;
    let mut filter = query.filter()?;
    let queue = filter.queue;
    if state == State::Waiting {
        filter.queue = None; // the list is by queue
    }
    let listing = Listing {
        state,
        queue,
        lane: query.text("lane").map(str::to_owned),
        filter,
        limit: query.limit(PAGE, LONGEST_PAGE)?,
        cursor: query.read("cursor")?,
    };
    let mut page = ops.inspector.jobs(&listing).await.map_err(away)?;
    // Arguments may be large, and are for who looks at one job.
    for row in &mut page.jobs {
        row.args = None;
    }
    Ok(json(&page).into_response())
}

/// One job's whole story.
pub(super) async fn job(ops: &Ops, id: &str) -> Result<Response, ApiError> {
    let id = id_of(id)?;
    let known = ops.inspector.show(id).await.map_err(away)?;
    let why = ops.inspector.explain_known(id, &known).await;
    let why = why.map_err(away)?;
    let told = match known {
        Known::Job(job) => Told::Job { job },
        Known::Ended(outcome) => ended(id, outcome),
        Known::Finished => Told::Finished { id },
        Known::Never { newest } => Told::Never { id, newest },
    };
    Ok(json(&Story { told, why }).into_response())
}

/// A page of the children of a master that have not settled, each with where it is; and those that failed.
pub(super) async fn children(ops: &Ops, id: &str, query: &Query) -> Result<Response, ApiError> {
    let cursor = query.number("cursor")?.unwrap_or(0);
    let page = ops.inspector.children(id_of(id)?, cursor, CHILDREN).await;
    let mut page = page.map_err(away)?;
    for job in page.left.iter_mut().filter_map(|child| child.job.as_mut()) {
        job.args = None;
    }
    Ok(json(&page).into_response())
}

/// The periodic tasks.
pub(super) async fn periodic(ops: &Ops) -> Result<Response, ApiError> {
    let list = ops.periodic.list().await.map_err(away)?;
    Ok(json(&list).into_response())
}

/// Some lanes.
pub(super) async fn lanes(ops: &Ops, query: &Query) -> Result<Response, ApiError> {
    let after = query.number("after")?.unwrap_or(0);
    let after = usize::try_from(after).unwrap_or(usize::MAX);
    let limit = query.limit(PAGE, LONGEST_PAGE)?;
    let lanes = ops.inspector.lanes(after, limit).await.map_err(away)?;
    Ok(json(&lanes).into_response())
}

/// A page of rooms.
pub(super) async fn rooms(ops: &Ops, query: &Query) -> Result<Response, ApiError> {
    let which = query.text("which").unwrap_or("dirty");
    let all = [Which::Dirty, Which::Occupied, Which::Premium, Which::All];
    let which = all.into_iter().find(|one| one.name() == which);
    let which = which.ok_or_else(|| ApiError::BadRequest("`which` is none".to_owned()))?;
    let limit = query.limit(PAGE, LONGEST_PAGE)?;
    let cursor = query.read("cursor")?;
    let page = ops.rooms.list(which, limit, cursor.as_ref()).await;
    Ok(json(&page.map_err(away)?).into_response())
}

/// One room; not what was said in it.
pub(super) async fn room(ops: &Ops, room: &str) -> Result<Response, ApiError> {
    let wrong = |error: IdError| ApiError::BadRequest(error.to_string());
    let room = room.parse().map_err(wrong)?;
    let room = ops.rooms.show(&room).await.map_err(away)?;
    Ok(json(&room).into_response())
}

/// Who did what by hand, the latest first.
pub(super) async fn actions(ops: &Ops, query: &Query) -> Result<Response, ApiError> {
    let before = query.text("before");
    let is_id = |text: &str| {
        let parts = text.split_once('-');
        // Redis takes no greater one than the greatest, and nothing is before the least.
        parts.is_some_and(|(ms, n)| {
            ms.parse::<u64>().is_ok_and(|ms| ms > 0) && n.parse::<u64>().is_ok()
        })
    };
    if !before.is_none_or(is_id) {
        let text = "`before` is the id of an action";
        return Err(ApiError::BadRequest(text.to_owned()));
    }
    let limit = query.limit(PAGE, LONGEST_PAGE)?;
    let actions = ops.inspector.actions(before, limit).await;
    Ok(json(&value!({"actions": actions.map_err(away)?})).into_response())
}

/// How the queues were, from a time on: some hundreds of points, however long ago that is.
pub(super) async fn samples(ops: &Ops, query: &Query) -> Result<Response, ApiError> {
    let mut from = query.number("since_ms")?.unwrap_or(0);
    let mut all: Vec<Sample> = Vec::new();
    loop {
        let some = ops.inspector.samples(from, CHUNK).await.map_err(away)?;
        let is_last = some.len() < CHUNK;
        from = some.last().map_or(from, |last| last.at_ms + 1);
        all.extend(some);
        if is_last || all.len() > MOST_SAMPLES {
            break;
        }
    }
    Ok(json(&value!({"samples": fewer(&all)})).into_response())
}

/// Each point is of several minutes: of what goes up and down the highest, so that no peak is lost.
fn fewer(samples: &[Sample]) -> Vec<Sample> {
    let minutes = samples.len().div_ceil(POINTS).max(1);
    let points = samples.chunks(minutes).filter_map(|chunk| {
        let mut point = chunk.last()?.clone();
        for (name, value) in &mut point.values {
            let before = chunk.iter().filter_map(|one| one.values.get(name));
            *value = before.copied().max().unwrap_or(*value);
        }
        Some(point)
    });
    points.collect()
}

fn id_of(text: &str) -> Result<JobId, ApiError> {
    let wrong = |error: IdError| ApiError::BadRequest(error.to_string());
    text.parse().map_err(wrong)
}

fn ended(id: JobId, outcome: AnyOutcome) -> Told {
    let (outcome, output, reason) = outcome.into_parts();
    Told::Ended {
        id,
        outcome,
        output,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_samples_are_told_as_fewer_points_without_losing_a_peak_or_a_total() {
        let sample = |n: usize| Sample {
            at_ms: n as u64 * 60_000,
            values: [
                ("low:waiting".to_owned(), if n == 1001 { 77 } else { 1 }),
                ("low:enqueued".to_owned(), i64::try_from(n).unwrap()),
            ]
            .into(),
        };
        let week: Vec<_> = (0..10_080).map(sample).collect();

        let points = fewer(&week);

        assert!(points.len() <= POINTS, "{}", points.len());
        assert_eq!(points.last().unwrap().values["low:enqueued"], 10_079);
        let peaks = points
            .iter()
            .filter(|point| point.values["low:waiting"] == 77);
        assert_eq!(peaks.count(), 1);
        assert_eq!(fewer(&week[..300]), week[..300]);
        assert!(fewer(&[]).is_empty());
    }
}
