//! `queuectl reflush`.

use common::{
    chat::{RoomLog, Settings, reflush::Reflushed},
    id::RoomId,
    queue::Producer,
};
use serde::Serialize;

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, count},
    progress::Progress,
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "For when Postgres was lost, or restored to an older point: docs/backup.md. Needs no Postgres,\n\
                        and does no harm when nothing was lost."
)]
pub(crate) struct Args {
    /// The rooms [default: all that Redis holds]
    rooms: Vec<RoomId>,
}

#[derive(Serialize)]
struct Answer {
    rooms: u64,
    messages: u64,
}

pub(crate) async fn run(args: &Args, connection: &Connection, out: &Out) -> Outcome {
    let (redis, keys) = (connection.redis.clone(), connection.keys.clone());
    let names: Vec<_> = args.rooms.iter().map(ToString::to_string).collect();
    let of = if names.is_empty() {
        "all rooms".to_owned()
    } else {
        names.join(" ")
    };
    connection.operator().write_down("reflush", &of).await?;
    let producer = Producer::new(redis.clone(), keys.clone());
    let log = RoomLog::new(redis, keys, Settings::default());
    let progress = Progress::new();
    let mut done = Reflushed::default();
    if args.rooms.is_empty() {
        let told = |so_far: Reflushed| progress.at("rooms", so_far.rooms, so_far.rooms);
        done = log.reflush_all(&producer, told).await?;
    }
    for room in &args.rooms {
        done.messages += log.reflush(&producer, room).await?;
        done.rooms += 1;
    }
    drop(progress);
    let answer = Answer {
        rooms: done.rooms,
        messages: done.messages,
    };
    out.answer(&answer, || {
        format!(
            "{} of {} count as new again; workers archive those that the archive lacks.",
            count(answer.messages, "message"),
            count(answer.rooms, "room")
        )
    })?;
    Ok(Ending::Done)
}
