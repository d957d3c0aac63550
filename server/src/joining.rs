//! Joining: a room's history on its way to one joiner, part by part, then what is live. The next part is
//! read when the last is written, and what is said meanwhile is read as well, so a joiner costs a bounded
//! number of bytes however slow it is. [`crate::room`] joins history and live messages without a gap.

use std::{sync::Arc, time::Duration};

use common::{
    chat::{history::HistoryError, log::Opened},
    error::Chain,
    id::MessageId,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    app::App,
    drain::lost_within_ms,
    frame::{self, FrameId, Join, MAX_MISSED, Refusal},
    history::Part,
    hub::ConnectionId,
    outbox::Outbox,
    room::{History, Room},
};

/// How long a joiner of a cold room waits for its history, if the archive cannot be asked.
const COLD_PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at a cold room, in case the word that it is warm was missed.
const COLD_LOOK: Duration = Duration::from_millis(500);
/// The next part is read when so many bytes are left to be written.
const NEARLY_WRITTEN: usize = 16 * 1024;

/// One join, while it goes on.
#[derive(Debug)]
pub(crate) struct Joining<'a> {
    pub(crate) app: &'a App,
    pub(crate) room: &'a Room,
    pub(crate) connection: ConnectionId,
    pub(crate) outbox: &'a Arc<Outbox>,
    pub(crate) id: &'a FrameId,
    pub(crate) join: &'a Join,
}

/// How far the client is.
enum Shown {
    Nothing,
    /// It was answered, and has everything up to this message, from where its history begins; unless it
    /// was told that the history is not whole.
    UpTo(MessageId, Wholeness),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wholeness {
    Whole,
    Pieces,
}

impl Joining<'_> {
    /// Subscribe, read, merge, live.
    pub(crate) async fn run(&self) -> Result<(), Refusal> {
        let mut shown = Shown::Nothing;
        loop {
            let opened = match (self.open(&shown).await, &shown) {
                (Ok(opened), Shown::UpTo(seen, whole))
                    if !opened.complete || *whole == Wholeness::Pieces =>
                {
                    self.give_up(*seen);
                    return Ok(());
                }
                (Ok(opened), _) => opened,
                (Err(refusal), Shown::Nothing) => return Err(refusal),
                (Err(_), Shown::UpTo(seen, _)) => {
                    self.give_up(*seen);
                    return Ok(());
                }
            };
            match self.show(&opened, &mut shown).await {
                Ok(true) => return Ok(()),
                Ok(false) => {} // something was missed: read on
                Err(error) => {
                    let room = self.room.id();
                    tracing::warn!(error = %Chain(&error), room.id = %room, "a joiner's history cannot be read");
                    match shown {
                        Shown::Nothing => return Err(away()),
                        Shown::UpTo(seen, _) => {
                            self.give_up(seen);
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// Looks where the history begins. A cold room is brought back meanwhile; if the archive cannot be asked
    /// now, the joiner waits a while for that.
    async fn open(&self, shown: &Shown) -> Result<Opened, Refusal> {
        let (since, limit) = match shown {
            Shown::Nothing => (self.join.since, self.join.limit()),
            Shown::UpTo(last, _) => (Some(*last), MAX_MISSED),
        };
        let (app, room) = (self.app, self.room);
        if !app.hub.subscribe(room).await {
            return Err(away());
        }
        let deadline = Instant::now() + COLD_PATIENCE;
        loop {
            let warm = room.hydrated.notified();
            tokio::pin!(warm);
            warm.as_mut().enable(); // what rings from here on is heard
            let found = app.histories.beginning(room.id(), since, limit).await;
            let mut opened = found.map_err(|error| {
                tracing::warn!(error = %Chain(&error), room.id = %room.id(), "a join failed");
                away()
            })?;
            // Redis hears a moment later of who came just now.
            opened.members = opened.members.max(room.members() as u64);
            if opened.warm {
                return Ok(opened);
            }
            if let Err(error) = app.chat.ask_rehydrate(room.id()).await {
                tracing::warn!(error = %Chain(&error), room.id = %room.id(), "cannot ask for a rehydration");
            }
            if opened.whole || Instant::now() >= deadline {
                return Ok(opened);
            }
            let _ = timeout_at(deadline.min(Instant::now() + COLD_LOOK), warm).await;
        }
    }

    /// Sends the history part by part. False if what was read is out of date before the end.
    async fn show(&self, opened: &Opened, shown: &mut Shown) -> Result<bool, HistoryError> {
        let (histories, room) = (&self.app.histories, self.room.id());
        let room_number = self.room.number();
        let mut at = opened.after;
        loop {
            let part = if opened.whole {
                histories.part(room, at, opened.top).await?
            } else {
                histories.part_of_log(room, at).await?
            };
            at = at.max(part.last());
            let continues = part.last() > MessageId::ZERO && at < opened.top;
            let frame = match shown {
                Shown::Nothing => {
                    let within = lost_within_ms(self.app.connections.count());
                    frame::joined(self.id, room, opened, &part, continues, within)
                }
                Shown::UpTo(..) => frame::history(room, &part, continues),
            };
            if !continues {
                return Ok(self.room.go_live(
                    self.connection,
                    History {
                        last_frame: frame,
                        seen: at.max(opened.top),
                        whole: opened.whole,
                    },
                ));
            }
            self.outbox.push_history(room_number, frame);
            let whole = if opened.whole {
                Wholeness::Whole
            } else {
                Wholeness::Pieces
            };
            *shown = Shown::UpTo(at, whole);
            self.outbox.below(NEARLY_WRITTEN).await;
        }
    }

    /// The rest of the history cannot be had: it ends with what the client has, which is told to begin anew.
    fn give_up(&self, seen: MessageId) {
        let last_frame = frame::history(self.room.id(), &Part::default(), false);
        self.room.go_live_anyway(self.connection, last_frame, seen);
        self.room
            .reload(self.connection, "the rest of the history is not at hand");
    }
}

fn away() -> Refusal {
    Refusal::unavailable("the room cannot be joined now; try again")
}
