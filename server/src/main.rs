//! The WebSocket and HTTP server of Rhubarb's chat.
//!
//! Read [`routes`] for what it answers, then a message's way through it: [`upgrade`], [`connection`],
//! [`session`], [`hub`].

mod alarm;
mod allocator;
mod api;
mod app;
mod auth;
mod change;
mod connection;
mod drain;
mod error;
mod events;
mod frame;
mod history;
mod hub;
mod joining;
mod limits;
mod listener;
mod meter;
mod ops;
mod outbox;
#[cfg(test)]
mod outbox_test;
mod packet;
mod person;
mod post;
mod premium;
mod presence;
mod queue;
mod room;
#[cfg(test)]
mod room_model_test;
#[cfg(test)]
mod room_test;
mod routes;
mod runtime;
mod say;
mod session;
mod standing;
mod upgrade;
mod writer;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use common::{
    chat::{Chat, Settings, archived::Waits, bus::Bus},
    config::{self, Given, Process, Secret},
    error::Chain,
    health::figures::Figures,
    id::{BootId, RoomId},
    kv::{Keys, Redis},
    pg,
    preflight::{Finding, Report},
    shutdown::Shutdown,
    telemetry::{self, Beats, metric, spans},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    api::jobs::Jobs,
    app::{App, Connections},
    auth::Door,
    drain::Drain,
    history::Histories,
    hub::Hub,
    limits::Limits,
    listener::Listener,
    ops::{Host, Ops, People},
    premium::Premium,
    presence::Presence,
    runtime::Naps,
};

/// Serves the chat: the page at /, sockets at /ws, the same over HTTP at /rooms/ROOM, /rooms/ROOM/messages
/// and /rooms/ROOM/events, /events, /health and /metrics; and /jobs and /ops, if it has tokens for them. Any number of these
/// processes serve the same rooms; several can share one port.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Address to listen on
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    host: String,

    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,

    /// What one slow reader may cost; beyond that its messages are dropped, and it resumes where it was
    #[arg(long, env = "OUTBOX_BYTES", default_value_t = 1 << 20, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64 * 1024..))]
    outbox_bytes: u32,

    /// How long clients have to go when the server is told to stop
    #[arg(
        long,
        env = "DRAIN_SECONDS",
        default_value_t = 10,
        value_name = "SECONDS"
    )]
    drain: u64,

    /// How long a message that asks for it waits for its ack from the archive
    #[arg(long, env = "DB_ACK_SECONDS", default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    db_ack: u64,

    /// How many messages of one room wait here at once for such an ack
    #[arg(long, env = "DB_ACKS", default_value_t = 5000, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..))]
    db_acks: u32,

    /// When it is told to stop, it says for so long that it is not ready and goes on as before: for load
    /// balancers that ask /health/ready
    #[arg(
        long,
        env = "UNREADY_SECONDS",
        default_value_t = 0,
        value_name = "SECONDS"
    )]
    unready: u64,

    /// Takes jobs at /jobs from who has this token; without one that is off
    #[arg(long, env = "JOBS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    jobs_token: Option<Secret>,

    #[command(flatten)]
    check: config::Check,

    /// Who may use the dashboard at /ops, each by a token; without one that is off. Can be given several times
    #[arg(
        long,
        env = "OPS_TOKENS",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "NAME=TOKEN"
    )]
    ops_token: Vec<Secret>,

    #[command(flatten)]
    common: config::Common,

    #[command(flatten)]
    archive: config::Archive,

    #[command(flatten)]
    chat: Settings,

    #[command(flatten)]
    tracing: config::Tracing,

    #[command(flatten)]
    auth: auth::Settings,

    #[command(flatten)]
    limits: limits::Settings,
}

/// For what is under way when the time is up.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let (args, given) = config::parse::<Args>(Process::Server);
    match runtime::start().context("start the threads") {
        // Told before the runtime goes, which may wait for what it has begun.
        Ok((runtime, naps)) => runtime.block_on(async {
            let ended = start(args, given, naps).await;
            ended.unwrap_or_else(|error| failed(&error))
        }),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("server: {}", Chain(error.as_ref()));
    ExitCode::FAILURE
}

async fn start(args: Args, given: Given, naps: Naps) -> anyhow::Result<ExitCode> {
    if args.check.check_config {
        return Ok(check(&args, &given).await);
    }
    telemetry::init(args.common.log_format);
    for warning in given.warnings {
        tracing::warn!("{warning}");
    }
    run(args, naps).await?;
    Ok(ExitCode::SUCCESS)
}

async fn run(args: Args, naps: Naps) -> anyhow::Result<()> {
    let stopping = Shutdown::on_signal().context("listen for signals")?;
    let (go, shutdown) = Shutdown::manual();
    let door = Door::new(&args.auth)?;
    let token = args.jobs_token.as_deref().map(str::parse).transpose()?;
    let people = People::new(&args.ops_token)?;
    let metrics = metric::install(Process::Server).context("set metrics up")?;

    let redis = Redis::new(&args.common.redis_url)?;
    redis.check().await?;
    pg::check_schema(&args.archive.database_url).await?;
    let keys = Keys::new(&args.common.namespace);
    let archive = &args.archive;
    let chat = Chat::new(
        redis.clone(),
        keys.clone(),
        &archive.database_url,
        archive.database_connections,
        args.chat,
    )?;

    let server = BootId::fresh();
    telemetry::identify(Process::Server, &server);
    spans::start(&args.tracing, Process::Server, &server.to_string())?;
    let jobs = token.map(|token| Jobs::new(token, redis.clone(), keys.clone()));
    let (bus, events) = Bus::start(redis, keys);
    let (changed, rooms_changed) = mpsc::unbounded_channel();
    let patience = Duration::from_secs(args.db_ack);
    let waits = Waits::new(chat.clone(), patience, args.db_acks as usize);
    let hub = Hub::start(chat.clone(), bus, waits.clone(), events, changed.clone());
    let (close, closing) = Shutdown::manual();
    tokio::spawn(door.clone().keep_keys(closing.clone()));
    let lease = Beats::new(chat.settings.server_lease);
    let presence = Presence {
        server,
        lease: lease.clone(),
        chat: chat.clone(),
        hub: hub.clone(),
        end: closing.clone(),
    };
    let presence = presence.start(changed, rooms_changed);

    let connections = Connections::new();
    let drain = Drain::new(Duration::from_secs(args.drain));
    let mut app = App {
        chat: chat.clone(),
        hub: hub.clone(),
        waits,
        door,
        limits: Limits::new(args.limits),
        premium: Premium::default(),
        histories: Histories::start(chat.clone()),
        jobs,
        ops: None,
        lease,
        figures: Figures::new(chat.clone()),
        metrics: metrics.clone(),
        connections: connections.clone(),
        stopping: stopping.clone(),
        shutdown: shutdown.clone(),
        drain: drain.clone(),
        closing,
        naps,
        outbox_bytes: args.outbox_bytes as usize,
    };
    app.ops = people.map(|people| Ops::new(people, &chat, Host::of(&app)));
    tokio::spawn(metric::keep_up(metrics));

    let (incoming, listener, address) = Listener::on(&args.host, args.port)?;
    tracing::info!(%server, "the chat is at http://{address}");
    let stop = shutdown.clone();
    let serving = warp::serve(routes::routes(&app))
        .incoming(incoming)
        .graceful(async move { stop.asked().await })
        .run();
    let mut serving = tokio::spawn(serving);

    stopping.asked().await;
    tracing::info!("stopping: not ready any more");
    sleep(Duration::from_secs(args.unready)).await;
    listener.close().await;
    let open = connections.count();
    tracing::info!(
        open,
        "stopping: {open} connections have {} s to go",
        args.drain
    );
    drain.begin(open);
    go.now();
    let rooms = hub.room_ids();
    let time = Duration::from_secs(args.drain);
    let in_time = timeout(time, all_gone(&connections, &mut serving)).await;
    close.now();
    if in_time.is_err() {
        let _ = timeout(LAST_WORDS, all_gone(&connections, &mut serving)).await;
    }
    serving.abort();
    let _ = timeout(LAST_WORDS, ops::ended(app.ops)).await;
    presence.ended().await;
    settle(&chat, server, &rooms).await;
    spans::end().await;
    Ok(())
}

/// `--check-config`.
async fn check(args: &Args, given: &Given) -> ExitCode {
    let (redis_url, database_url) = (&args.common.redis_url, &args.archive.database_url);
    let address =
        listener::resolve(&args.host, args.port).map(|address| format!("listens on {address}"));
    let door = Door::new(&args.auth).map(|_| "the keys can be used".to_owned());
    let token = args
        .jobs_token
        .as_deref()
        .map(str::parse::<auth::bearer::Token>);
    let token = token.transpose().map(|token| match token {
        Some(_) => "on, with a token".to_owned(),
        None => "off, without a token".to_owned(),
    });
    let people = People::new(&args.ops_token);
    let words = |error: anyhow::Error| Chain(error.as_ref()).to_string();
    let report = Report::of(
        Process::Server,
        given,
        redis_url,
        &args.common.namespace,
        database_url,
    )
    .await;
    let report = report
        .with(Finding::new("address", address.map_err(words)))
        .with(Finding::new("who may", door.map_err(words)))
        .with(Finding::new(
            "dashboard",
            people
                .map(|people| match people {
                    Some(_) => "on, at /ops".to_owned(),
                    None => "off, without a token".to_owned(),
                })
                .map_err(words),
        ))
        .with(Finding::new(
            "jobs",
            token.map_err(|error| error.to_string()),
        ));
    print!("{report}");
    if report.is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Waits until nobody is connected and no request is being answered.
async fn all_gone(connections: &Connections, serving: &mut JoinHandle<()>) {
    connections.none().await;
    let _ = serving.await;
}

/// Leaves nothing behind that others would have to find out.
async fn settle(chat: &Chat, server: BootId, rooms: &[RoomId]) {
    // What is new in the rooms that were served here is flushed now, whoever still is in them.
    for room in rooms {
        if let Err(error) = chat.ask_flush(room).await {
            tracing::warn!(error = %Chain(&error), room.id = %room, "cannot ask for a flush; the sweep will");
        }
    }
    if let Err(error) = chat.end_lease(server).await {
        tracing::warn!(error = %Chain(&error), "cannot end this server's lease; it will run out");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_page_of_settings_has_those_of_a_server() {
        config::setting::check_page(Process::Server, &Args::command()).unwrap();
    }

    #[test]
    fn a_secret_is_not_in_the_debug_text_of_the_settings() {
        let words = "server --redis-url redis://:s3cret@h --database-url postgres://u:s3cret@h/d --jwt-secret s3cret \
                     --jobs-token s3cret";
        let args = Args::try_parse_from(words.split_whitespace()).unwrap();
        assert!(!format!("{args:?}").contains("s3cret"));
    }
}
