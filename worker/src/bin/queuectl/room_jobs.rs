//! `queuectl flush` and `queuectl rehydrate`.

use std::time::{Duration, Instant};

use common::{
    chat::{
        ask::{AskError, Asked},
        inspect::{RoomStatus, Rooms},
    },
    id::{MessageId, RoomId},
    queue::{
        JobId, Queue,
        inspect::{Inspector, explain::Reason, status::WorkerStatus},
        operate::Operator,
    },
};
use serde::Serialize;

use crate::{
    Ending, Failure, Outcome,
    connect::Connection,
    out::{Out, add, clean, count},
    progress::Progress,
    status::decided,
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

impl What {
    async fn ask(
        self,
        room: &RoomId,
        rooms: &Rooms,
        operator: &Operator,
    ) -> Result<Asked, AskError> {
        match self {
            Self::Flush => rooms.ask_flush(operator, room).await,
            Self::Rehydrate => rooms.ask_rehydrate(operator, room).await,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Rehydrate => "rehydration",
        }
    }

    const fn command(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Rehydrate => "rehydrate",
        }
    }
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
    let asked = what.ask(room, &rooms, &operator).await?;
    if wait && asked != Asked::NotNeeded {
        let follow = Follow {
            what,
            room,
            top: before.top,
            rooms: &rooms,
            operator: &operator,
            inspector: connection.inspector(),
        };
        follow.to_the_end(asked).await?;
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
    room: &'a RoomId,
    /// The newest message when it was asked for.
    top: MessageId,
    rooms: &'a Rooms,
    operator: &'a Operator,
    inspector: Inspector,
}

impl Follow<'_> {
    async fn to_the_end(&self, mut asked: Asked) -> Result<(), Failure> {
        let progress = Progress::new();
        let mut moved = (None, Instant::now());
        let mut warned = false;
        loop {
            let now = self.rooms.show(self.room).await?;
            if self.is_done(&now) {
                return Ok(());
            }
            let (done, of) = match asked {
                Asked::Enqueued(job) => {
                    let group = self.inspector.group(job).await?;
                    (group.total - group.left, group.total)
                }
                _ => (0, 0),
            };
            progress.at(self.doing(), done, of);
            let mark = Some((now.watermark, done, of));
            if moved.0 != mark {
                moved = (mark, Instant::now());
            } else if moved.1.elapsed() > PATIENCE {
                moved.1 = Instant::now();
                match asked {
                    Asked::Enqueued(job) => self.look_after(job, &now, &mut warned).await?,
                    // What was under way has ended, or is given up: its ask holds for a while only.
                    _ if self.under_way(&now).is_none() => {
                        asked = self.what.ask(self.room, self.rooms, self.operator).await?;
                        if asked == Asked::NotNeeded {
                            return self.ended("what was asked for").await;
                        }
                    }
                    _ if !warned => warned = self.warn_of_another(&now).await?,
                    _ => {}
                }
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

    /// The queue of the job that was asked for last.
    const fn under_way(&self, now: &RoomStatus) -> Option<Queue> {
        match self.what {
            What::Flush => now.flushing,
            What::Rehydrate => now.hydrating,
        }
    }

    const fn doing(&self) -> &'static str {
        match self.what {
            What::Flush => "flushing",
            What::Rehydrate => "rehydrating",
        }
    }

    /// Says what keeps a job from running, once. One that is dead, or has ended without what it was for, is not
    /// waited for.
    async fn look_after(
        &self,
        job: JobId,
        now: &RoomStatus,
        warned: &mut bool,
    ) -> Result<(), Failure> {
        let why = self.inspector.explain(job).await?;
        let text = clean(&format!("{job}: {}", why.text));
        match why.reason {
            Reason::Dead { .. } => return Err(anyhow::anyhow!(text).into()),
            // What follows its children goes on while the ask holds.
            Reason::Ended { .. } if self.under_way(now).is_none() => {
                return self.ended(&job.to_string()).await;
            }
            Reason::Running { .. } | Reason::GroupOpen { .. } | Reason::Ended { .. } => {}
            _ if *warned => {}
            _ => {
                warn(&text);
                *warned = true;
            }
        }
        Ok(())
    }

    /// No job is under way any more: all is well if what it was for is done.
    async fn ended(&self, job: &str) -> Result<(), Failure> {
        let now = self.rooms.show(self.room).await?;
        if self.is_done(&now) {
            return Ok(());
        }
        let (what, room) = (self.what.name(), self.room);
        let left = match self.what {
            What::Flush => {
                let new = count(now.unflushed, "message");
                format!("{} not in the archive", are(&new, now.unflushed))
            }
            What::Rehydrate => "it is cold".to_owned(),
        };
        let text = format!(
            "the {what} of {room} is over ({job} has ended), and {left}. Why: queuectl jobs dead, and the \
             workers' logs. To ask again: queuectl {} {room} --wait",
            self.what.command()
        );
        Err(anyhow::anyhow!(clean(&text)).into())
    }

    /// Says what keeps a job that somebody else has asked for. Which one that is, nobody has noted; its queue is.
    async fn warn_of_another(&self, now: &RoomStatus) -> Result<bool, Failure> {
        let Some(queue) = self.under_way(now) else {
            return Ok(false);
        };
        let status = self.inspector.status().await?;
        let serves = |worker: &&WorkerStatus| {
            let slots = worker.info.queues.get(queue.name());
            !worker.info.stopping && worker.is_alive(status.now_ms) && slots.is_some_and(|n| *n > 0)
        };
        let workers = status.workers.iter().filter(serves).count();
        let of_queue = status.queues.iter().find(|one| one.queue == queue);
        let paused = of_queue.and_then(|one| one.paused.as_ref());
        let waiting = of_queue.map_or(0, |one| one.waiting);
        let what = self.what.name();
        let mut text = format!(
            "A {what} of {} was asked for before, in queue {queue}",
            self.room
        );
        if paused.is_some() {
            let decided = decided("is paused", paused, status.now_ms);
            add(
                &mut text,
                format_args!(", which {decided}: queuectl resume {queue}."),
            );
        } else if workers == 0 {
            add(
                &mut text,
                format_args!(", which no worker serves: start one."),
            );
        } else {
            let jobs = count(waiting, "job");
            add(
                &mut text,
                format_args!(", where {} waiting.", are(&jobs, waiting)),
            );
        }
        warn(&text);
        Ok(true)
    }
}

fn warn(text: &str) {
    eprintln!("{text}");
    eprintln!("(Ctrl-C stops the waiting, not the job.)");
}

fn are(what: &str, n: u64) -> String {
    format!("{what} {}", if n == 1 { "is" } else { "are" })
}
