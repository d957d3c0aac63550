//! A client that reconnects: a [`Session`] and one [`Connection`] after the other.

use std::{collections::HashMap, collections::VecDeque, future::pending, time::Instant};

use rand::{
    RngExt,
    distr::{Alphanumeric, SampleString},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, sleep, sleep_until, timeout},
};

use crate::{
    ask::{AckLevel, Deed},
    connection::{Address, Connection, Heard},
    event::Event,
    frame::{Ack, Frame, MessageId, Refusal},
    session::Session,
};

/// Events that wait for their reader; when there are more, the socket is not read.
const BUFFER: usize = 1024;
/// Between two attempts to connect, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// As one of a crowd, until the next attempt at most, whatever a server says.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A server that was silent for so long is gone: it pings every 25 seconds.
const SILENCE: Duration = Duration::from_secs(60);

/// Where a client connects, and as whom.
#[derive(Debug, Clone)]
pub struct Config {
    urls: Vec<String>,
    user: Option<(String, String)>,
    token: Option<String>,
}

impl Config {
    /// The servers' `/ws`, which are tried in turn.
    pub fn new<U: Into<String>>(urls: impl IntoIterator<Item = U>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            user: None,
            token: None,
        }
    }

    /// As whom, where the servers take guests.
    #[must_use]
    pub fn user(mut self, user_id: &str, username: &str) -> Self {
        self.user = Some((user_id.to_owned(), username.to_owned()));
        self
    }

    /// With a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    fn address(&self, attempt: usize) -> Address {
        let url = self.urls.get(attempt % self.urls.len().max(1));
        let mut address = Address::new(url.map_or("", String::as_str));
        if let Some((user_id, username)) = &self.user {
            address = address.user(user_id, username);
        }
        if let Some(token) = &self.token {
            address = address.token(token);
        }
        address
    }
}

/// Why a message was not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// The server will not have it.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(Refusal),
    /// The client was dropped meanwhile; the message may be kept or not.
    #[error("the client has ended")]
    Ended,
}

type Answer = oneshot::Sender<Result<Ack, Refusal>>;

enum Command {
    Join(String, Option<MessageId>, u32),
    Leave(String),
    Post(String, String, Deed, Option<Answer>),
    Typing(String),
    Token(String),
}

/// A client of the chat. Cheap to clone; it ends when all clones, or its [`Events`], are dropped.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
}

/// What happens to a client. To be read all the time: where it is not, the socket is not read either, and
/// [`Client::post`] waits too.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next one; none when the client has ended.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl futures_util::Stream for Events {
    type Item = Event;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Event>> {
        self.0.poll_recv(context)
    }
}

impl Client {
    /// Starts one, on the runtime that this is called from.
    pub fn start(config: Config) -> (Self, Events) {
        let (commands, asked) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::channel(BUFFER);
        let run = Run {
            config,
            session: Session::new(),
            asked,
            tell,
            told_late: VecDeque::new(),
            answers: HashMap::new(),
        };
        tokio::spawn(run.run());
        (Self { commands }, Events(events))
    }

    /// Joins a room, and stays in it over all connections.
    pub fn join(&self, room: &str) {
        self.join_since(room, None, 100);
    }

    /// Joins a room from a message on that was seen earlier, with so many messages at most.
    pub fn join_since(&self, room: &str, since: Option<MessageId>, limit: u32) {
        self.tell(Command::Join(room.to_owned(), since, limit));
    }

    /// Leaves a room.
    pub fn leave(&self, room: &str) {
        self.tell(Command::Leave(room.to_owned()));
    }

    /// Posts a message into a room that was joined, and waits until it is kept.
    ///
    /// # Errors
    /// If the server refuses it for good. Being away is no such reason: it is sent again.
    pub async fn post(&self, room: &str, text: &str) -> Result<Ack, PostError> {
        let deed = Deed::Say {
            text: text.to_owned(),
            ack: AckLevel::Redis,
        };
        self.carry_out(room, &own_id(), deed).await
    }

    /// Posts anything, under an own id: the same thing again under the same id, also by another client of
    /// the same user, is not posted twice.
    ///
    /// # Errors
    /// If the server refuses it for good.
    pub async fn carry_out(&self, room: &str, own: &str, deed: Deed) -> Result<Ack, PostError> {
        let (answer, answered) = oneshot::channel();
        let (room, own) = (room.to_owned(), own.to_owned());
        self.tell(Command::Post(room, own, deed, Some(answer)));
        let answer = answered.await.map_err(|_| PostError::Ended)?;
        answer.map_err(PostError::Refused)
    }

    /// Tells a room that somebody types.
    pub fn typing(&self, room: &str) {
        self.tell(Command::Typing(room.to_owned()));
    }

    /// Goes on with a fresh token, on this connection and on later ones.
    pub fn renew(&self, token: &str) {
        self.tell(Command::Token(token.to_owned()));
    }

    fn tell(&self, command: Command) {
        // One that has ended does nothing.
        let _ = self.commands.send(command);
    }
}

/// An own id that nobody else has.
fn own_id() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 20)
}

/// How a connection ends.
enum End {
    /// Another one is to be made at once: the server had asked for it.
    Moves,
    /// The server has ended it, or ended itself.
    Lost,
    /// Nothing comes any more.
    Silent,
}

/// The client has no owner any more.
struct Ended;

struct Run {
    config: Config,
    session: Session,
    asked: mpsc::UnboundedReceiver<Command>,
    tell: mpsc::Sender<Event>,
    /// Events that did not fit.
    told_late: VecDeque<Event>,
    answers: HashMap<String, Answer>,
}

impl Run {
    async fn run(mut self) {
        let mut attempt = rand::rng().random_range(0..self.config.urls.len().max(1));
        let mut wait = RETRY.0;
        loop {
            let address = self.config.address(attempt);
            attempt += 1;
            if let Ok(connection) = Connection::open(&address).await {
                wait = RETRY.0;
                match self.speak(connection).await {
                    Ok(End::Moves) => continue,
                    Ok(End::Silent) => {}
                    Ok(End::Lost) => {
                        if let Some([from, to]) = self.session.return_within() {
                            // One of a crowd.
                            let from = from.min(LONGEST_REST);
                            let to = to.clamp(from, LONGEST_REST);
                            let time = rand::rng().random_range(from..=to);
                            if self.rest(time).await.is_err() {
                                return;
                            }
                            continue;
                        }
                    }
                    Err(Ended) => return,
                }
            }
            let jitter = wait.mul_f64(rand::rng().random_range(0.5..1.0));
            wait = (wait * 2).min(RETRY.1);
            if self.rest(jitter).await.is_err() {
                return;
            }
        }
    }

    /// Does what can be done without a connection.
    async fn rest(&mut self, time: Duration) -> Result<(), Ended> {
        let until = sleep(time);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return Ok(()),
                command = self.asked.recv() => self.obey(command)?,
            }
        }
    }

    /// Speaks over a connection to its end.
    async fn speak(&mut self, mut connection: Connection) -> Result<End, Ended> {
        self.session.opened();
        self.report(Event::Opened);
        let mut listened = Instant::now();
        let mut leave_at = None;
        let end = 'open: loop {
            for frame in self.session.to_send(Instant::now()) {
                // If it is gone, that is heard below; one that takes nothing is gone, too.
                if timeout(SILENCE, connection.send(frame)).await.is_err() {
                    break 'open End::Lost;
                }
            }
            let (due, is_late) = (self.session.due(), !self.told_late.is_empty());
            if is_late {
                listened = Instant::now(); // nobody listens meanwhile
            }
            let silent_at = connection.last_heard().max(listened) + SILENCE;
            if !is_late && silent_at <= Instant::now() {
                break End::Silent;
            }
            let tell = self.tell.clone();
            tokio::select! {
                heard = connection.next(), if !is_late => match heard {
                    Heard::Text(text) => {
                        let Ok(frame) = Frame::read(&text) else { continue };
                        let event = self.session.heard(frame, Instant::now());
                        if let Some(Event::GoAway(from, to)) = event {
                            // Until then all goes on.
                            let time = rand::rng().random_range(from..=to);
                            leave_at = Some(Instant::now() + time);
                        }
                        if let Some(event) = event {
                            self.report(event);
                        }
                    }
                    Heard::Closed(_) | Heard::Gone => break End::Lost,
                },
                permit = tell.reserve(), if is_late => match permit {
                    Ok(permit) => if let Some(event) = self.told_late.pop_front() {
                        permit.send(event);
                    },
                    Err(_) => return Err(Ended),
                },
                command = self.asked.recv() => self.obey(command)?,
                () = until(due) => {}
                () = until(leave_at) => {
                    connection.close().await;
                    break End::Moves;
                }
                () = sleep_until(silent_at.into()), if !is_late => {}
            }
            if self.tell.is_closed() {
                return Err(Ended);
            }
        };
        self.session.closed();
        self.report(Event::Closed);
        Ok(end)
    }

    fn obey(&mut self, command: Option<Command>) -> Result<(), Ended> {
        match command.ok_or(Ended)? {
            Command::Join(room, since, limit) => self.session.join_since(&room, since, limit),
            Command::Leave(room) => self.session.leave(&room),
            Command::Post(room, own, deed, answer) => {
                if let Some(answer) = answer {
                    self.answers.insert(own.clone(), answer);
                }
                self.session.post(&room, &own, deed);
            }
            Command::Typing(room) => self.session.typing(&room),
            Command::Token(token) => {
                self.session.authenticate(&token);
                self.config.token = Some(token);
            }
        }
        Ok(())
    }

    /// Tells the owner; who awaits an answer hears it, too.
    fn report(&mut self, event: Event) {
        match &event {
            Event::Acked(ack) => self.answer(&ack.client_id, Ok(ack.clone())),
            Event::Refused {
                client_id, refusal, ..
            } => self.answer(client_id, Err(refusal.clone())),
            _ => {}
        }
        if !self.told_late.is_empty() {
            self.told_late.push_back(event);
        } else if let Err(mpsc::error::TrySendError::Full(event)) = self.tell.try_send(event) {
            self.told_late.push_back(event);
        }
    }

    fn answer(&mut self, client_id: &str, answer: Result<Ack, Refusal>) {
        if let Some(waiting) = self.answers.remove(client_id) {
            let _ = waiting.send(answer);
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}
