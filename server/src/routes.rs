//! All paths of the server, one function each.

use std::convert::Infallible;

use http::{HeaderMap, Method};
use warp::{
    Filter, Rejection,
    filters::BoxedFilter,
    reply::{Reply, Response},
};

use crate::{
    api::{
        events, health, history,
        jobs::{self, Jobs},
        page, rooms,
    },
    app::App,
    auth::{
        Claim, Door,
        origin::{self, Verdict},
    },
    error::{ApiError, Forbidden, render_rejection},
    limits::{Address, Limits},
    ops::{self, Ops},
    person::Person,
    upgrade,
};

/// Everything that the server answers.
pub(crate) fn routes(app: &App) -> BoxedFilter<(Response,)> {
    let all = socket(app)
        .or(index())
        .or(file())
        .or(messages(app))
        .or(say(app))
        .or(edit(app))
        .or(delete(app))
        .or(events(app))
        .or(events_of_all(app))
        .or(room(app))
        .or(enqueue(app.jobs.clone()))
        .or(job(app.jobs.clone()))
        .or(live())
        .or(ready(app))
        .or(metrics(app))
        .map(Reply::into_response)
        .boxed();
    // The dashboard has a stricter rule of its own: no page elsewhere, whatever the chat allows.
    ops(app.ops.clone(), &app.limits)
        .or(from_allowed_origins(&app.door, all))
        .recover(render_rejection)
        .map(Reply::into_response)
        .boxed()
}

/// Refuses what comes from a page that may not use this server, and lets one elsewhere that may read the
/// answers.
fn from_allowed_origins(door: &Door, all: BoxedFilter<(Response,)>) -> BoxedFilter<(Response,)> {
    let door = door.clone();
    let verdict = warp::header::headers_cloned()
        .and_then(move |headers: HeaderMap| {
            let verdict = door.origins().verdict(&headers);
            async move {
                match verdict {
                    Verdict::Own => Ok(None),
                    Verdict::Elsewhere(origin) => Ok(Some(origin)),
                    Verdict::Forbidden => Err(warp::reject::custom(Forbidden)),
                }
            }
        })
        .boxed();
    let answer = all
        .recover(render_rejection)
        .map(Reply::into_response)
        .boxed();
    verdict
        .and(preflight().or(answer).unify())
        .map(|elsewhere, mut response| {
            if let Some(origin) = elsewhere {
                origin::share(&mut response, origin);
            }
            response
        })
        .boxed()
}

/// `OPTIONS` of any path, with which a browser asks whether it may ask
fn preflight() -> BoxedFilter<(Response,)> {
    warp::method()
        .and(warp::header::headers_cloned())
        .and_then(async |method: Method, headers: HeaderMap| {
            if origin::is_preflight(&method, &headers) {
                Ok(origin::preflight())
            } else {
                Err(warp::reject::not_found())
            }
        })
        .boxed()
}

/// Who asks, by the header or the address: for every route that is about rooms. Handlers get a result, and
/// answer its error.
fn who(app: &App) -> BoxedFilter<(Result<Person, ApiError>,)> {
    let door = app.door.clone();
    warp::header::headers_cloned()
        .and(warp::query())
        .map(move |headers: HeaderMap, claim: Claim| Ok(door.who(&headers, claim)?))
        .boxed()
}

/// From where it is asked.
fn address(
    limits: &Limits,
) -> impl Filter<Extract = (Address,), Error = Infallible> + Clone + use<> {
    let limits = limits.clone();
    warp::addr::remote()
        .and(warp::header::headers_cloned())
        .map(move |peer, headers: HeaderMap| {
            Address::of(peer, &headers, &limits.settings.trusted_proxies)
        })
}

/// Who asks about a room without a connection: first it counts, by the address.
fn visitor(app: &App) -> BoxedFilter<(Result<Person, ApiError>,)> {
    let (limits, door) = (app.limits.clone(), app.door.clone());
    address(&app.limits)
        .and(warp::header::headers_cloned())
        .and(warp::query())
        .map(move |address, headers: HeaderMap, claim: Claim| {
            // Before a token is looked at, which costs more than anything else here.
            limits.request(address)?;
            Ok(door.who(&headers, claim)?)
        })
        .boxed()
}

/// `GET /ws?token=` or `GET /ws?userId=&username=`
fn socket(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("ws")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(address(&app.limits))
        .and(warp::query())
        .and(warp::ext::optional())
        .and(with(app))
        .then(upgrade::upgrade)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /`
fn index() -> BoxedFilter<(Response,)> {
    warp::path::end()
        .and(get_or_head())
        .and(warp::header::optional("if-none-match"))
        .then(page::index)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /static/:path`
fn file() -> BoxedFilter<(Response,)> {
    warp::path("static")
        .and(warp::path::tail())
        .and(get_or_head())
        .and(warp::header::optional("if-none-match"))
        .then(page::file)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /rooms/:room/messages?before=&after=&limit=`
fn messages(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("rooms" / String / "messages")
        .and(warp::get())
        .and(visitor(app))
        .and(warp::query())
        .and(with(app))
        .then(history::page)
        .map(Reply::into_response)
        .boxed()
}

/// `POST /rooms/:room/messages`
fn say(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("rooms" / String / "messages")
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(visitor(app))
        .and(with(app))
        .and(warp::body::stream())
        .then(rooms::say)
        .map(Reply::into_response)
        .boxed()
}

/// `PATCH /rooms/:room/messages/:message`
fn edit(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("rooms" / String / "messages" / String)
        .and(warp::patch())
        .and(warp::header::headers_cloned())
        .and(visitor(app))
        .and(with(app))
        .and(warp::body::stream())
        .then(rooms::edit)
        .map(Reply::into_response)
        .boxed()
}

/// `DELETE /rooms/:room/messages/:message?clientId=&ack=`
fn delete(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("rooms" / String / "messages" / String)
        .and(warp::delete())
        .and(warp::header::headers_cloned())
        .and(visitor(app))
        .and(warp::query())
        .and(with(app))
        .then(rooms::delete)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /rooms/:room/events?since=&limit=`
fn events(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("rooms" / String / "events")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(address(&app.limits))
        .and(warp::query())
        .and(who(app))
        .and(with(app))
        .then(events::listen)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /events?room=&room=&since=&limit=`
fn events_of_all(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("events")
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .and(address(&app.limits))
        .and(warp::query())
        .and(who(app))
        .and(with(app))
        .then(events::listen_to_all)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /rooms/:room`
fn room(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("rooms" / String)
        .and(warp::get())
        .and(visitor(app))
        .and(with(app))
        .then(rooms::look)
        .map(Reply::into_response)
        .boxed()
}

/// `POST /jobs`, if the server has a token for it
pub(crate) fn enqueue(jobs: Option<Jobs>) -> BoxedFilter<(Response,)> {
    warp::path!("jobs")
        .and(if_on(jobs))
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(jobs::enqueue)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /jobs/:id`, if the server has a token for it
pub(crate) fn job(jobs: Option<Jobs>) -> BoxedFilter<(Response,)> {
    warp::path!("jobs" / String)
        .and(if_on(jobs))
        .and(warp::get())
        .and(warp::header::headers_cloned())
        .then(jobs::state)
        .map(Reply::into_response)
        .boxed()
}

/// All of `/ops`, if the server has a token for somebody: [`crate::ops`] has the table of it.
pub(crate) fn ops(ops: Option<Ops>, limits: &Limits) -> BoxedFilter<(Response,)> {
    warp::path("ops")
        .and(if_on(ops))
        .and(warp::method())
        .and(warp::path::tail())
        .and(warp::query())
        .and(warp::header::headers_cloned())
        .and(address(limits))
        .and(warp::body::stream())
        .then(ops::answer)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /health/live`
fn live() -> BoxedFilter<(Response,)> {
    warp::path!("health" / "live")
        .and(warp::get())
        .then(health::live)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /health/ready`
fn ready(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("health" / "ready")
        .and(warp::get())
        .and(with(app))
        .then(health::ready)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /metrics`
fn metrics(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("metrics")
        .and(warp::get())
        .and(with(app))
        .then(health::metrics)
        .map(Reply::into_response)
        .boxed()
}

/// What monitors ask with `HEAD` is answered without the body, by hyper.
fn get_or_head() -> BoxedFilter<()> {
    warp::get().or(warp::head()).unify().boxed()
}

/// What is off is not found, whatever the method.
fn if_on<T: Clone + Send + Sync + 'static>(
    part: Option<T>,
) -> impl Filter<Extract = (T,), Error = Rejection> + Clone {
    warp::any().and_then(move || {
        let part = part.clone();
        async move { part.ok_or_else(warp::reject::not_found) }
    })
}

fn with(app: &App) -> impl Filter<Extract = (App,), Error = Infallible> + Clone + use<> {
    let app = app.clone();
    warp::any().map(move || app.clone())
}
