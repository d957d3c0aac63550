//! The table of all that is below `/ops`.

use bytes::Buf;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use warp::{
    path::Tail,
    reply::{Reply, Response, json},
};

use super::{Ops, change, door::Caller, live, people, query::Query, read};
use crate::{
    api::{body, page},
    error::ApiError,
    limits::Address,
};

/// A change is asked for in so many bytes at most.
const MOST: usize = 64 * 1024;

#[derive(Deserialize)]
struct SignIn {
    token: String,
}

/// Answers a request below `/ops`.
pub(crate) async fn answer<B: Buf>(
    ops: Ops,
    method: Method,
    path: Tail,
    query: Query,
    headers: HeaderMap,
    address: Address,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, ApiError> {
    let caller = Caller {
        headers: &headers,
        address,
        limits: &ops.host.limits,
    };
    // The page knows nothing by itself; what it is told, it asks for below `api`.
    if let Some(path) = path.as_str().strip_prefix("api/") {
        let answered = call(&ops, &caller, &method, path, &query, body).await;
        return answered.map(not_kept);
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(ApiError::Method);
    }
    let known = headers.get(header::IF_NONE_MATCH);
    let known = known
        .and_then(|known| known.to_str().ok())
        .map(str::to_owned);
    match path.as_str() {
        "" => page::ops("index.html", known),
        path => page::ops(
            path.strip_prefix("static/").ok_or(ApiError::NotFound)?,
            known,
        ),
    }
}

async fn call<B: Buf>(
    ops: &Ops,
    caller: &Caller<'_>,
    method: &Method,
    path: &str,
    query: &Query,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, ApiError> {
    let parts: Vec<String> = path.split('/').map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    query.has_only(names(&parts))?;
    match (method.as_str(), &parts[..]) {
        ("POST", ["session"]) => {
            caller.comes_from_here()?;
            let SignIn { token } = understood(body).await?;
            let who = caller.holder(ops, &token)?;
            let signed = ops.people.cookie(&who.name, caller.is_secure());
            let (cookie, who) = signed.ok_or(ApiError::Internal)?;
            tracing::info!(
                operator = who.name,
                "{} signed in to the dashboard",
                who.name
            );
            with_cookie(json(&who).into_response(), &cookie)
        }
        ("DELETE", ["session"]) => {
            caller.comes_from_here()?;
            with_cookie(Response::default(), &people::no_cookie(caller.is_secure()))
        }
        ("POST", what) => {
            let who = &caller.changes(ops)?;
            match what {
                ["jobs", verb] => change::jobs(ops, who, verb, understood(body).await?).await,
                ["dead", verb] => change::dead(ops, who, verb, understood(body).await?).await,
                ["bulks", "stop"] => change::stop_bulk(ops, who, understood(body).await?).await,
                ["queues", verb] => change::queue(ops, who, verb, understood(body).await?).await,
                ["periodic", verb] => {
                    change::periodic(ops, who, verb, understood(body).await?).await
                }
                ["rooms", verb] => change::room(ops, who, verb, understood(body).await?).await,
                _ => Err(ApiError::NotFound),
            }
        }
        ("GET" | "HEAD", what) => {
            let who = caller.looks(ops)?;
            match what {
                ["me"] => Ok(json(&who).into_response()),
                ["live"] => live::listen(ops, &who),
                ["status"] => read::status(ops).await,
                ["jobs"] => read::jobs(ops, query).await,
                ["jobs", id] => read::job(ops, id).await,
                ["jobs", id, "children"] => read::children(ops, id, query).await,
                ["periodic"] => read::periodic(ops).await,
                ["lanes"] => read::lanes(ops, query).await,
                ["rooms"] => read::rooms(ops, query).await,
                ["rooms", room] => read::room(ops, room).await,
                ["actions"] => read::actions(ops, query).await,
                ["samples"] => read::samples(ops, query).await,
                _ => Err(ApiError::NotFound),
            }
        }
        _ => Err(ApiError::Method),
    }
}

/// What may stand behind the `?` of a call. Of a change nothing: what it is to change stands in its body.
fn names(path: &[&str]) -> &'static [&'static str] {
    match path {
        ["jobs"] => &[
            "state",
            "task",
            "queue",
            "error",
            "group",
            "lane",
            "since_ms",
            "before_ms",
            "limit",
            "cursor",
        ],
        ["jobs", _, "children"] => &["cursor"],
        ["lanes"] => &["after", "limit"],
        ["rooms"] => &["which", "cursor", "limit"],
        ["actions"] => &["before", "limit"],
        ["samples"] => &["since_ms"],
        _ => &[],
    }
}

/// The body of a change.
async fn understood<T: for<'a> Deserialize<'a>, B: Buf>(
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<T, ApiError> {
    let bytes = body::read(body, MOST).await?;
    let too_large = || ApiError::BadRequest(format!("the body has at most {MOST} bytes"));
    let bytes = bytes.ok_or_else(too_large)?;
    let wrong = |error: serde_json::Error| {
        // Not what the body says: it may be half a token.
        let text = if error.is_data() {
            "the body is not what this call takes"
        } else {
            "the body is not JSON"
        };
        ApiError::BadRequest(text.to_owned())
    };
    serde_json::from_slice(&bytes).map_err(wrong)
}

/// warp leaves a path as it was written. Of the names here, only these are ever written otherwise.
fn decoded(part: &str) -> String {
    part.replace("%2B", "+")
        .replace("%2b", "+")
        .replace("%3A", ":")
        .replace("%3a", ":")
}

/// What is told is of this moment and for this person.
fn not_kept(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn with_cookie(mut response: Response, cookie: &str) -> Result<Response, ApiError> {
    let cookie = HeaderValue::from_str(cookie).map_err(|_| ApiError::Internal)?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}
