//! A session: what one connection may ask, and the answers. It knows no socket.

use std::sync::Arc;

use common::{chat::Content, error::Chain, id::RoomId};
use rand::distr::{Alphanumeric, SampleString};

use crate::{
    app::App,
    frame::{self, Ask, FrameId, Join, MAX_CLIENT_ID, MAX_MESSAGE, Post, Refusal},
    hub::ConnectionId,
    joining::Joining,
    outbox::Outbox,
    room::Room,
};

/// Rooms a connection at most.
const MAX_ROOMS: usize = 50;
/// Texts that name people have so many characters at most.
const MAX_NAME: usize = 64;

/// Who is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    user_id: Box<str>,
    username: Box<str>,
}

impl Person {
    /// A person as the upgrade names one; a guest where it does not.
    pub(crate) fn new(user_id: Option<String>, username: Option<String>) -> Result<Self, Refusal> {
        let guest = || format!("guest-{}", Alphanumeric.sample_string(&mut rand::rng(), 8));
        let user_id = user_id
            .filter(|text| !text.is_empty())
            .unwrap_or_else(guest);
        let username = username.filter(|text| !text.trim().is_empty());
        let username = username.unwrap_or_else(|| user_id.clone());
        for (what, text) in [("userId", &user_id), ("username", &username)] {
            if text.chars().count() > MAX_NAME || text.chars().any(char::is_control) {
                let message =
                    format!("{what} has 1 to {MAX_NAME} characters and no control characters");
                return Err(Refusal::new("bad_name", message));
            }
        }
        // The user id and a client id are joined by a space in Redis.
        if user_id.contains(' ') {
            return Err(Refusal::new("bad_name", "userId has no spaces"));
        }
        Ok(Self {
            user_id: user_id.into(),
            username: username.trim().into(),
        })
    }
}

/// One connection's rooms.
#[derive(Debug)]
pub(crate) struct Session {
    app: App,
    person: Person,
    connection: ConnectionId,
    outbox: Arc<Outbox>,
    rooms: Vec<Arc<Room>>,
}

impl Session {
    pub(crate) fn new(app: App, person: Person, outbox: Arc<Outbox>) -> Self {
        let connection = app.hub.connection();
        Self {
            app,
            person,
            connection,
            outbox,
            rooms: Vec::new(),
        }
    }

    /// Does what a frame asks and puts the answer into the outbox.
    pub(crate) async fn handle(mut self: Box<Self>, text: impl AsRef<str> + Send) -> Box<Self> {
        let (id, ask) = frame::read(text.as_ref());
        let done = match ask {
            Ok(ask) => self.answer(&id, ask).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = done {
            self.refuse(&id, &refusal);
        }
        self
    }

    /// Tells the client that something cannot be done.
    pub(crate) fn refuse(&self, id: &FrameId, refusal: &Refusal) {
        metrics::counter!("rhubarb_refused_frames_total", "code" => refusal.code).increment(1);
        self.outbox.push(frame::error(id, refusal));
    }

    async fn answer(&mut self, id: &FrameId, ask: Ask) -> Result<(), Refusal> {
        match ask {
            Ask::Join(join) => self.join(id, join).await,
            Ask::Post(post) => self.post(id, post).await,
            Ask::Leave(leave) => {
                let room_id = self.room_of(leave.room_id)?;
                self.leave(&room_id);
                self.outbox.push(frame::left(id, &room_id));
                Ok(())
            }
            Ask::Typing(typing) => {
                let room_id = self.room_of(typing.room_id)?;
                let Person { user_id, username } = &self.person;
                let typing = frame::typing(&room_id, user_id, username);
                // Nobody misses it: a failure is not told.
                let _ = self.app.chat.tell_typing(&room_id, &typing).await;
                Ok(())
            }
            Ask::Ping => {
                self.outbox.push(frame::pong(id));
                Ok(())
            }
        }
    }

    /// Subscribe, read, merge, live.
    async fn join(&mut self, id: &FrameId, join: Join) -> Result<(), Refusal> {
        let known = self.rooms.iter().any(|room| *room.id() == join.room_id);
        if !known && self.rooms.len() >= MAX_ROOMS {
            let message =
                format!("{MAX_ROOMS} rooms are the most for a connection; leave one first");
            return Err(Refusal::new("too_many_rooms", message));
        }
        let room = self
            .app
            .hub
            .enter(&join.room_id, self.connection, &self.outbox);
        if !known {
            // Noted before the first await: a connection that ends while it joins must leave too.
            self.rooms.push(Arc::clone(&room));
        }
        let joining = Joining {
            app: &self.app,
            room: &room,
            connection: self.connection,
            outbox: &self.outbox,
            id,
            join: &join,
        };
        let joined = joining.run().await;
        if joined.is_err() {
            self.leave(&join.room_id);
        }
        joined
    }

    fn leave(&mut self, room_id: &RoomId) {
        self.rooms.retain(|room| room.id() != room_id);
        self.app.hub.leave(room_id, self.connection);
    }

    async fn post(&mut self, id: &FrameId, message: Post) -> Result<(), Refusal> {
        let room_id = self.room_of(message.room_id)?;
        let client_id = message
            .client_id
            .unwrap_or_else(|| Alphanumeric.sample_string(&mut rand::rng(), 20));
        if client_id.is_empty() || client_id.len() > MAX_CLIENT_ID || !client_id.is_ascii() {
            let text = format!("clientId has 1 to {MAX_CLIENT_ID} ASCII characters");
            return Err(Refusal::new("bad_message", text));
        }
        if message.message.is_empty() || message.message.len() > MAX_MESSAGE {
            let text = format!("a message has 1 to {MAX_MESSAGE} bytes");
            return Err(Refusal::new("bad_message", text));
        }
        // Postgres cannot store it, so the room could never be flushed.
        if message.message.contains('\0') || client_id.contains('\0') {
            return Err(Refusal::new(
                "bad_message",
                "a message has no NUL characters",
            ));
        }
        let content = Content {
            user_id: (&*self.person.user_id).into(),
            username: (&*self.person.username).into(),
            client_id: client_id.as_str().into(),
            message: message.message.as_str().into(),
        };
        let appended = self.app.chat.post(&room_id, &content).await.map_err(|error| {
            tracing::warn!(error = %Chain(&error), room.id = %room_id, "a message could not be kept");
            Refusal::unavailable("the message could not be kept; send it again with the same clientId")
        })?;
        metrics::counter!("rhubarb_posted_messages_total").increment(1);
        let ack = frame::ack(id, &room_id, &client_id, appended.id, appended.duplicate);
        self.outbox.push(ack);
        Ok(())
    }

    /// The room that is named, or the one joined last.
    fn room_of(&self, named: Option<RoomId>) -> Result<RoomId, Refusal> {
        match named {
            Some(room_id) if self.rooms.iter().any(|room| *room.id() == room_id) => Ok(room_id),
            Some(room_id) => Err(Refusal::new("not_joined", format!("join {room_id} first"))),
            None => self
                .rooms
                .last()
                .map(|room| room.id().clone())
                .ok_or_else(|| Refusal::new("not_joined", "join a room first")),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for room in &self.rooms {
            self.app.hub.leave(room.id(), self.connection);
        }
    }
}
