//! What the dashboard is told when it asks. Every answer is bounded.

use common::{
    id::IdError,
    queue::{
        JobId, Outcome,
        inspect::{
            explain::Explanation,
            list::{Listing, State},
            show::{Job, Known},
        },
        results::AnyOutcome,
    },
};
use serde::Serialize;
use serde_json::value::RawValue;
use warp::reply::{Reply, Response, json};

use super::{Ops, away, query::Query};
use crate::error::ApiError;

/// Jobs and lanes on a page.
const PAGE: usize = 50;
const LONGEST_PAGE: usize = 200;
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
    let page = ops.inspector.jobs(&listing).await.map_err(away)?;
    Ok(json(&page).into_response())
}

/// One job's whole story.
pub(super) async fn job(ops: &Ops, id: &str) -> Result<Response, ApiError> {
    let id = id_of(id)?;
    let told = match ops.inspector.show(id).await.map_err(away)? {
        Known::Job(job) => Told::Job { job },
        Known::Ended(outcome) => ended(id, outcome),
        Known::Finished => Told::Finished { id },
        Known::Never { newest } => Told::Never { id, newest },
    };
    let why = ops.inspector.explain(id).await.map_err(away)?;
    Ok(json(&Story { told, why }).into_response())
}

/// A page of the children of a master that have not settled, each with where it is; and those that failed.
pub(super) async fn children(ops: &Ops, id: &str, query: &Query) -> Result<Response, ApiError> {
    let cursor = query.read("cursor")?.unwrap_or(0);
    let page = ops.inspector.children(id_of(id)?, cursor, CHILDREN).await;
    Ok(json(&page.map_err(away)?).into_response())
}

/// The periodic tasks.
pub(super) async fn periodic(ops: &Ops) -> Result<Response, ApiError> {
    let list = ops.periodic.list().await.map_err(away)?;
    Ok(json(&list).into_response())
}

/// Some lanes.
pub(super) async fn lanes(ops: &Ops, query: &Query) -> Result<Response, ApiError> {
    let after = query.read("after")?.unwrap_or(0);
    let limit = query.limit(PAGE, LONGEST_PAGE)?;
    let lanes = ops.inspector.lanes(after, limit).await.map_err(away)?;
    Ok(json(&lanes).into_response())
}

fn id_of(text: &str) -> Result<JobId, ApiError> {
    let wrong = |error: IdError| ApiError::BadRequest(error.to_string());
    text.parse().map_err(wrong)
}

fn ended(id: JobId, outcome: AnyOutcome) -> Told {
    let (outcome, output, reason) = match outcome {
        Outcome::Done(output) => ("done", Some(output), None),
        Outcome::Dead(reason) => ("dead", None, Some(reason)),
        Outcome::Cancelled(reason) => ("cancelled", None, Some(reason)),
        Outcome::Expired(reason) => ("expired", None, Some(reason)),
        Outcome::Discarded(reason) => ("discarded", None, Some(reason)),
        _ => ("ended", None, None),
    };
    Told::Ended {
        id,
        outcome,
        output,
        reason,
    }
}
