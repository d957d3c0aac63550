//! `queuectl flush` and `queuectl rehydrate`.

use std::time::{Duration, Instant};

use common::{
    chat::{
        ask::Asked,
        inspect::{RoomStatus, Rooms},
    },
    id::{MessageId, RoomId},
    queue::{JobId, inspect::Inspector, inspect::explain::Reason},
};
use serde::Serialize;

use crate::{
    Ending, Failure, Outcome,
    connect::Connection,
    out::{Out, clean, count},
    progress::Progress,
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// So long nothing moves before it is said why.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  queuectl flush lobby --wait")]
pub(crate) struct FlushArgs {
    /// The room
    room: RoomId,

    /// Wait until what was there is in the archive
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  queuectl rehydrate lobby --wait")]
pub(crate) struct RehydrateArgs {
    /// The room
    room: RoomId,

    /// Wait until it is warm
    #[arg(long)]
    wait: bool,
}

#[derive(Serialize)]
struct Answer {
    /// `enqueued`, `under_way` or `not_needed`.
    asked: &'static str,
    job: Option<JobId>,
    /// Whether it was waited for.
    done: bool,
    #[serde(flatten)]
    room: RoomStatus,
}

#[derive(Clone, Copy)]
enum What {
    Flush,
    Rehydrate,
}

pub(crate) async fn flush(args: &FlushArgs, connection: &Connection, out: &Out) -> Outcome {
    run(What::Flush, &args.room, args.wait, connection, out).await
}

pub(crate) async fn rehydrate(args: &RehydrateArgs, connection: &Connection, out: &Out) -> Outcome {
    run(What::Rehydrate, &args.room, args.wait, connection, out).await
}

async fn run(what: What, room: &RoomId, wait: bool, connection: &Connection, out: &Out) -> Outcome {
    let (rooms, operator) = (connection.rooms(), connection.operator());
    let before = rooms.show(room).await?;
    let asked = match what {
        What::Flush => rooms.ask_flush(&operator, room).await?,
        What::Rehydrate => rooms.ask_rehydrate(&operator, room).await?,
    };
    let follow = Follow {
        what,
        top: before.top,
        rooms: &rooms,
        inspector: connection.inspector(),
    };
    if wait && asked != Asked::NotNeeded {
        follow.to_the_end(room, asked).await?;
    }
    let after = rooms.show(room).await?;
    let (code, job) = match asked {
        Asked::Enqueued(job) => ("enqueued", Some(job)),
        Asked::UnderWay => ("under_way", None),
        Asked::NotNeeded => ("not_needed", None),
    };
    let answer = Answer {
        asked: code,
        job,
        done: wait,
        room: after,
    };
    out.answer(&answer, || {
        let told = tell(what, asked, wait, &before, &answer.room);
        out.wrap(&clean(&told), 0)
    })?;
    Ok(Ending::Done)
}

fn tell(what: What, asked: Asked, wait: bool, before: &RoomStatus, after: &RoomStatus) -> String {
    let room = &after.room;
    let new = count(before.unflushed, "message");
    match (what, asked) {
        (What::Flush, Asked::NotNeeded) if !before.is_here() => {
            format!("Redis holds nothing of {room}: there is nothing to flush.")
        }
        (What::Flush, Asked::NotNeeded) => {
            format!("{room} is clean: all that was written there is in the archive.")
        }
        (What::Flush, _) if wait => format!("Flushed {room}: {new} went to the archive."),
        (What::Flush, Asked::Enqueued(job)) => {
            format!("Asked for a flush of {room}: {new}, by {job} (--wait waits for its end).")
        }
        (What::Flush, Asked::UnderWay) => {
            format!("A flush of {room} is under way; another follows it (--wait waits for both).")
        }
        (What::Rehydrate, Asked::NotNeeded) => format!(
            "{room} is warm already: Redis holds {} of it.",
            count(after.messages, "message")
        ),
        (What::Rehydrate, _) if wait => format!(
            "Rehydrated {room}: Redis holds {} of it.",
            count(after.messages, "message")
        ),
        (What::Rehydrate, Asked::Enqueued(job)) => {
            format!("Asked for the rehydration of {room}, by {job} (--wait waits for its end).")
        }
        (What::Rehydrate, Asked::UnderWay) => {
            format!("A rehydration of {room} is under way (--wait waits for its end).")
        }
    }
}

/// Follows a room's job to its end.
struct Follow<'a> {
    what: What,
    /// The newest message when it was asked for.
    top: MessageId,
    rooms: &'a Rooms,
    inspector: Inspector,
}

impl Follow<'_> {
    async fn to_the_end(&self, room: &RoomId, asked: Asked) -> Result<(), Failure> {
        let progress = Progress::new();
        let began = Instant::now();
        let mut warned = false;
        loop {
            let now = self.rooms.show(room).await?;
            if self.is_done(&now) {
                return Ok(());
            }
            if let Asked::Enqueued(job) = asked {
                let group = self.inspector.group(job).await?;
                progress.at(self.doing(), group.total - group.left, group.total);
                if !warned && began.elapsed() > PATIENCE {
                    warned = self.warn(job).await?;
                }
            } else {
                progress.at(self.doing(), 0, 0);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_done(&self, now: &RoomStatus) -> bool {
        match self.what {
            What::Flush => now.watermark >= self.top || now.unflushed == 0,
            What::Rehydrate => now.warm,
        }
    }

    const fn doing(&self) -> &'static str {
        match self.what {
            What::Flush => "flushing",
            What::Rehydrate => "rehydrating",
        }
    }

    /// Says what keeps a job from running, once. One that is dead is not waited for.
    async fn warn(&self, job: JobId) -> Result<bool, Failure> {
        let why = self.inspector.explain(job).await?;
        let text = clean(&format!("{job}: {}", why.text));
        match why.reason {
            Reason::Dead { .. } => Err(anyhow::anyhow!(text).into()),
            Reason::Running { .. } | Reason::GroupOpen { .. } | Reason::Ended { .. } => Ok(false),
            _ => {
                eprintln!("{text}");
                eprintln!("(Ctrl-C stops the waiting, not the job.)");
                Ok(true)
            }
        }
    }
}
