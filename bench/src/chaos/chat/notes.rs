//! The notes: what happened, in the one order of time of this process, in which all guests live.

use std::sync::{Mutex, PoisonError};

use client::{Frame, Message, MessageId, frame::Body};
use serde_json::Value;

use super::{
    event::{Deed, Event, Shown},
    guest::room_of,
};
use crate::{
    chaos::ledger::{Line, Who},
    machine::now_ns,
};

/// All lines so far.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Vec<Line<Event>>>);

impl Notes {
    /// Notes what happens, now.
    pub(super) fn note(&self, who: Who, event: Event) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let t = now_ns();
        lines.push(Line { t, who, event });
    }

    /// How many lines there are.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends the notes.
    pub(super) fn take(&self) -> Vec<Line<Event>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a frame to the server asks, as far as it matters.
pub(super) fn read_asked(text: &str) -> Option<Event> {
    let frame: Value = serde_json::from_str(text).ok()?;
    let payload = &frame["payload"];
    let room = room_of(payload["roomId"].as_str()?)?;
    match frame["type"].as_str()? {
        "join" => Some(Event::Joins {
            room,
            id: frame["id"].as_u64()?,
            since: payload["since"].as_i64().map(MessageId),
        }),
        "leave" => Some(Event::Leaves { room }),
        kind @ ("message" | "edit" | "delete") => Some(Event::Posts {
            room,
            key: payload["clientId"].as_str()?.parse().ok()?,
            id: frame["id"].as_u64()?,
            deed: match (kind, payload["messageId"].as_i64().map(MessageId)) {
                ("edit", Some(target)) => Deed::Edit(target),
                ("delete", Some(target)) => Deed::Delete(target),
                _ => Deed::Say,
            },
        }),
        _ => None,
    }
}

/// What a frame of the server says, as far as it matters.
pub(super) fn read_heard(frame: &Frame) -> Option<Event> {
    let shown = |messages: &[Message]| messages.iter().map(Shown::from).collect();
    let event = match &frame.body {
        Body::Joined(joined) => Event::Joined {
            room: room_of(&joined.room_id)?,
            id: frame.id?,
            complete: joined.complete,
            continues: joined.continues,
            top: joined.top,
            messages: shown(&joined.messages),
        },
        Body::History(history) => Event::History {
            room: room_of(&history.room_id)?,
            messages: shown(&history.messages),
            continues: history.continues,
        },
        Body::Message(live) => Event::Heard {
            room: room_of(&live.room_id)?,
            message: Shown::from(&live.message),
        },
        Body::Ack(ack) => Event::Acked {
            room: room_of(&ack.room_id)?,
            key: ack.client_id.parse().ok()?,
            id: ack.message_id,
            duplicate: ack.duplicate,
            archived: ack.archived,
        },
        Body::Error(refusal) => Event::Refused {
            id: frame.id,
            code: refusal.code.clone(),
        },
        Body::Reset(reset) => Event::Reset {
            room: room_of(&reset.room_id)?,
            reason: reset.reason.clone(),
            since: reset.since,
        },
        Body::GoAway(_) => Event::GoAway,
        _ => return None,
    };
    Some(event)
}
