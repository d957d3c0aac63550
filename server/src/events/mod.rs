//! Events: rooms over a plain HTTP answer, for those who cannot hold a WebSocket. A stream is a client of
//! its own [`Session`], with an outbox as a socket has: presence counts it, the same order and the same
//! bounds hold. [`rooms`] and [`show`] turn what the outbox gets into events.

pub(crate) mod rooms;
mod show;
#[cfg(test)]
mod test;

use std::{collections::VecDeque, future::Future, mem, pin::Pin, sync::Arc, time::Duration};

use rand::RngExt;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    alarm::until,
    app::{App, Open},
    events::rooms::Rooms,
    frame::{self, Refusal},
    limits::Place,
    outbox::{Outbox, Standing},
    packet::Packet,
    person::Person,
    session::Session,
};

/// A comment after so many ms without an event, so that nobody on the way takes the stream for dead; at
/// random between these, so that streams do not beat together.
const BEAT_MS: std::ops::Range<u64> = 15_000..25_000;
/// A reader that takes nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a reader that is sent away has to take what it is told.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A browser comes back after a time between these, in ms: not all together.
const RETRY_MS: std::ops::Range<u64> = 1000..3000;
/// Events are written together up to so many bytes.
const CHUNK: usize = 32 * 1024;

/// Why a stream ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The reader is gone.
    Gone,
    /// It takes nothing, or far too slowly.
    Slow,
    /// The server goes.
    Drained,
    /// A room could not be joined.
    Refused,
    /// The reader's token is over: it comes back with another one.
    Expired,
}

impl End {
    fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Slow => "slow",
            Self::Drained => "drained",
            Self::Refused => "refused",
            Self::Expired => "expired",
        }
    }
}

/// A join that is under way; gives the session back.
type Joining = Pin<Box<dyn Future<Output = (Box<Session>, Result<(), Refusal>)> + Send>>;

/// One reader's stream.
struct Stream {
    app: App,
    outbox: Arc<Outbox>,
    /// None while it joins.
    session: Option<Box<Session>>,
    joining: Option<Joining>,
    /// Rooms to join when that is done, each once.
    to_join: VecDeque<usize>,
    rooms: Rooms,
    /// Taken out of the outbox and not shown yet.
    frames: VecDeque<Packet>,
    /// Shown and not written yet.
    text: String,
    /// When the text that waits is given up.
    patience: Instant,
    beat_at: Instant,
    /// When the server ends it, once it drains.
    leaves_at: Option<Instant>,
    /// When its token is no longer believed.
    expires_at: Option<Instant>,
    _open: Open,
}

/// Opens a stream; what it is to write comes out of the receiver.
///
/// # Errors
/// If the first of the rooms cannot be joined.
pub(crate) async fn open(
    app: App,
    place: Place,
    person: Person,
    rooms: Rooms,
) -> Result<mpsc::Receiver<String>, Refusal> {
    let seat = app.limits.sit(&person)?;
    let expires_at = person.ends_at();
    let outbox = Arc::new(Outbox::new(app.outbox_bytes));
    let session = Session::new(app.clone(), person, Some(seat), Arc::clone(&outbox));
    let retry = rand::rng().random_range(RETRY_MS);
    let mut stream = Stream {
        _open: app.connections.enter(place),
        app,
        outbox,
        session: Some(Box::new(session)),
        joining: None,
        to_join: (0..rooms.count()).collect(),
        rooms,
        frames: VecDeque::new(),
        text: format!("retry: {retry}\n\n"),
        patience: Instant::now() + SILENCE,
        beat_at: next_beat(),
        leaves_at: None,
        expires_at,
    };
    stream.join_next();
    // The answer's status tells whether the first room can be joined, so its first frame is waited for.
    while stream.frames.is_empty() {
        let outbox = Arc::clone(&stream.outbox);
        tokio::select! {
            (session, joined) = joined(&mut stream.joining), if stream.joining.is_some() => {
                stream.joined(session);
                joined?;
            }
            () = outbox.news() => {
                if outbox.standing() == Standing::Overflowed {
                    return Err(Refusal::unavailable("more came at once than a stream may hold"));
                }
                stream.frames.extend(outbox.take());
            }
        }
    }
    // One chunk is on its way to the socket, one waits.
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(async move {
        metrics::gauge!("rhubarb_streams").increment(1);
        let end = stream.run(&send).await;
        let _ = timeout(LAST_WORDS, stream.flush(&send)).await;
        metrics::gauge!("rhubarb_streams").decrement(1);
        metrics::counter!("rhubarb_stream_ends_total", "why" => end.label()).increment(1);
    });
    Ok(receive)
}

impl Stream {
    async fn run(&mut self, send: &mpsc::Sender<String>) -> End {
        loop {
            self.show();
            let outbox = Arc::clone(&self.outbox);
            let waits = !self.text.is_empty();
            tokio::select! {
                (session, joined) = joined(&mut self.joining), if self.joining.is_some() => {
                    self.joined(session);
                    if joined.is_err() {
                        return End::Refused;
                    }
                }
                // What the reader does not take stays in the outbox, which is bounded.
                () = outbox.news() => {
                    if outbox.standing() == Standing::Overflowed {
                        return End::Slow;
                    }
                    if !waits {
                        self.frames.extend(outbox.take());
                    }
                }
                permit = send.reserve(), if waits => {
                    let Ok(permit) = permit else {
                        return End::Gone;
                    };
                    permit.send(mem::take(&mut self.text));
                    self.patience = Instant::now() + SILENCE;
                    self.beat_at = next_beat();
                    // What is not shown yet is written first; more would be more than the outbox's bound.
                    if self.frames.is_empty() {
                        self.frames.extend(outbox.take());
                    }
                }
                () = send.closed() => return End::Gone,
                () = sleep_until(self.patience), if waits => return End::Slow,
                () = sleep_until(self.beat_at), if !waits => self.write(":\n\n"),
                () = self.app.shutdown.asked(), if self.leaves_at.is_none() => self.goes(),
                () = until(self.leaves_at) => return End::Drained,
                () = until(self.expires_at) => return End::Expired,
                () = self.app.closing.asked() => return End::Drained,
            }
        }
    }

    /// Shows frames, as many as are to be written together.
    fn show(&mut self) {
        if self.text.is_empty() {
            self.patience = Instant::now() + SILENCE;
        }
        while self.text.len() < CHUNK
            && let Some(frame) = self.frames.pop_front()
        {
            if let Some(room) = self.rooms.show(&frame, &mut self.text) {
                self.join(room);
            }
        }
    }

    /// Begins to join a room, or is to when the joins before it are done.
    fn join(&mut self, room: usize) {
        if !self.to_join.contains(&room) {
            self.to_join.push_back(room);
        }
        self.join_next();
    }

    fn join_next(&mut self) {
        let Some(mut session) = self.session.take() else {
            return; // a join is under way
        };
        let Some(room) = self.to_join.pop_front() else {
            self.session = Some(session);
            return;
        };
        let join = self.rooms.join(room);
        let outbox = Arc::clone(&self.outbox);
        self.joining = Some(Box::pin(async move {
            // One history at a time, as a socket that is full is not asked for the next either.
            outbox.has_room().await;
            let joined = session.join(&None, join).await;
            (session, joined)
        }));
    }

    fn joined(&mut self, session: Box<Session>) {
        self.joining = None;
        self.session = Some(session);
        self.join_next();
    }

    /// The server drains: tells the reader, and notes when it ends the stream itself, as a browser does
    /// not know how to.
    fn goes(&mut self) {
        let farewell = self.app.drain.farewell();
        self.leaves_at = Some(farewell.reader_leaves_at());
        let mut text = mem::take(&mut self.text);
        self.rooms
            .show(&frame::goaway(farewell.reconnect_in_ms()), &mut text);
        self.text = text;
    }

    fn write(&mut self, text: &str) {
        self.patience = Instant::now() + SILENCE;
        self.beat_at = next_beat();
        self.text.push_str(text);
    }

    /// Writes all that waits.
    async fn flush(&mut self, send: &mpsc::Sender<String>) {
        self.frames.extend(self.outbox.take());
        self.show();
        while !self.text.is_empty() {
            if send.send(mem::take(&mut self.text)).await.is_err() {
                return;
            }
            self.show();
        }
    }
}

fn next_beat() -> Instant {
    Instant::now() + Duration::from_millis(rand::rng().random_range(BEAT_MS))
}

async fn joined(joining: &mut Option<Joining>) -> (Box<Session>, Result<(), Refusal>) {
    match joining {
        Some(joining) => joining.await,
        None => std::future::pending().await,
    }
}
