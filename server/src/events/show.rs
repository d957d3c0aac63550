//! Showing: what a session's outbox gets of one room, as server-sent events. Messages carry an id, so that a browser
//! names the last one by itself when it comes back. It knows no socket and no session.

use std::{fmt::Write, mem};

use common::id::{MessageId, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::rooms::{ANEW, Place};
use crate::frame::Join;

/// What a stream has shown of a room.
#[derive(Debug)]
pub(crate) struct Showing {
    room: RoomId,
    limit: Option<usize>,
    /// The last message shown; at first, the one that the reader names.
    cursor: Option<MessageId>,
    /// Only what was at hand is shown: before it something may be missing.
    partial: bool,
    /// The reader is to be told that it begins anew.
    anew: bool,
    /// Messages do not count until the next answer to a join.
    stale: bool,
}

/// What the stream is to do after a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    GoOn,
    /// Join the room again.
    Join,
}

/// What an event's id says of the other rooms of its stream.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    pub(crate) before: String,
    pub(crate) after: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    message_id: MessageId,
}

/// A part of a room's history: of a `joined` frame, or of one that continues it.
#[derive(Deserialize)]
struct History<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    #[serde(default)]
    continues: bool,
}

#[derive(Deserialize)]
struct Joined {
    complete: bool,
    #[serde(default)]
    partial: bool,
    more: bool,
    top: MessageId,
    members: u64,
}

#[derive(Deserialize)]
struct Reset {
    since: Option<MessageId>,
}

impl Showing {
    /// Nothing yet; the reader is at `place`, if it has been here.
    pub(crate) fn new(room: RoomId, place: Option<Place>, limit: Option<usize>) -> Self {
        Self {
            room,
            limit,
            cursor: match place {
                Some(Place::After(id)) => Some(id),
                Some(Place::Anew) | None => None,
            },
            partial: false,
            anew: place == Some(Place::Anew),
            stale: true,
        }
    }

    /// The room.
    pub(crate) fn room(&self) -> &RoomId {
        &self.room
    }

    /// From where the reader goes on if it comes back; none if it is to begin anew.
    pub(crate) fn resumes_from(&self) -> Option<MessageId> {
        self.cursor.filter(|_| !self.partial)
    }

    /// The join that goes on from what was shown.
    pub(crate) fn join(&self) -> Join {
        let since = self.resumes_from();
        // Whoever comes back gets as much as there may be.
        let limit = if since.is_some() { None } else { self.limit };
        Join::new(self.room.clone(), since, limit)
    }

    /// Appends the events of a frame to `out`.
    pub(crate) fn show(
        &mut self,
        kind: &str,
        payload: &str,
        elsewhere: &Elsewhere,
        out: &mut String,
    ) -> Then {
        match kind {
            "joined" => self.joined(payload, elsewhere, out),
            "history" if !self.stale => self.history(payload, elsewhere, out),
            "message" if !self.stale => self.message(payload, elsewhere, out),
            "reset" => return self.reset(payload, elsewhere, out),
            "presence" | "typing" => event(kind, None, payload, out),
            _ => {}
        }
        Then::GoOn
    }

    fn joined(&mut self, payload: &str, elsewhere: &Elsewhere, out: &mut String) {
        let (Ok(joined), Ok(history)) = (
            serde_json::from_str::<Joined>(payload),
            serde_json::from_str::<History<'_>>(payload),
        ) else {
            return;
        };
        let Joined {
            complete,
            partial,
            more,
            top,
            members,
        } = joined;
        self.stale = false;
        if self.cursor.is_some() && !complete {
            self.tell_reset("not all since your last message is at hand", elsewhere, out);
        } else if self.anew {
            self.tell_reset("not all was at hand before", elsewhere, out);
        }
        self.anew = false;
        self.partial = partial;
        // Where there are no messages to carry it, this tells where the reader is: what comes after it is
        // missed if the connection ends now.
        let nothing_to_show = history.messages.is_empty() && !history.continues;
        let id = if partial {
            Some(elsewhere.id(None))
        } else {
            (complete && nothing_to_show).then(|| elsewhere.id(Some(top)))
        };
        if complete && nothing_to_show {
            self.cursor = self.cursor.max(Some(top));
        }
        let partial = if partial { r#","partial":true"# } else { "" };
        let data = format!(
            r#"{{"roomId":"{}","complete":{complete}{partial},"more":{more},"top":{top},"members":{members}}}"#,
            self.room
        );
        event("joined", id.as_deref(), &data, out);
        self.show_all(&history, elsewhere, out);
    }

    fn history(&mut self, payload: &str, elsewhere: &Elsewhere, out: &mut String) {
        if let Ok(history) = serde_json::from_str(payload) {
            self.show_all(&history, elsewhere, out);
        }
    }

    fn show_all(&mut self, history: &History<'_>, elsewhere: &Elsewhere, out: &mut String) {
        for message in &history.messages {
            // As a live message has it: with its room.
            let fields = message.get().trim_start_matches('{');
            let data = format!(r#"{{"roomId":"{}",{fields}"#, self.room);
            self.message(&data, elsewhere, out);
        }
        if !history.continues {
            // How long the history is shows by nothing else: not all of it may be shown, and it may pause anywhere.
            event(
                "live",
                None,
                &format!(r#"{{"roomId":"{}"}}"#, self.room),
                out,
            );
        }
    }

    fn message(&mut self, payload: &str, elsewhere: &Elsewhere, out: &mut String) {
        let Ok(Placed { message_id }) = serde_json::from_str(payload) else {
            return;
        };
        if self.cursor.is_none_or(|cursor| message_id > cursor) {
            self.cursor = Some(message_id);
            // A browser keeps the last id until there is another.
            let id = (!self.partial).then(|| elsewhere.id(self.cursor));
            event("message", id.as_deref(), payload, out);
        }
    }

    /// A socket's reader joins again by itself; for this one the stream does.
    fn reset(&mut self, payload: &str, elsewhere: &Elsewhere, out: &mut String) -> Then {
        if mem::replace(&mut self.stale, true) {
            return Then::Join; // it may be younger than the join that is under way
        }
        let resumes = serde_json::from_str(payload).is_ok_and(|Reset { since }| since.is_some());
        // With a cursor there is nothing to tell, if all since then is still there.
        if !resumes || self.resumes_from().is_none() {
            self.begin_anew(payload, elsewhere, out);
        }
        Then::Join
    }

    fn tell_reset(&mut self, reason: &str, elsewhere: &Elsewhere, out: &mut String) {
        let data = format!(r#"{{"roomId":"{}","reason":"{reason}"}}"#, self.room);
        self.begin_anew(&data, elsewhere, out);
    }

    /// Whoever drops what it has, and comes back before there is anything else, begins anew as well.
    fn begin_anew(&mut self, payload: &str, elsewhere: &Elsewhere, out: &mut String) {
        self.cursor = None;
        self.partial = false;
        event("reset", Some(&elsewhere.id(None)), payload, out);
    }
}

impl Elsewhere {
    /// The id of an event after which the reader has this message of the room, or nothing to go on from.
    fn id(&self, after: Option<MessageId>) -> String {
        let Self {
            before,
            after: others,
        } = self;
        match after {
            Some(id) => format!("{before}{id}{others}"),
            None => format!("{before}{ANEW}{others}"),
        }
    }
}

/// Appends one event. The data is JSON, which has no line breaks.
pub(crate) fn event(kind: &str, id: Option<&str>, data: &str, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "event: {kind}");
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    let _ = write!(out, "data: {data}\n\n");
}
