//! A session: what one connection may ask, and the answers. It knows no socket.

use std::{sync::Arc, time::Duration};

use common::{
    chat::{Entry, log::Opened},
    error::Chain,
    id::RoomId,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    app::App,
    auth::Ring,
    frame::{self, Ask, FrameId, Join, Refusal},
    hub::ConnectionId,
    limits::Seat,
    outbox::Outbox,
    person::{Person, Proof},
    room::Room,
    standing::Standing,
};

/// How long a joiner of a cold room waits for its history.
const COLD_PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at a cold room, in case the word that it is warm was missed.
const COLD_LOOK: Duration = Duration::from_millis(500);

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

    /// Does what a frame asks and puts the answer into the outbox.
    pub(crate) async fn handle(mut self: Box<Self>, text: impl AsRef<str> + Send) -> Box<Self> {
        let (id, ask) = frame::read(text.as_ref());
        let allowed = ask.and_then(|ask| {
            self.standing.may(&self.app, &self.person, &ask)?;
            Ok(ask)
        });
        let done = match allowed {
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
            Ask::Auth(auth) => self.authenticate(id, &auth.token).await,
            Ask::Join(join) => self.join(id, join).await,
            Ask::Post(post) => self.post(id, post).await,
            Ask::Edit(edit) => self.edit(id, edit).await,
            Ask::Delete(delete) => self.delete(id, delete).await,
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
                self.outbox.push(frame::pong(id));
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
                for room in std::mem::take(&mut self.rooms) {
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
        loop {
            let opened = match self.open(&room, &join).await {
                Ok(opened) => fit(opened, &join, self.app.outbox_bytes / 2),
                Err(refusal) => {
                    self.leave(&join.room_id);
                    return Err(refusal);
                }
            };
            let joined = frame::joined(id, &join.room_id, &opened);
            if room.go_live(self.connection, joined, &opened) {
                return Ok(());
            }
        }
    }

    fn leave(&mut self, room_id: &RoomId) {
        self.rooms.retain(|room| room.id() != room_id);
        self.app.hub.leave(room_id, self.connection);
    }

    /// Reads a room; has a cold one rehydrated first, and waits a while for it.
    async fn open(&self, room: &Room, join: &Join) -> Result<Opened, Refusal> {
        let away = || Refusal::unavailable("the room cannot be joined now; try again");
        if !self.app.hub.subscribe(room).await {
            return Err(away());
        }
        let chat = &self.app.chat;
        let deadline = Instant::now() + COLD_PATIENCE;
        loop {
            let warm = room.hydrated.notified();
            tokio::pin!(warm);
            warm.as_mut().enable(); // what rings from here on is heard
            let opened = chat
                .log
                .open(&join.room_id, join.since, join.limit())
                .await
                .map_err(|error| {
                    tracing::warn!(error = %Chain(&error), room.id = %join.room_id, "a join failed");
                    away()
                })?;
            if opened.warm || Instant::now() >= deadline {
                return Ok(opened);
            }
            if let Err(error) = chat.ask_rehydrate(&join.room_id).await {
                tracing::warn!(error = %Chain(&error), room.id = %join.room_id, "cannot ask for a rehydration");
            }
            let _ = timeout_at(deadline.min(Instant::now() + COLD_LOOK), warm).await;
        }
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

/// Leaves the oldest messages out of a history that has more than so many bytes: one that overflows the
/// outbox would cut the joiner off, each time that it comes back.
fn fit(mut opened: Opened, join: &Join, bytes: usize) -> Opened {
    let mut total = 0;
    let fits = |entry: &&Entry| {
        total += entry.rendered_len();
        total <= bytes
    };
    let kept = opened.entries.iter().rev().take_while(fits).count();
    let left_out = opened.entries.len() - kept;
    if left_out > 0 {
        opened.entries.drain(..left_out);
        opened.more = true;
        opened.complete &= join.since.is_none();
    }
    opened
}

impl Drop for Session {
    fn drop(&mut self) {
        for room in &self.rooms {
            self.app.hub.leave(room.id(), self.connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use common::{chat::Content, id::MessageId};

    use super::*;

    fn opened(texts: &[&str]) -> Opened {
        let entries = texts.iter().zip(1..).map(|(text, id)| {
            let content = Content {
                user_id: "u".into(),
                username: "u".into(),
                client_id: "c".into(),
                message: (*text).into(),
            };
            Entry::of(MessageId(id), MessageId(id - 1), &content)
        });
        Opened {
            warm: true,
            hydrated_from: MessageId::ZERO,
            top: MessageId(3),
            members: 1,
            complete: true,
            more: false,
            entries: entries.collect(),
        }
    }

    fn join(payload: &str) -> Join {
        serde_json::from_str(payload).unwrap()
    }

    #[test]
    fn a_history_that_would_overflow_the_outbox_loses_its_oldest() {
        let long = "x".repeat(5000);
        let history = opened(&[&long, &long, "short"]);

        let newest = fit(history.clone(), &join(r#"{"roomId":"r"}"#), 6000);
        let since = fit(history.clone(), &join(r#"{"roomId":"r","since":0}"#), 6000);
        let all = fit(
            history.clone(),
            &join(r#"{"roomId":"r","since":0}"#),
            60_000,
        );

        assert_eq!(newest.entries, history.entries[1..]);
        assert!(newest.more && newest.complete);
        assert!(since.more && !since.complete, "not all since the last id");
        assert_eq!(all, history);
        let bytes = frame::joined(&None, &"r".parse().unwrap(), &newest).len();
        assert!(bytes < 6000, "{bytes}");
    }
}
