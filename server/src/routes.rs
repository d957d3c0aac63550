//! All paths of the server, one function each.

use std::convert::Infallible;

use warp::{
    Filter, Rejection,
    filters::BoxedFilter,
    reply::{Reply, Response},
};

use crate::{
    api::{
        health, history,
        jobs::{self, Jobs},
        page,
    },
    app::App,
    error::render_rejection,
    upgrade,
};

/// Everything that the server answers.
pub(crate) fn routes(app: &App) -> BoxedFilter<(Response,)> {
    socket(app)
        .or(index())
        .or(file())
        .or(messages(app))
        .or(enqueue(app.jobs.clone()))
        .or(job(app.jobs.clone()))
        .or(live())
        .or(ready(app))
        .or(metrics(app))
        .recover(render_rejection)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /ws?userId=&username=`
fn socket(app: &App) -> BoxedFilter<(Response,)> {
    warp::path!("ws")
        .and(warp::get())
        .and(warp::header::headers_cloned())
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
        .and(warp::query())
        .and(with(app))
        .then(history::page)
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
fn if_on(jobs: Option<Jobs>) -> impl Filter<Extract = (Jobs,), Error = Rejection> + Clone {
    warp::any().and_then(move || {
        let jobs = jobs.clone();
        async move { jobs.ok_or_else(warp::reject::not_found) }
    })
}

fn with(app: &App) -> impl Filter<Extract = (App,), Error = Infallible> + Clone + use<> {
    let app = app.clone();
    warp::any().map(move || app.clone())
}
