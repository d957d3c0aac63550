//! A connection: one socket's loop. Frames in are handled one after another; frames out are written
//! together; a peer that says nothing for long is dead.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rand::RngExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Bytes, Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{
    app::App,
    frame::{self, Refusal},
    limits::Seat,
    outbox::Outbox,
    person::Person,
    session::Session,
};

/// A WebSocket inside an upgraded HTTP connection.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Between two pings.
const PING_EVERY: Duration = Duration::from_secs(25);
/// A peer that was silent for so long is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a peer that is closed has to take what it is told.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a connection ends.
enum End {
    /// The peer closed it or is gone.
    Gone,
    /// We close it.
    Close(CloseCode, &'static str),
}

/// A frame that is being handled; gives the session back.
type Handling = Pin<Box<dyn Future<Output = Box<Session>> + Send>>;

struct Connection {
    socket: Socket,
    outbox: Arc<Outbox>,
    /// None while a frame is being handled.
    session: Option<Box<Session>>,
    handling: Option<Handling>,
    heard: Instant,
    ping_at: Instant,
}

/// Serves one socket to its end.
pub(crate) async fn serve(app: App, person: Person, seat: Option<Seat>, socket: Socket) {
    let outbox = Arc::new(Outbox::new(app.outbox_bytes));
    let session = Session::new(app.clone(), person, seat, Arc::clone(&outbox));
    session.greet();
    let now = Instant::now();
    // The first ping comes at a random time, so that those who came together do not beat together.
    let first = PING_EVERY.mul_f64(rand::rng().random_range(0.1..1.0));
    let mut connection = Connection {
        socket,
        outbox,
        session: Some(Box::new(session)),
        handling: None,
        heard: now,
        ping_at: now + first,
    };
    if let End::Close(code, reason) = connection.run(&app).await {
        let close = CloseFrame {
            code,
            reason: reason.into(),
        };
        // To the peer's own close: what it has sent and nobody reads would have the system reset the
        // connection, and the peer might lose what it was told last.
        let close = async {
            let _ = connection.socket.close(Some(close)).await;
            while let Some(Ok(_)) = connection.socket.next().await {}
        };
        let _ = timeout(LAST_WORDS, close).await;
    }
}

impl Connection {
    async fn run(&mut self, app: &App) -> End {
        // When the server closes it, once it drains and if the client stays.
        let mut cut_at = None;
        loop {
            let outbox = Arc::clone(&self.outbox);
            let wakes_at = self.wakes_at();
            tokio::select! {
                frame = self.socket.next(), if self.handling.is_none() => {
                    let frame = match frame {
                        Some(Ok(frame)) => frame,
                        Some(Err(error)) => return broken(&error),
                        None => return End::Gone,
                    };
                    self.heard = Instant::now();
                    if let Err(end) = self.take(frame).await {
                        return end;
                    }
                }
                session = handled(&mut self.handling), if self.handling.is_some() => {
                    self.handling = None;
                    self.session = Some(session);
                }
                () = outbox.filled() => {
                    if let Err(end) = self.write_out().await {
                        return end;
                    }
                }
                () = outbox.overflowed() => return TOO_SLOW,
                () = sleep_until(wakes_at) => {
                    if let Some(session) = &mut self.session
                        && let Err(reason) = session.ring()
                    {
                        let _ = timeout(LAST_WORDS, self.write_out()).await;
                        return End::Close(CloseCode::Library(4401), reason);
                    }
                    if Instant::now() < self.ping_at {
                        continue;
                    }
                    if self.heard.elapsed() > SILENCE {
                        return End::Gone;
                    }
                    self.ping_at = Instant::now() + PING_EVERY;
                    let ping = self.socket.send(Message::Ping(Bytes::new()));
                    if !matches!(timeout(SILENCE, ping).await, Ok(Ok(()))) {
                        return End::Gone;
                    }
                }
                () = app.shutdown.asked(), if cut_at.is_none() => {
                    let farewell = app.drain.farewell();
                    cut_at = Some(farewell.cut_at());
                    self.outbox.push(frame::goaway(farewell.reconnect_in_ms()));
                }
                () = sleep_until(cut_at.unwrap_or(self.ping_at)), if cut_at.is_some() => {
                    return self.send_away().await;
                }
                () = app.closing.asked() => return self.send_away().await,
            }
        }
    }

    /// Ends a connection that the client has not left: what is being handled is answered first.
    async fn send_away(&mut self) -> End {
        let finish = async {
            if self.handling.is_some() {
                self.session = Some(handled(&mut self.handling).await);
                self.handling = None;
            }
            self.write_out().await
        };
        let _ = timeout(LAST_WORDS, finish).await;
        End::Close(CloseCode::Away, "the server is stopping; reconnect")
    }

    /// When there is something to do, whatever comes. While a frame is handled the session is not at hand.
    fn wakes_at(&self) -> Instant {
        let rings_at = self.session.as_ref().and_then(|session| session.rings_at());
        rings_at.map_or(self.ping_at, |at| at.min(self.ping_at))
    }

    /// Begins to handle a frame.
    async fn take(&mut self, frame: Message) -> Result<(), End> {
        let Some(mut session) = self.session.take() else {
            return Ok(());
        };
        if !session.take_frame() {
            return Err(FLOOD);
        }
        match frame {
            Message::Text(text) => self.handling = Some(Box::pin(session.handle(text))),
            Message::Binary(_) => {
                let refusal = Refusal::new("bad_frame", "frames are JSON texts, not binary");
                session.refuse(&None, &refusal);
                self.session = Some(session);
            }
            Message::Close(_) => {
                // The answer was queued by the library when it read the close.
                let _ = self.socket.flush().await;
                return Err(End::Gone);
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => self.session = Some(session),
        }
        Ok(())
    }

    /// Writes all that waits, in as few system calls as the buffer allows.
    async fn write_out(&mut self) -> Result<(), End> {
        let outbox = Arc::clone(&self.outbox);
        let write = async {
            for frame in outbox.take() {
                self.socket.feed(Message::Text(frame)).await?;
            }
            self.socket.flush().await
        };
        tokio::select! {
            biased; // in this order, so that no timer is made for a write that succeeds at once
            written = write => written.map_err(|_| End::Gone),
            () = outbox.overflowed() => Err(TOO_SLOW),
            () = sleep(SILENCE) => Err(End::Gone),
        }
    }
}

const FLOOD: End = End::Close(CloseCode::Library(4429), "too many frames: send fewer");

const TOO_SLOW: End = End::Close(
    CloseCode::Again,
    "too slow: reconnect and resume from the last message seen",
);

async fn handled(handling: &mut Option<Handling>) -> Box<Session> {
    match handling {
        Some(handling) => handling.await,
        None => std::future::pending().await,
    }
}

fn broken(error: &tungstenite::Error) -> End {
    match error {
        tungstenite::Error::Capacity(_) => {
            End::Close(CloseCode::Size, "the frame is far too large")
        }
        tungstenite::Error::Protocol(_) => {
            End::Close(CloseCode::Protocol, "this is not the WebSocket protocol")
        }
        tungstenite::Error::Utf8(_) => End::Close(CloseCode::Invalid, "a text frame is not UTF-8"),
        _ => End::Gone,
    }
}
