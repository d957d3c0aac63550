//! A session: what one connection may ask, and the answers. It knows no socket.

use std::{collections::VecDeque, mem, sync::Arc};

use common::{id::RoomId, queue::span::Request};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    app::App,
    auth::Ring,
    drain::lost_within_ms,
    frame::{self, Ask, FrameId, Join, Refusal},
    hub::ConnectionId,
    joining::Joining,
    limits::Seat,
    outbox::Outbox,
    person::{Person, Proof},
    room::Room,
    say::Row,
    standing::Standing,
};

/// One connection's rooms.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) app: App,
    pub(crate) person: Person,
    connection: ConnectionId,
    pub(crate) outbox: Arc<Outbox>,
    rooms: Vec<Arc<Room>>,
    standing: Standing,
}

impl Session {
    pub(crate) fn new(app: App, person: Person, seat: Option<Seat>, outbox: Arc<Outbox>) -> Self {
        let connection = app.hub.connection();
        let standing = Standing::new(&app, &person, seat);
        Self {
            app,
            person,
            connection,
            outbox,
            rooms: Vec::new(),
            standing,
        }
    }

    /// Tells who came with a token what it was taken for.
    pub(crate) fn greet(&self) {
        if matches!(self.person.proof, Proof::Token { .. }) {
            self.tell_authed(&None);
        }
    }

    /// Does what the first of these frames asks and puts the answer into the outbox; if it is a message, those that
    /// follow it are kept together with it: one by one, each would wait for the one before it. Gives back what is left.
    pub(crate) async fn handle(
        mut self: Box<Self>,
        mut texts: VecDeque<Utf8Bytes>,
    ) -> (Box<Self>, VecDeque<Utf8Bytes>) {
        let mut row = Row::default();
        while let Some(text) = texts.pop_front() {
            let (id, ask) = frame::read(&text);
            let is_message = matches!(ask, Ok(Ask::Post(_)));
            if !is_message && !row.is_empty() {
                texts.push_front(text);
                break;
            }
            let allowed = ask.and_then(|ask| {
                self.standing.may(&self.app, &self.person, &ask)?;
                Ok(ask)
            });
            let done = match allowed {
                Ok(ask) => self.answer(&mut row, &id, ask).await,
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = done {
                self.post(mem::take(&mut row)).await; // the answers are in the order of what they answer
                self.refuse(&id, &refusal);
            }
            if !is_message {
                break;
            }
        }
        self.post(row).await;
        (self, texts)
    }

    /// Tells the client that something cannot be done.
    pub(crate) fn refuse(&self, id: &FrameId, refusal: &Refusal) {
        metrics::counter!("rhubarb_refused_frames_total", "code" => refusal.code).increment(1);
        self.outbox.push(frame::error(id, refusal));
    }

    async fn answer(&mut self, row: &mut Row, id: &FrameId, ask: Ask) -> Result<(), Refusal> {
        match ask {
            Ask::Auth(auth) => self.authenticate(id, &auth.token).await,
            Ask::Join(join) => self.join(id, join).await,
            Ask::Post(post) => self.add(row, id, post),
            Ask::Edit(edit) => asked("edit").answer(self.edit(id, edit)).await,
            Ask::Delete(delete) => asked("delete").answer(self.delete(id, delete)).await,
            Ask::Leave(leave) => {
                let room_id = self.room_of(leave.room_id)?;
                self.leave(&room_id);
                self.outbox.push(frame::left(id, &room_id));
                Ok(())
            }
            Ask::Typing(typing) => {
                let room_id = self.room_of(typing.room_id)?;
                let Person {
                    user_id, username, ..
                } = &self.person;
                let typing = frame::typing(&room_id, user_id, username);
                // Nobody misses it: a failure is not told.
                let _ = self.app.chat.tell_typing(&room_id, &typing).await;
                Ok(())
            }
            Ask::Ping => {
                self.outbox.push(frame::pong(
                    id,
                    lost_within_ms(self.app.connections.count()),
                ));
                Ok(())
            }
        }
    }

    /// Takes a token, and leaves the rooms that it does not allow.
    async fn authenticate(&mut self, id: &FrameId, token: &str) -> Result<(), Refusal> {
        let rooms = self.rooms.len();
        self.person = self
            .standing
            .authenticate(&self.app, &self.person, token, rooms)?;
        self.tell_authed(id);
        let rooms: Vec<_> = self.rooms.iter().map(|room| room.id().clone()).collect();
        for room_id in rooms {
            match self.person.may_enter(&room_id) {
                Ok(()) => self.mark(&room_id).await,
                Err(refusal) => {
                    self.leave(&room_id);
                    self.refuse(&None, &refusal);
                }
            }
        }
        Ok(())
    }

    /// A premium person's room is premium.
    async fn mark(&self, room_id: &RoomId) {
        let App { premium, chat, .. } = &self.app;
        premium.mark(chat, &self.person, room_id).await;
    }

    fn tell_authed(&self, id: &FrameId) {
        let left = match self.person.proof {
            Proof::Token { expires, .. } => Some(expires.saturating_duration_since(Instant::now())),
            Proof::Word | Proof::Awaited => None,
        };
        self.outbox.push(frame::authed(id, &self.person, left));
    }

    /// Counts a frame of any kind; false if there are too many.
    pub(crate) fn take_frame(&mut self) -> bool {
        self.standing.take_frame(&self.app)
    }

    /// A frame has woken its connection.
    pub(crate) fn woken(&self) {
        self.app.naps.woken();
    }

    /// When its token is no longer believed.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        self.person.ends_at()
    }

    /// When [`Self::ring`] has something to do.
    pub(crate) fn rings_at(&self) -> Option<Instant> {
        self.standing.rings_at()
    }

    /// Does what is due when the token ends. If the connection is to end, says why.
    pub(crate) fn ring(&mut self) -> Result<(), &'static str> {
        match self.standing.ring() {
            None => {}
            Some(Ring::Soon { left }) => {
                let message = format!(
                    "your token expires in {:.1} s: renew it with an auth frame",
                    left.as_secs_f64()
                );
                self.refuse(&None, &Refusal::new("expired", message));
            }
            Some(Ring::Over) => {
                for room in mem::take(&mut self.rooms) {
                    self.app.hub.leave(room.id(), self.connection);
                    self.outbox.push(frame::left(&None, room.id()));
                }
            }
            Some(Ring::Close) => return Err("the token has expired"),
            Some(Ring::Silent) => return Err("no token has come"),
        }
        Ok(())
    }

    /// Subscribe, read, merge, live.
    pub(crate) async fn join(&mut self, id: &FrameId, join: Join) -> Result<(), Refusal> {
        let known = self.rooms.iter().any(|room| *room.id() == join.room_id);
        if !known {
            self.app.limits.room(self.rooms.len())?;
        }
        let room = self
            .app
            .hub
            .enter(&join.room_id, self.connection, &self.outbox);
        if !known {
            // Noted before the first await: a connection that ends while it joins must leave too.
            self.rooms.push(Arc::clone(&room));
        }
        self.mark(&join.room_id).await;
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

    /// The room that is named, or the one joined last.
    pub(crate) fn room_of(&self, named: Option<RoomId>) -> Result<RoomId, Refusal> {
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

/// A frame that may begin a trace: a socket's frames come with none.
fn asked(name: &'static str) -> Request {
    Request::new(name, None)
}

impl Drop for Session {
    fn drop(&mut self) {
        for room in &self.rooms {
            self.app.hub.leave(room.id(), self.connection);
        }
    }
}
