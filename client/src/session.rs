//! What a client remembers and decides. It knows no socket and no clock: it is told what was heard and
//! what time it is, and says what to send and what happened.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use crate::{
    ask::{self, Deed},
    event::Event,
    frame::{Body, Frame, Joined, MessageId, Refusal},
    room::{Phase, Room, Verdict},
    unacked::Unacked,
};

/// When the server does not say when to try again.
const RETRY: Duration = Duration::from_secs(1);
/// Messages of history that a join asks for, unless told otherwise.
const LIMIT: u32 = 100;

#[derive(Debug)]
enum Asked {
    Join(String),
    Post(String, String),
    Other,
}

/// One client's memory, over all its connections.
///
/// ```
/// use std::time::Instant;
/// use client::{Event, Frame, Session};
///
/// let (mut session, now) = (Session::new(), Instant::now());
/// session.join("r");
/// session.opened();
/// assert!(session.to_send(now)[0].contains(r#""type":"join""#));
///
/// let joined = r#"{"type":"joined","id":1,"payload":{"roomId":"r","complete":true,"top":5,"members":1,"messages":[]}}"#;
/// let event = session.heard(Frame::read(joined).unwrap(), now);
/// assert!(matches!(event, Some(Event::Joined { resumed: false, .. })));
///
/// // 6 is missing: the room is read again, from 5 on.
/// let message = r#"{"type":"message","payload":{"roomId":"r","messageId":7,"prev":6,"message":"hi"}}"#;
/// let event = session.heard(Frame::read(message).unwrap(), now);
/// assert!(matches!(event, Some(Event::Rejoining { .. })));
/// assert!(session.to_send(now)[0].contains(r#""since":5"#));
/// ```
#[derive(Debug, Default)]
pub struct Session {
    rooms: BTreeMap<String, Room>,
    unacked: Unacked,
    /// What the open connection was asked and has not answered.
    asked: HashMap<u64, Asked>,
    next_id: u64,
    is_open: bool,
    /// When to come back if the open connection, or the last one, is lost.
    return_within: Option<[Duration; 2]>,
    outgoing: Vec<String>,
}

impl Session {
    /// One that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    // --- What its owner wants -------------------------------------------------------------------

    /// Wants to be in a room.
    pub fn join(&mut self, room: &str) {
        self.join_since(room, None, LIMIT);
    }

    /// Wants to be in a room, from a message on, with so many messages at most.
    pub fn join_since(&mut self, room: &str, since: Option<MessageId>, limit: u32) {
        self.rooms.insert(room.to_owned(), Room::new(limit, since));
    }

    /// Wants to be in a room no more.
    pub fn leave(&mut self, room: &str) {
        let left = self.rooms.remove(room);
        if left.is_some_and(|room| !matches!(room.phase, Phase::Wanted(_))) {
            let id = self.ask(Asked::Other);
            self.outgoing.push(ask::of_room("leave", id, room));
        }
    }

    /// Posts into a room. It is sent, and sent again, until [`Event::Acked`] or [`Event::Refused`] says its
    /// `client_id`; while the room is not joined, it waits.
    pub fn post(&mut self, room: &str, client_id: &str, deed: Deed) {
        self.unacked.push(room, client_id, deed);
    }

    /// Tells a room that its owner types; where that is not heard, nobody misses it.
    pub fn typing(&mut self, room: &str) {
        if self.is_live(room) {
            let id = self.ask(Asked::Other);
            self.outgoing.push(ask::of_room("typing", id, room));
        }
    }

    /// Shows the server a fresh token.
    pub fn authenticate(&mut self, token: &str) {
        if self.is_open {
            let id = self.ask(Asked::Other);
            self.outgoing.push(ask::auth(id, token));
        }
    }

    // --- What happens ---------------------------------------------------------------------------

    /// There is a new connection: all rooms are joined from where they were, all that is not acknowledged is
    /// sent again.
    pub fn opened(&mut self) {
        self.return_within = None;
        self.closed();
        self.is_open = true;
    }

    /// There is no connection.
    pub fn closed(&mut self) {
        self.is_open = false;
        self.asked.clear();
        self.outgoing.clear();
        self.unacked.unsend();
        for room in self.rooms.values_mut() {
            room.phase = Phase::Wanted(None);
        }
    }

    /// After how long to come back if the connection is lost, at least and at most: said by a server with many clients,
    /// so that not all do at once.
    pub fn return_within(&self) -> Option<[Duration; 2]> {
        self.return_within
    }

    /// A frame came. Says what that means, if it means anything.
    pub fn heard(&mut self, frame: Frame, now: Instant) -> Option<Event> {
        let asked = frame.id.and_then(|id| self.asked.remove(&id));
        match frame.body {
            Body::Joined(joined) => self.joined(frame.id, joined),
            Body::History(mut history) => {
                let room = self.rooms.get_mut(&history.room_id)?;
                room.read(&mut history.messages);
                Some(Event::History {
                    room: history.room_id,
                    messages: history.messages,
                    continues: history.continues,
                })
            }
            Body::Message(live) => {
                let room = self.rooms.get_mut(&live.room_id)?;
                match room.look_at(&live.message) {
                    Verdict::New => Some(Event::Message {
                        room: live.room_id,
                        message: live.message,
                    }),
                    Verdict::Known => None,
                    Verdict::Hole => Some(Event::Rejoining { room: live.room_id }),
                }
            }
            Body::Ack(ack) => {
                self.unacked.remove(&ack.room_id, &ack.client_id)?;
                Some(Event::Acked(ack))
            }
            Body::Reset(reset) => {
                let room = self.rooms.get_mut(&reset.room_id)?;
                // One that is being asked for again anyway is told enough.
                if room.phase == Phase::Live {
                    room.reset(reset.since);
                }
                Some(Event::Rejoining {
                    room: reset.room_id,
                })
            }
            Body::Error(refusal) => self.refused(asked, refusal, now),
            Body::Presence(presence) => Some(Event::Presence {
                room: presence.room_id,
                members: presence.members,
            }),
            Body::Typing(typing) => Some(Event::Typing {
                room: typing.room_id,
                username: typing.username,
            }),
            Body::Left(left) => Some(Event::Left { room: left.room_id }),
            Body::GoAway(away) => {
                let [from, to] = away.reconnect_in_ms.map(Duration::from_millis);
                Some(Event::GoAway(from, to.max(from)))
            }
            Body::Authed(_) | Body::Pong | Body::Unknown(_) => None,
        }
    }

    fn joined(&mut self, id: Option<u64>, mut joined: Joined) -> Option<Event> {
        if let Some(range) = joined.reconnect_in_ms {
            self.return_within = Some(range.map(Duration::from_millis));
        }
        let room = self.rooms.get_mut(&joined.room_id)?;
        let resumed = room.joined(id, &mut joined)?;
        Some(Event::Joined {
            room: joined.room_id,
            resumed,
            complete: joined.complete,
            more: joined.more,
            members: joined.members,
            messages: joined.messages,
            continues: joined.continues,
        })
    }

    fn refused(&mut self, asked: Option<Asked>, refusal: Refusal, now: Instant) -> Option<Event> {
        let wait = refusal.retry_after_ms.map_or(RETRY, Duration::from_millis);
        let again = matches!(&*refusal.code, "unavailable" | "rate_limited");
        // These are about one message; the rest of the chat goes on.
        let post_again = again || matches!(&*refusal.code, "archive_unavailable" | "not_archived");
        match asked {
            Some(Asked::Join(room)) if again => {
                self.rooms.get_mut(&room)?.phase = Phase::Wanted(Some(now + wait));
                None
            }
            Some(Asked::Join(room)) => {
                self.rooms.remove(&room);
                let room = Some(room);
                Some(Event::Denied { room, refusal })
            }
            Some(Asked::Post(room, client_id)) if post_again => {
                self.unacked.delay(&room, &client_id, Some(now + wait));
                None
            }
            Some(Asked::Post(room, client_id)) if refusal.code == "not_joined" => {
                self.unacked.delay(&room, &client_id, None);
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.phase = Phase::Wanted(None);
                }
                None
            }
            Some(Asked::Post(room, client_id)) => {
                self.unacked.remove(&room, &client_id)?;
                Some(Event::Refused {
                    room,
                    client_id,
                    refusal,
                })
            }
            Some(Asked::Other) | None => Some(Event::Denied {
                room: None,
                refusal,
            }),
        }
    }

    // --- What follows from it -------------------------------------------------------------------

    /// The frames that are to be sent now.
    pub fn to_send(&mut self, now: Instant) -> Vec<String> {
        if !self.is_open {
            return Vec::new();
        }
        let is_due = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        let mut frames = std::mem::take(&mut self.outgoing);
        for (name, room) in &mut self.rooms {
            if let Phase::Wanted(at) = room.phase
                && is_due(at)
            {
                self.next_id += 1;
                self.asked.insert(self.next_id, Asked::Join(name.clone()));
                let since = room.resumes_from();
                frames.push(ask::join(self.next_id, name, since, room.limit));
                room.phase = Phase::Joining {
                    id: self.next_id,
                    since,
                };
            }
        }
        for pending in self.unacked.unsent() {
            let room = self.rooms.get(&pending.room);
            if room.is_some_and(|room| room.phase == Phase::Live) && is_due(pending.not_before) {
                self.next_id += 1;
                let asked = Asked::Post(pending.room.clone(), pending.client_id.clone());
                self.asked.insert(self.next_id, asked);
                let Self { next_id, .. } = *self;
                let (room, own, deed) = (&pending.room, &pending.client_id, &pending.deed);
                frames.push(ask::post(next_id, room, own, deed));
                pending.is_sent = true;
            }
        }
        frames
    }

    /// When to ask [`Self::to_send`] again, if nothing happens before.
    pub fn due(&self) -> Option<Instant> {
        let rooms = self.rooms.values().filter_map(|room| match room.phase {
            Phase::Wanted(at) => at,
            _ => None,
        });
        let unsent = self.unacked.iter().filter(|pending| !pending.is_sent);
        rooms
            .chain(unsent.filter_map(|pending| pending.not_before))
            .min()
    }

    /// Whether a room is joined now.
    pub fn is_live(&self, room: &str) -> bool {
        let room = self.rooms.get(room);
        room.is_some_and(|room| room.phase == Phase::Live)
    }

    /// Up to where a room was seen; none if something before it may be missing.
    pub fn cursor(&self, room: &str) -> Option<MessageId> {
        self.rooms.get(room)?.resumes_from()
    }

    /// The rooms that it is or wants to be in.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.rooms.keys().map(String::as_str)
    }

    /// The own ids of what is not acknowledged yet.
    pub fn unacked(&self) -> impl Iterator<Item = &str> {
        self.unacked.iter().map(|pending| &*pending.client_id)
    }

    fn ask(&mut self, what: Asked) -> u64 {
        self.next_id += 1;
        if self.is_open {
            self.asked.insert(self.next_id, what);
        }
        self.next_id
    }
}

#[cfg(test)]
#[path = "session_test.rs"]
mod tests;
