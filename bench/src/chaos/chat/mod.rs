//! The suite for the chat: `bench chaos chat`.
//!
//! Guests ([`guest`]) are clients of two or more servers, with workers behind them ([`crew`]). A storm
//! ([`storm`]) that was drawn from the seed ([`faults`]; [`power`] is for one of them) breaks all of it.
//! Everything that a guest sends and gets is noted ([`event`], [`notes`]). When the storm is over, all gather
//! and part ([`finish`], [`status`]), and the notes are held against the archive ([`mod@check`], [`changes`],
//! [`view`], [`window`], [`pages`], [`wrong`]). [`report`] shows what came of it.

mod changes;
mod check;
#[cfg(test)]
mod check_test;
mod crew;
mod event;
mod faults;
mod finish;
mod guest;
mod notes;
mod pages;
mod power;
mod report;
mod status;
mod storm;
mod view;
mod window;
mod wrong;

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::Instant,
};

use self::{
    check::check,
    crew::{Crew, Database},
    event::Event,
    faults::{Extent, schedule},
    finish::{Finish, Shared},
    guest::{Guest, Phase, World},
    notes::Notes,
    power::Power,
    report::Summary,
    storm::Storm,
    wrong::Wrong,
};
use super::{ledger::Line, target::Target};

/// How often Redis syncs its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fsync {
    /// Before each answer: nothing that was acknowledged may be missing.
    Always,
    /// Each second; and with each kill of Redis the power is cut, so that the last second is gone.
    Everysec,
}

impl Fsync {
    fn name(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
        }
    }
}

/// How much is to happen.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How long things go wrong [default: 360; 20 with --short]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: Option<u64>,

    /// Server processes at once
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=16))]
    servers: u16,

    /// Worker processes at once
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=16))]
    workers: u16,

    /// Clients at once
    #[arg(long, default_value_t = 24, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=500))]
    guests: u16,

    /// Rooms
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=40))]
    rooms: u16,

    /// How often Redis syncs its file
    #[arg(long, value_enum, default_value_t = Fsync::Always)]
    fsync: Fsync,

    /// What determines what guests do and what goes wrong [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Less than a minute in all
    #[arg(long)]
    short: bool,

    /// Keep the notes and the logs, also if all is well
    #[arg(long)]
    keep: bool,

    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
}

impl Options {
    fn extent(&self) -> Extent {
        Extent {
            time: Duration::from_secs(self.seconds.unwrap_or(if self.short { 20 } else { 360 })),
            servers: self.servers,
            workers: self.workers,
            rooms: self.rooms,
        }
    }

    fn command(&self, seed: u64) -> String {
        let Extent {
            time,
            servers,
            workers,
            rooms,
        } = self.extent();
        let short = if self.short { " --short" } else { "" };
        let (guests, fsync, seconds) = (self.guests, self.fsync.name(), time.as_secs());
        format!(
            "bench chaos chat{short} --seconds {seconds} --servers {servers} --workers {workers} \
             --guests {guests} --rooms {rooms} --fsync {fsync} --seed {seed}"
        )
    }
}

/// Runs the suite; fails if anything is wrong.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let command = |seed| options.command(seed);
    let suite = async |seed, folder: &Path| attempt(options, seed, folder).await;
    super::attempt::attempt(options.seed, options.keep, "notes", command, suite).await
}

async fn attempt(options: &Options, seed: u64, folder: &Path) -> Result<()> {
    let start = Instant::now();
    let extent = options.extent();
    let redis = Target::synced(options.fsync.name()).await?;
    let database = Database::start().await?;
    let notes = Arc::new(Notes::default());
    let places = (options.servers, options.workers);
    let crew = Crew::start(places, &redis, &database, &notes, folder)?;
    let power = (options.fsync == Fsync::Everysec).then(|| Power::watch(&redis));
    let storm = Storm {
        redis,
        database,
        crew,
        notes: Arc::clone(&notes),
        rooms: options.rooms,
        cut: watch::Sender::new((0, 0)),
        power,
        redis_away: Arc::new(Mutex::new(())),
        database_away: Arc::new(Mutex::new(())),
    };
    let phase = watch::Sender::new(Phase::Storm);
    let status = Shared::default();
    let mut guests = JoinSet::new();
    let world = World {
        seed,
        rooms: options.rooms,
        ports: Arc::clone(&storm.crew.ports),
        notes: Arc::clone(&notes),
        phase: phase.subscribe(),
        cut: storm.cut.subscribe(),
        status: Arc::clone(&status),
    };
    for number in 0..options.guests {
        guests.spawn(Guest::new(number, world.clone()).live());
    }

    let steps = schedule(seed, &extent);
    let total = steps.len();
    let progress = |at: usize, _| {
        if at.is_multiple_of((total / 20).max(1)) {
            let (time, lines) = (start.elapsed().as_secs(), notes.len());
            eprintln!("{time:>4} s  {at} of {total} faults, {lines} frames");
        }
    };
    storm.rage(&steps, progress).await?;
    eprintln!(
        "{:>4} s  no more faults; all gather",
        start.elapsed().as_secs()
    );
    let finish = Finish {
        storm: &storm,
        phase: &phase,
        status: &status,
        guests: &mut guests,
        number: options.guests,
        rooms: options.rooms,
        // A short run is made on machines that have other things to do.
        fade: Duration::from_secs(if options.short { 20 } else { 2 }),
    };
    let remains = finish.run().await?;

    let lines = notes.take();
    let (mut wrong, counts) = check(&lines, &remains);
    if extent.time >= faults::FULL {
        wrong.extend(demand(&counts));
    }
    let of = (seed, options.fsync.name());
    let summary = Summary::of(of, start.elapsed(), &lines, (&wrong, &counts));
    summary.print(options.json);
    if options.keep || !wrong.is_empty() {
        write_down(&lines, folder)?;
    }
    if !wrong.is_empty() {
        bail!("{} things are wrong; the first: {}", wrong.len(), wrong[0]);
    }
    Ok(())
}

/// A full run must have met what it is there for.
fn demand(counts: &wrong::Counts) -> Vec<Wrong> {
    let needed = [
        "acknowledged as resends",
        "archived, the one before not known",
        "changes of changes refused",
        "changes of others' messages refused",
        "changes of what was deleted refused",
        "deleted",
        "edited",
        "edits that later changes replaced",
        "joins of rooms not at hand",
        "joins that could not resume",
        "joins that resumed",
        "pages of older messages",
        "resets",
        "told to go away",
        "told to try again",
    ];
    let missing = needed
        .into_iter()
        .filter(|what| !counts.all.contains_key(what));
    missing
        .map(|what| Wrong::Short(format!("it never came to this: {what}")))
        .collect()
}

fn write_down(lines: &[Line<Event>], folder: &Path) -> Result<()> {
    let path = folder.join("notes.ledger");
    let file = std::fs::File::create(&path).context("write the notes down")?;
    let mut file = std::io::BufWriter::new(file);
    for line in lines {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.flush().context("write the notes down")
}
