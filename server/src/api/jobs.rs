//! Jobs over HTTP, for programs in any language: enqueue one, ask where it is. Off unless the server has a
//! token, which each request then carries: who can enqueue can run any task on any arguments.

use std::time::Duration;

use bytes::Buf;
use chrono::DateTime;
use common::{
    error::Chain,
    kv::{Keys, KvError, Redis},
    queue::{
        EnqueueError, JobId, Options, Producer, Queue, When,
        enqueue::MAX_BODY,
        inspect::{Inspector, show::Known},
        results::AnyOutcome,
        span::Request,
    },
};
use futures_util::Stream;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use warp::reply::{Reply, json, with_status};

use super::{body, trace_of};
use crate::{
    auth::bearer::{Token, bearer},
    error::ApiError,
};

/// Beside the body of a job: names and numbers.
const ROOM: usize = 1024;

/// What the routes of jobs work with.
#[derive(Debug, Clone)]
pub(crate) struct Jobs {
    token: Token,
    producer: Producer,
    inspector: Inspector,
}

/// A job to be, as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    task: String,
    #[serde(default)]
    args: Option<Box<RawValue>>,
    #[serde(default)]
    queue: Option<Queue>,
    #[serde(default)]
    in_ms: Option<u64>,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    max_attempts: Option<u32>,
}

#[derive(Serialize)]
struct Enqueued {
    id: JobId,
}

/// Where a job is.
#[derive(Default, Serialize)]
struct Told {
    id: String,
    /// `waiting`, `laned`, `scheduled`, `claimed`, `parked`, `dead` or `finished`; or how it ended, if that was to
    /// be kept: `done`, `cancelled`, `expired` or `discarded`.
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enqueued_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    buried_ms: Option<u64>,
    /// Why its last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What it gave back.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Box<RawValue>>,
}

impl Jobs {
    /// Jobs of the queues under `keys`, for who has the token.
    pub(crate) fn new(token: Token, redis: Redis, keys: Keys) -> Self {
        Self {
            token,
            producer: Producer::new(redis.clone(), keys.clone()),
            inspector: Inspector::new(redis, keys),
        }
    }

    fn admit(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let header = headers.get(header::AUTHORIZATION);
        match bearer(header.and_then(|text| text.to_str().ok())) {
            Some(given) if self.token.is(given) => Ok(()),
            _ => Err(ApiError::Unauthorized),
        }
    }
}

/// Enqueues a job; 202 with its id.
pub(crate) async fn enqueue<B: Buf>(
    jobs: Jobs,
    headers: HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<impl Reply, ApiError> {
    // Before the body is read: a stranger must not make us hold a large one.
    jobs.admit(&headers)?;
    let body = body::read(body, MAX_BODY + ROOM).await?;
    let body = body.ok_or(ApiError::TooLarge(MAX_BODY))?;
    let wanted = understand(&body)?;
    let mut options = Options {
        when: wanted.when()?,
        ..Options::default()
    };
    options.queue = wanted.queue;
    options.max_attempts = wanted.max_attempts;
    let args = wanted.args.as_deref().unwrap_or(RawValue::NULL);
    let request = Request::new("POST /jobs", trace_of(&headers));
    let enqueuing = jobs.producer.enqueue_raw(&wanted.task, args, &options);
    let id = request.answer(enqueuing).await.map_err(refused)?;
    tracing::debug!(job.id = %id, task = wanted.task, "enqueued over HTTP");
    Ok(with_status(json(&Enqueued { id }), StatusCode::ACCEPTED))
}

/// Where a job is.
pub(crate) async fn state(
    id: String,
    jobs: Jobs,
    headers: HeaderMap,
) -> Result<impl Reply, ApiError> {
    jobs.admit(&headers)?;
    // warp leaves a path as it was written; of an id, only `+` may have been encoded.
    let id = id.replace("%2B", "+").replace("%2b", "+");
    let id: JobId = id.parse().map_err(|_| ApiError::NotFound)?;
    let state = match jobs.inspector.show(id).await.map_err(away)? {
        Known::Job(mut job) => Told {
            id: id.to_string(),
            task: job.task,
            attempts: Some(job.attempts),
            enqueued_ms: job.enqueued_ms,
            due_ms: job.due_ms,
            buried_ms: job.buried_ms,
            error: job.history.pop().and_then(|entry| entry.error),
            state: job.state,
            output: None,
        },
        Known::Ended(outcome) => ended(id, outcome),
        Known::Finished => Told {
            id: id.to_string(),
            state: "finished".to_owned(),
            ..Told::default()
        },
        Known::Never { .. } => return Err(ApiError::NotFound),
    };
    Ok(json(&state))
}

/// How a job ended that was to keep its outcome.
fn ended(id: JobId, outcome: AnyOutcome) -> Told {
    let (state, output, error) = outcome.into_parts();
    Told {
        id: id.to_string(),
        state: state.to_owned(),
        output,
        error,
        ..Told::default()
    }
}

fn understand(body: &[u8]) -> Result<Wanted, ApiError> {
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let wanted = serde_json::from_slice(body);
    if !is_object && wanted.as_ref().err().is_none_or(serde_json::Error::is_data) {
        let text = "the body is not a JSON object";
        return Err(ApiError::Unprocessable(text.to_owned()));
    }
    wanted.map_err(|error| {
        if error.is_data() {
            ApiError::Unprocessable(error.to_string())
        } else {
            ApiError::BadRequest(format!("the body is not JSON: {error}"))
        }
    })
}

impl Wanted {
    /// When it may run; also checks what JSON alone does not tell.
    fn when(&self) -> Result<When, ApiError> {
        let wrong = |text: &str| Err(ApiError::Unprocessable(text.to_owned()));
        if self.task.is_empty() {
            return wrong("`task` is empty");
        }
        if self.max_attempts == Some(0) {
            return wrong("`max_attempts` is at least 1");
        }
        match (self.in_ms, &self.at) {
            (Some(_), Some(_)) => wrong("give `in_ms` or `at`, not both"),
            (Some(ms), None) => Ok(When::In(Duration::from_millis(ms))),
            (None, Some(text)) => match DateTime::parse_from_rfc3339(text) {
                Ok(time) => Ok(When::At(time.into())),
                Err(_) => wrong("`at` is a time such as 2026-09-21T14:13:20Z"),
            },
            (None, None) => Ok(When::Now),
        }
    }
}

fn refused(error: EnqueueError) -> ApiError {
    match error {
        EnqueueError::TooLarge { most, .. } => ApiError::TooLarge(most),
        EnqueueError::Draining { queue } => ApiError::QueueDrains(queue),
        EnqueueError::Full(_) => ApiError::Full,
        EnqueueError::Push { source, .. } => away(source),
        other => {
            tracing::error!(error = %Chain(&other), "a job could not be enqueued over HTTP");
            ApiError::Internal
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is the end of the error")]
fn away(error: KvError) -> ApiError {
    tracing::warn!(error = %Chain(&error), "Redis failed a request about jobs");
    ApiError::Unavailable
}
