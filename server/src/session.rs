//! A session: what one connection may ask, and the answers. It knows no socket.

use std::{sync::Arc, time::Duration};

use common::{
    chat::{Entry, log::Opened},
    error::Chain,
    id::RoomId,
};
use rand::distr::{Alphanumeric, SampleString};
use tokio::time::{Instant, timeout_at};

use crate::{
    app::App,
    frame::{self, Ask, FrameId, Join, Refusal},
    hub::ConnectionId,
    outbox::Outbox,
    room::Room,
};

/// Rooms a connection at most.
const MAX_ROOMS: usize = 50;
/// How long a joiner of a cold room waits for its history.
const COLD_PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at a cold room, in case the word that it is warm was missed.
const COLD_LOOK: Duration = Duration::from_millis(500);
/// Texts that name people have so many characters at most.
const MAX_NAME: usize = 64;

/// Who is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) user_id: Box<str>,
    pub(crate) username: Box<str>,
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
    pub(crate) app: App,
    pub(crate) person: Person,
    connection: ConnectionId,
    pub(crate) outbox: Arc<Outbox>,
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
    pub(crate) async fn join(&mut self, id: &FrameId, join: Join) -> Result<(), Refusal> {
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
