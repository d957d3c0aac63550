//! `queuectl top`: the queues, live. `app` is what is shown and what keys do, `panes` the tables below, `draw` the
//! screen. Each refresh is a status, and what the open pane asks: it costs the same at any depth.

mod app;
mod draw;
mod panes;
#[cfg(test)]
mod test;

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use common::{
    chat::inspect::list::Which,
    error::Chain,
    kv::KvError,
    queue::{
        dead::Filter,
        inspect::list::{Listing, State},
    },
};
use ratatui::crossterm::event::{self, Event};
use tokio::sync::{mpsc, oneshot};

use crate::{
    Ending, Failure, Outcome, connect::Connection, out::Out, signals::Signals, time::read_span,
};
use app::{App, Pane, Seen, Told};

/// Jobs and rooms that a pane shows at most.
const MOST: usize = 100;
/// Between two looks whether the terminal is still wanted.
const POLL: Duration = Duration::from_millis(100);
/// A call that takes longer is given up: Redis is away.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
#[command(after_help = "Keys: ? shows them.")]
pub(crate) struct Args {
    /// Between two refreshes
    #[arg(long, value_name = "SPAN", default_value = "1s", value_parser = every)]
    every: Duration,
}

fn every(text: &str) -> Result<Duration, String> {
    read_span(text).and_then(|span| match span {
        span if span >= POLL => Ok(span),
        _ => Err("100ms at least is expected".to_owned()),
    })
}

pub(crate) async fn run(args: &Args, connection: &Connection, out: &Out) -> Outcome {
    if out.json || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "top draws on a terminal; for programs and pipes: queuectl status --json".to_owned(),
        ));
    }
    let address = connection.redis.client().get_connection_info().addr();
    let mut app = App::new(format!("{address}"), connection.keys.prefix(), args.every);
    let mut signals = Signals::listen()?;
    let mut terminal = ratatui::try_init()?;
    let ended = watch(&mut app, &mut terminal, connection, &mut signals).await;
    ratatui::restore();
    ended?;
    Ok(Ending::Done)
}

/// Draws and refreshes until somebody has seen enough.
async fn watch(
    app: &mut App,
    terminal: &mut ratatui::DefaultTerminal,
    connection: &Connection,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut events = events();
    let mut next = Instant::now();
    let mut asked: Option<oneshot::Receiver<Result<Seen, String>>> = None;
    loop {
        if asked.is_none() && !app.is_paused() && Instant::now() >= next {
            next = Instant::now() + app.every;
            asked = Some(ask(connection, app.pane));
        }
        terminal.draw(|frame| draw::draw(app, frame))?;
        tokio::select! {
            seen = answer(&mut asked) => {
                asked = None;
                app.take(seen);
            }
            event = events.recv() => match event {
                Some(Event::Key(key)) if key.is_press() => match app.press(key) {
                    Told::Quit => return Ok(()),
                    Told::Refresh => next = Instant::now(),
                    Told::Nothing => {}
                },
                Some(_) => {} // a new size: drawn at once
                None => return Ok(()), // the terminal is gone
            },
            () = signals.asked() => return Ok(()),
            () = tokio::time::sleep_until(next.max(Instant::now() + POLL).into()) => {}
        }
    }
}

/// What somebody types. Read by a thread of its own, which ends with the process.
fn events() -> mpsc::Receiver<Event> {
    let (tell, events) = mpsc::channel(32);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if tell.blocking_send(event).is_err() {
                return;
            }
        }
    });
    events
}

async fn answer(
    asked: &mut Option<oneshot::Receiver<Result<Seen, String>>>,
) -> Result<Seen, String> {
    match asked {
        Some(asked) => asked.await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

/// Asks beside the drawing, so that keys work while Redis is away.
fn ask(connection: &Connection, pane: Pane) -> oneshot::Receiver<Result<Seen, String>> {
    let (tell, asked) = oneshot::channel();
    let connection = connection.clone();
    tokio::spawn(async move {
        let seen = tokio::time::timeout(PATIENCE, look(&connection, pane)).await;
        let seen = match seen {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(error)) => Err(Chain(&error).to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        let _ = tell.send(seen);
    });
    asked
}

async fn look(connection: &Connection, pane: Pane) -> Result<Seen, KvError> {
    let inspector = connection.inspector();
    let mut seen = Seen::new(inspector.status().await?);
    match pane {
        Pane::Workers => {}
        Pane::Running => {
            let listing = Listing {
                state: State::Claimed,
                queue: None,
                lane: None,
                filter: Filter::default(),
                limit: MOST,
                cursor: None,
            };
            seen.running = inspector.jobs(&listing).await?.jobs;
        }
        Pane::Tasks => seen.tasks = inspector.tasks().await?,
        Pane::Rooms => {
            let rooms = connection.rooms();
            seen.rooms = rooms.list(Which::Dirty, MOST, None).await?.rooms;
            seen.overview = Some(rooms.overview().await?);
        }
    }
    Ok(seen)
}
