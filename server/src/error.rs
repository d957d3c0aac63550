//! Errors of the HTTP routes, as replies: JSON with a code and a text that says what to do.

use std::convert::Infallible;

use common::queue::Queue;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use thiserror::Error;
use warp::{
    Rejection,
    reject::{InvalidQuery, LengthRequired, MethodNotAllowed, PayloadTooLarge},
    reply::{Reply, Response},
};

use crate::frame::Refusal;

/// What an HTTP route can answer instead of what was asked.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error("{}", .0.message)]
    Refused(Refusal),
    #[error("{0}")]
    BadRequest(String),
    #[error("this address needs the header `authorization: Bearer` with the server's token")]
    Unauthorized,
    #[error("pages of that origin may not use this server (--origin)")]
    ForbiddenOrigin,
    #[error("a change needs the header `x-rhubarb-ops`, which only the dashboard's own page sets")]
    Forged,
    #[error("{0}")]
    Unprocessable(String),
    #[error("a job has at most {0} bytes: send a reference instead")]
    TooLarge(usize),
    #[error("nothing is at this address")]
    NotFound,
    #[error("this address does not take that method")]
    Method,
    #[error("this address takes WebSocket connections: {0}")]
    NotAnUpgrade(&'static str),
    #[error("Redis cannot be reached; try again")]
    Unavailable,
    #[error("queue `{0}` drains and takes no new jobs")]
    QueueDrains(Queue),
    #[error("Redis's memory is full, so it takes no new jobs")]
    Full,
    #[error("older messages cannot be read now; try again later")]
    ArchiveUnavailable,
    #[error("this server is stopping; another one will answer")]
    Draining,
    #[error("something went wrong here")]
    Internal,
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(refusal) => status_of(refusal),
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::ForbiddenOrigin | Self::Forged => StatusCode::FORBIDDEN,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAnUpgrade(_) => StatusCode::UPGRADE_REQUIRED,
            Self::Unavailable
            | Self::QueueDrains(_)
            | Self::Full
            | Self::ArchiveUnavailable
            | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// In seconds, if it is worth trying again.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Refused(refusal) => refusal.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1)),
            _ => (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::BadRequest(_) => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::ForbiddenOrigin => "forbidden_origin",
            Self::Forged => "forged",
            Self::Unprocessable(_) => "unprocessable",
            Self::TooLarge(_) => "too_large",
            Self::QueueDrains(_) => "queue_drains",
            Self::Full => "full",
            Self::NotFound => "not_found",
            Self::Method => "method_not_allowed",
            Self::NotAnUpgrade(_) => "upgrade_required",
            Self::Unavailable => "unavailable",
            Self::ArchiveUnavailable => "archive_unavailable",
            Self::Draining => "draining",
            Self::Internal => "internal",
        }
    }
}

/// The status of what a socket would be told in an `error` frame.
fn status_of(refusal: &Refusal) -> StatusCode {
    match refusal.code {
        "unavailable" | "not_archived" | "archive_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        "rate_limited" | "too_many_connections" => StatusCode::TOO_MANY_REQUESTS,
        "unauthorized" | "expired" => StatusCode::UNAUTHORIZED,
        "forbidden_room" | "not_author" => StatusCode::FORBIDDEN,
        "not_found" => StatusCode::NOT_FOUND,
        "deleted" => StatusCode::GONE,
        "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    code: &'a str,
    message: String,
    #[serde(rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Reply for ApiError {
    fn into_response(self) -> Response {
        let problem = Problem {
            code: self.code(),
            message: self.to_string(),
            retry_after_ms: match &self {
                Self::Refused(refusal) => refusal.retry_after_ms,
                _ => None,
            },
        };
        let mut response =
            warp::reply::with_status(warp::reply::json(&problem), self.status()).into_response();
        if self.status() == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = self.retry_after() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The page that a browser shows may not use this server. A rejection, as it is not about any one route.
#[derive(Debug)]
pub(crate) struct Forbidden;

impl warp::reject::Reject for Forbidden {}

/// Turns warp's own rejections into replies. Ours are replies from the start, but for that of an origin.
pub(crate) async fn render_rejection(rejection: Rejection) -> Result<ApiError, Infallible> {
    Ok(if rejection.is_not_found() {
        ApiError::NotFound
    } else if rejection.find::<Forbidden>().is_some() {
        ApiError::ForbiddenOrigin
    } else if let Some(error) = rejection.find::<InvalidQuery>() {
        ApiError::BadRequest(error.to_string())
    } else if rejection.find::<MethodNotAllowed>().is_some() {
        ApiError::Method
    } else if let Some(error) = rejection.find::<PayloadTooLarge>() {
        ApiError::BadRequest(error.to_string())
    } else if let Some(error) = rejection.find::<LengthRequired>() {
        ApiError::BadRequest(error.to_string())
    } else {
        tracing::error!(?rejection, "a rejection that nobody expected");
        ApiError::Internal
    })
}
