//! A connection: one socket's loop. Frames in are handled one after another, those that have come meanwhile
//! together; frames out go into the [`Outbox`], which a [`crate::writer`] empties; a peer that says nothing for long is
//! dead.

use std::{
    collections::VecDeque,
    future::{Future, ready},
    io, mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use common::shutdown::Shutdown;
use futures_util::{FutureExt, SinkExt, StreamExt};
use rand::RngExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::tcp::OwnedReadHalf,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Bytes, Message, Utf8Bytes,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::{
    alarm::until,
    app::{App, Open},
    drain::Drain,
    frame::{self, Refusal},
    limits::Seat,
    outbox::{Outbox, Standing},
    packet::Packet,
    person::Person,
    session::Session,
};

/// A WebSocket as it is read. What the library writes by itself, answers to pings and closes, goes
/// the way of all else: into the outbox.
pub(crate) type Socket = WebSocketStream<Wire>;

/// What the library reads from and writes to.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: OwnedReadHalf,
    pub(crate) outbox: Arc<Outbox>,
}

/// Between two pings.
const PING_EVERY: Duration = Duration::from_secs(25);
/// A peer that was silent for so long is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a peer that is closed has to take what it is told.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Frames that are handled together at most.
const TOGETHER: usize = 64;
/// And bytes of them, and one frame more, of which no more is kept than shows that it is too large.
const BYTES_TOGETHER: usize = 64 * 1024;

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The peer closed it or is gone.
    Gone,
    /// We close it.
    Close(CloseCode, &'static str),
}

/// Frames that are being handled; gives the session back, and those that are left.
type Handling = Pin<Box<dyn Future<Output = Handled> + Send>>;
type Handled = (Box<Session>, VecDeque<Utf8Bytes>);

struct Connection {
    /// The server drains.
    shutdown: Shutdown,
    /// The server ends.
    closing: Shutdown,
    drain: Drain,
    socket: Socket,
    /// What was taken in and is not handled yet.
    texts: VecDeque<Utf8Bytes>,
    /// What was read behind that.
    ahead: Option<Result<Message, End>>,
    outbox: Arc<Outbox>,
    /// None while frames are being handled.
    session: Option<Box<Session>>,
    handling: Option<Handling>,
    /// When the token is no longer believed that the frames under way came with.
    ends_at: Option<Instant>,
    heard: Instant,
    /// Since when the peer has taken nothing of what waits for it.
    blocked: Option<Instant>,
    /// Counts it.
    _open: Open,
}

/// Serves one socket to its end. What it needs is in a box: an async function would keep room for each of
/// its arguments twice.
pub(crate) fn serve(
    app: App,
    person: Person,
    seat: Option<Seat>,
    open: Open,
    socket: Socket,
) -> impl Future<Output = ()> + Send {
    let outbox = Arc::clone(&socket.get_ref().outbox);
    let (shutdown, closing, drain) = (app.shutdown.clone(), app.closing.clone(), app.drain.clone());
    let session = Session::new(app, person, seat, Arc::clone(&outbox));
    session.greet();
    let connection = Box::new(Connection {
        shutdown,
        closing,
        drain,
        socket,
        texts: VecDeque::new(),
        ahead: None,
        outbox,
        session: Some(Box::new(session)),
        handling: None,
        ends_at: None,
        heard: Instant::now(),
        blocked: None,
        _open: open,
    });
    connection.live()
}

impl Connection {
    async fn live(mut self: Box<Self>) {
        if let End::Close(code, reason) = self.run().await {
            let close = CloseFrame {
                code,
                reason: reason.into(),
            };
            // To the peer's own close: what it has sent and nobody reads would have the system reset the
            // connection, and the peer might lose what it was told last.
            let close = async {
                let _ = self.socket.close(Some(close)).await;
                self.outbox.emptied().await;
                while let Some(Ok(_)) = self.socket.next().await {}
            };
            let _ = timeout(LAST_WORDS, close).await;
        } else {
            let _ = timeout(LAST_WORDS, self.outbox.emptied()).await;
        }
    }

    async fn run(&mut self) -> End {
        let (shutdown, closing) = (self.shutdown.clone(), self.closing.clone());
        let outbox = Arc::clone(&self.outbox);
        // The first ping comes at a random time, so that those who came together do not beat together.
        let first = PING_EVERY.mul_f64(rand::rng().random_range(0.1..1.0));
        // Made once: whatever wakes this task polls them all.
        let mut ping = pin!(sleep_until(Instant::now() + first));
        let mut draining = pin!(shutdown.asked());
        let mut closing = pin!(closing.asked());
        // When the server closes it, once it drains and if the client stays.
        let mut cut_at = None;
        loop {
            // While frames are handled the session is not at hand.
            let rings_at = self.session.as_ref().and_then(|session| session.rings_at());
            // A peer that does not read what it is told is not heard either.
            let is_full = outbox.is_full();
            let listens = self.handling.is_none() && !is_full;
            tokio::select! {
                () = ready(()), if !self.texts.is_empty() && listens => self.handle(),
                frame = next(&mut self.ahead, &mut self.socket), if self.texts.is_empty() && listens => {
                    self.heard = Instant::now();
                    let taken = match frame {
                        Ok(frame) => self.take(frame).await,
                        Err(end) => Err(end),
                    };
                    if let Err(end) = taken {
                        return end;
                    }
                }
                (session, left) = handled(&mut self.handling), if self.handling.is_some() => {
                    self.handling = None;
                    self.session = Some(session);
                    // An idle connection keeps no room for texts.
                    self.texts = if left.is_empty() { VecDeque::new() } else { left };
                    self.heard = Instant::now(); // it was not listened to
                }
                () = outbox.news() => match outbox.standing() {
                    Standing::Open => {}
                    Standing::Blocked => {
                        self.blocked.get_or_insert_with(Instant::now);
                    }
                    Standing::Overflowed | Standing::Broken => return End::Gone,
                },
                () = outbox.has_room(), if is_full => self.heard = Instant::now(),
                () = outbox.unblock(), if self.blocked.is_some() => self.blocked = None,
                () = &mut ping => {
                    let is_stuck = self.blocked.is_some_and(|since| since.elapsed() > SILENCE);
                    if is_stuck || (listens && self.heard.elapsed() > SILENCE) {
                        return End::Gone;
                    }
                    ping.as_mut().reset(Instant::now() + PING_EVERY);
                    // Who has closed behind what is handled takes none, and is to have its answers.
                    let may_end = self.ahead.is_some();
                    if !may_end && self.socket.send(Message::Ping(Bytes::new())).await.is_err() {
                        return End::Gone;
                    }
                }
                () = until(rings_at) => {
                    if let Some(session) = &mut self.session
                        && let Err(reason) = session.ring()
                    {
                        return End::Close(CloseCode::Library(4401), reason);
                    }
                }
                // A frame that takes long, such as a slow reader's join, does not outlive the token.
                () = until(self.ends_at), if self.handling.is_some() => {
                    return End::Close(CloseCode::Library(4401), "the token has expired");
                }
                () = &mut draining, if cut_at.is_none() => {
                    let farewell = self.drain.farewell();
                    cut_at = Some(farewell.cut_at());
                    outbox.push(frame::goaway(farewell.reconnect_in_ms()));
                }
                () = until(cut_at) => return self.send_away().await,
                () = &mut closing => return self.send_away().await,
            }
        }
    }

    /// Ends a connection that the client has not left: what is being handled is answered first.
    async fn send_away(&mut self) -> End {
        if self.handling.is_some()
            && let Ok((session, _)) = timeout(LAST_WORDS, handled(&mut self.handling)).await
        {
            self.session = Some(session);
            self.handling = None;
        }
        End::Close(CloseCode::Away, "the server is stopping; reconnect")
    }

    /// Takes a frame in.
    async fn take(&mut self, frame: Message) -> Result<(), End> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        if !session.take_frame() {
            return Err(FLOOD);
        }
        session.woken();
        match frame {
            Message::Text(text) => {
                self.texts.push_back(text);
                self.take_behind();
                self.handle();
            }
            Message::Binary(_) => {
                let refusal = Refusal::new("bad_frame", "frames are JSON texts, not binary");
                session.refuse(&None, &refusal);
            }
            Message::Close(_) => {
                // The answer was queued by the library when it read the close.
                let _ = self.socket.flush().await;
                return Err(End::Gone);
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(())
    }

    /// Takes the texts in that have come behind the first.
    fn take_behind(&mut self) {
        let Some(session) = &mut self.session else {
            return;
        };
        let mut bytes = self.texts.iter().map(|text| text.len()).sum::<usize>();
        while self.texts.len() < TOGETHER && bytes < BYTES_TOGETHER {
            match next(&mut self.ahead, &mut self.socket).now_or_never() {
                Some(Ok(Message::Text(text))) if session.take_frame() => {
                    bytes += text.len();
                    self.texts.push_back(frame::shortened(text));
                }
                Some(Ok(Message::Binary(_))) => {
                    self.ahead = Some(Ok(Message::Binary(Bytes::new()))); // what is in it does not matter
                    return;
                }
                Some(Ok(Message::Text(_))) => {
                    self.ahead = Some(Err(FLOOD));
                    return;
                }
                other => {
                    self.ahead = other;
                    return;
                }
            }
        }
    }

    /// Begins to handle the texts that were taken in.
    fn handle(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        // After its end only what may renew it is answered.
        self.ends_at = session.ends_at().filter(|at| *at > Instant::now());
        self.handling = Some(Box::pin(session.handle(mem::take(&mut self.texts))));
    }
}

const FLOOD: End = End::Close(CloseCode::Library(4429), "too many frames: send fewer");

/// The next frame: one that was read already, or from the socket.
async fn next(
    ahead: &mut Option<Result<Message, End>>,
    socket: &mut Socket,
) -> Result<Message, End> {
    if let Some(frame) = ahead.take() {
        return frame;
    }
    match socket.next().await {
        Some(Ok(frame)) => Ok(frame),
        Some(Err(error)) => Err(broken(&error)),
        None => Err(End::Gone),
    }
}

async fn handled(handling: &mut Option<Handling>) -> Handled {
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

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

/// The library writes whole frames, as everything is taken at once.
impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outbox.push(Packet::raw(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
