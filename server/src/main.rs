//! The WebSocket and HTTP server of Rhubarb's chat.
//!
//! Read [`routes`] for what it answers, then a message's way through it: [`upgrade`], [`connection`],
//! [`session`], [`hub`].

mod api;
mod app;
mod connection;
mod error;
mod frame;
mod hub;
mod meter;
mod outbox;
#[cfg(test)]
mod outbox_test;
mod packet;
mod presence;
mod queue;
mod room;
#[cfg(test)]
mod room_model_test;
#[cfg(test)]
mod room_test;
mod routes;
mod session;
mod upgrade;
mod writer;

use std::{
    net::{SocketAddr, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use common::{
    chat::{Chat, Settings, bus::Bus},
    config,
    error::Chain,
    id::BootId,
    kv::{Keys, Redis},
    pg,
    shutdown::Shutdown,
    telemetry,
};
use metrics_exporter_prometheus::PrometheusBuilder;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    api::jobs::Jobs,
    app::{App, Connections},
    hub::Hub,
};

/// Serves the chat: the page at /, sockets at /ws, history at /rooms/ROOM/messages, /health and
/// /metrics; and /jobs, if it has a token for that. Any number of these processes serve the same rooms; several can share one port.
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

    /// Takes jobs at /jobs from who has this token; without one that is off
    #[arg(long, env = "JOBS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    jobs_token: Option<String>,

    #[command(flatten)]
    common: config::Common,

    #[command(flatten)]
    archive: config::Archive,

    #[command(flatten)]
    chat: Settings,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("server: {}", Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    telemetry::init(args.common.log_format);
    let shutdown = Shutdown::on_signal().context("listen for signals")?;
    let token = args.jobs_token.as_deref().map(str::parse).transpose()?;
    let metrics = PrometheusBuilder::new()
        .install_recorder()
        .context("set metrics up")?;

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
    let jobs = token.map(|token| Jobs::new(token, redis.clone(), keys.clone()));
    let (bus, events) = Bus::start(redis, keys);
    let (changed, rooms_changed) = mpsc::unbounded_channel();
    let hub = Hub::start(chat.clone(), bus, events, changed.clone());
    let (close, closing) = Shutdown::manual();
    let presence = tokio::spawn(presence::tell_changes(
        server,
        chat.clone(),
        hub.clone(),
        rooms_changed,
        closing.clone(),
    ));
    let lease = presence::keep_lease(server, chat.clone(), hub.clone(), changed, closing.clone());
    let lease = tokio::spawn(lease);

    let connections = Connections::new();
    let app = App {
        chat: chat.clone(),
        hub: hub.clone(),
        jobs,
        metrics: metrics.clone(),
        connections: connections.clone(),
        shutdown: shutdown.clone(),
        closing,
        outbox_bytes: args.outbox_bytes as usize,
    };
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            metrics.run_upkeep();
        }
    });

    let address = resolve(&args.host, args.port)?;
    let listener = listen(address).with_context(|| {
        format!("listen on {address}; if the port is taken, choose another with --port")
    })?;
    let address = listener
        .local_addr()
        .context("read the address that is listened on")?;
    tracing::info!(%server, "the chat is at http://{address}");
    let stop = shutdown.clone();
    let serving = warp::serve(routes::routes(&app))
        .incoming(listener)
        .graceful(async move { stop.asked().await })
        .run();
    let serving = tokio::spawn(serving);

    shutdown.asked().await;
    let open = connections.count();
    tracing::info!(
        open,
        "stopping: {open} connections have {} s to go",
        args.drain
    );
    let rooms = hub.room_ids();
    let drained = tokio::time::timeout(Duration::from_secs(args.drain), connections.none()).await;
    close.now();
    if drained.is_err() {
        let _ = tokio::time::timeout(Duration::from_secs(2), connections.none()).await;
    }
    let _ = lease.await;
    let _ = presence.await;
    // What is new in the rooms that were served here is flushed now, whoever still is in them.
    for room in rooms {
        if let Err(error) = chat.ask_flush(&room).await {
            tracing::warn!(error = %Chain(&error), room.id = %room, "cannot ask for a flush; the sweep will");
        }
    }
    if let Err(error) = chat.end_lease(server).await {
        tracing::warn!(error = %Chain(&error), "cannot end this server's lease; it will run out");
    }
    serving.abort();
    Ok(())
}

fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    (host, port)
        .to_socket_addrs()
        .with_context(|| format!("resolve the host {host}"))?
        .next()
        .with_context(|| format!("the host {host} has no address"))
}

/// Listens with `SO_REUSEPORT`, so that several servers share a port, and without Nagle's delay, which
/// accepted sockets inherit.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}
