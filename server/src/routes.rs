//! All paths of the server, one function each.

use std::convert::Infallible;

use warp::{
    Filter,
    filters::BoxedFilter,
    reply::{Reply, Response},
};

use crate::{
    api::{health, history, page},
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
        .and(warp::get())
        .then(page::index)
        .map(Reply::into_response)
        .boxed()
}

/// `GET /static/:file`
fn file() -> BoxedFilter<(Response,)> {
    warp::path!("static" / String)
        .and(warp::get())
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

fn with(app: &App) -> impl Filter<Extract = (App,), Error = Infallible> + Clone + use<> {
    let app = app.clone();
    warp::any().map(move || app.clone())
}
