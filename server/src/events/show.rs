//! Showing: what a session's outbox gets, as server-sent events. Messages carry their id, so that a browser
//! names the last one by itself when it comes back. It knows no socket and no session.

use std::{fmt::Write, mem};

use common::id::{MessageId, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frame::Join;

/// What a stream has shown of its room.
#[derive(Debug)]
pub(crate) struct Showing {
    room: RoomId,
    limit: Option<usize>,
    /// The last message shown; at first, the one that the reader names.
    cursor: Option<MessageId>,
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

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
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
    more: bool,
    top: MessageId,
    members: u64,
}

#[derive(Deserialize)]
struct Reset {
    since: Option<MessageId>,
}

impl Showing {
    /// Nothing yet; the reader has seen `since`.
    pub(crate) fn new(room: RoomId, since: Option<MessageId>, limit: Option<usize>) -> Self {
        Self {
            room,
            limit,
            cursor: since,
            stale: true,
        }
    }

    /// The join that goes on from what was shown.
    pub(crate) fn join(&self) -> Join {
        // Whoever comes back gets as much as there may be.
        let limit = if self.cursor.is_some() {
            None
        } else {
            self.limit
        };
        Join::new(self.room.clone(), self.cursor, limit)
    }

    /// Appends the events of a frame to `out`.
    pub(crate) fn show(&mut self, frame: &str, out: &mut String) -> Then {
        // They are our own frames: what cannot be read is none that this version knows.
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(frame) else {
            return Then::GoOn;
        };
        let payload = frame.payload.map_or("{}", RawValue::get);
        match frame.kind {
            "joined" => self.joined(payload, out),
            "history" if !self.stale => self.history(payload, out),
            "message" if !self.stale => self.message(payload, out),
            "reset" => return self.reset(payload, out),
            "presence" | "typing" | "goaway" => event(frame.kind, None, payload, out),
            _ => {}
        }
        Then::GoOn
    }

    fn joined(&mut self, payload: &str, out: &mut String) {
        let (Ok(joined), Ok(history)) = (
            serde_json::from_str::<Joined>(payload),
            serde_json::from_str::<History<'_>>(payload),
        ) else {
            return;
        };
        let Joined {
            complete,
            more,
            top,
            members,
        } = joined;
        self.stale = false;
        if self.cursor.is_some() && !complete {
            self.tell_reset("not all since your last message is at hand", out);
        }
        // Where there are no messages to carry it, this tells where the reader is: what comes after it is
        // missed if the connection ends now.
        let nothing_to_show = history.messages.is_empty() && !history.continues;
        let at = (complete && nothing_to_show).then_some(top);
        let data = format!(
            r#"{{"roomId":"{}","complete":{complete},"more":{more},"top":{top},"members":{members}}}"#,
            self.room
        );
        event("joined", at, &data, out);
        self.show_all(&history, out);
    }

    fn history(&mut self, payload: &str, out: &mut String) {
        if let Ok(history) = serde_json::from_str(payload) {
            self.show_all(&history, out);
        }
    }

    fn show_all(&mut self, history: &History<'_>, out: &mut String) {
        for message in &history.messages {
            // As a live message has it: with its room.
            let fields = message.get().trim_start_matches('{');
            let data = format!(r#"{{"roomId":"{}",{fields}"#, self.room);
            self.message(&data, out);
        }
    }

    fn message(&mut self, payload: &str, out: &mut String) {
        let Ok(Placed { message_id }) = serde_json::from_str(payload) else {
            return;
        };
        if self.cursor.is_none_or(|cursor| message_id > cursor) {
            self.cursor = Some(message_id);
            event("message", Some(message_id), payload, out);
        }
    }

    /// A socket's reader joins again by itself; for this one the stream does.
    fn reset(&mut self, payload: &str, out: &mut String) -> Then {
        if mem::replace(&mut self.stale, true) {
            return Then::Join; // it may be younger than the join that is under way
        }
        let resumes = serde_json::from_str(payload).is_ok_and(|Reset { since }| since.is_some());
        // With a cursor there is nothing to tell, if all since then is still there.
        if !resumes || self.cursor.is_none() {
            self.cursor = None;
            event("reset", None, payload, out);
        }
        Then::Join
    }

    fn tell_reset(&mut self, reason: &str, out: &mut String) {
        self.cursor = None;
        let data = format!(r#"{{"roomId":"{}","reason":"{reason}"}}"#, self.room);
        event("reset", None, &data, out);
    }
}

/// Appends one event. The data is JSON, which has no line breaks.
fn event(kind: &str, id: Option<MessageId>, data: &str, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "event: {kind}");
    if let Some(id) = id {
        let _ = writeln!(out, "id: {id}");
    }
    let _ = write!(out, "data: {data}\n\n");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn joined(complete: bool, top: i64, ids: &[i64], continues: bool) -> String {
        let messages: Vec<_> = ids.iter().map(|id| json!({"messageId": id})).collect();
        json!({"type": "joined", "payload": {
            "roomId": "r", "complete": complete, "more": true, "top": top, "members": 2,
            "messages": messages, "continues": continues,
        }})
        .to_string()
    }

    fn history(ids: &[i64]) -> String {
        let messages: Vec<_> = ids.iter().map(|id| json!({"messageId": id})).collect();
        json!({"type": "history", "payload": {"messages": messages, "continues": false}})
            .to_string()
    }

    fn message(id: i64) -> String {
        json!({"type": "message", "payload": {"roomId": "r", "messageId": id}}).to_string()
    }

    fn reset(since: Option<i64>) -> String {
        json!({"type": "reset", "payload": {"roomId": "r", "reason": "x", "since": since}})
            .to_string()
    }

    fn showing(since: Option<i64>) -> Showing {
        Showing::new("r".parse().unwrap(), since.map(MessageId), None)
    }

    /// The kinds of events that frames are shown as, with their ids.
    fn shown(showing: &mut Showing, frames: &[String]) -> Vec<String> {
        let mut out = String::new();
        for frame in frames {
            showing.show(frame, &mut out);
        }
        let events = out.split_terminator("\n\n").map(|event| {
            let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
            let kind = field("event: ").unwrap();
            field("id: ").map_or(kind.to_owned(), |id| format!("{kind} {id}"))
        });
        events.collect()
    }

    #[test]
    fn history_and_what_follows_are_shown_once_and_in_order() {
        let mut showing = showing(None);

        let frames = [
            joined(true, 4, &[1, 2], true),
            history(&[3, 4]),
            message(4),
            message(5),
        ];

        let events = shown(&mut showing, &frames);
        assert_eq!(
            events,
            [
                "joined",
                "message 1",
                "message 2",
                "message 3",
                "message 4",
                "message 5"
            ]
        );
    }

    #[test]
    fn a_message_of_the_history_looks_like_a_live_one() {
        let mut out = String::new();

        showing(None).show(&joined(true, 1, &[1], false), &mut out);

        assert!(
            out.ends_with("event: message\nid: 1\ndata: {\"roomId\":\"r\",\"messageId\":1}\n\n"),
            "{out}"
        );
    }

    #[test]
    fn who_comes_back_gets_what_is_newer_or_is_told() {
        let complete = shown(&mut showing(Some(2)), &[joined(true, 4, &[3, 4], false)]);
        let not = shown(&mut showing(Some(2)), &[joined(false, 9, &[8, 9], false)]);

        assert_eq!(complete, ["joined", "message 3", "message 4"]);
        assert_eq!(not, ["reset", "joined", "message 8", "message 9"]);
    }

    #[test]
    fn who_has_nothing_to_see_is_told_where_to_come_back_to() {
        let empty = shown(&mut showing(None), &[joined(true, 0, &[], false)]);
        let level = shown(&mut showing(Some(7)), &[joined(true, 7, &[], false)]);
        let cold = shown(&mut showing(None), &[joined(false, 0, &[], false)]);

        assert_eq!(empty, ["joined 0"]);
        assert_eq!(level, ["joined 7"]);
        assert_eq!(cold, ["joined"], "what there is is not known yet");
    }

    #[test]
    fn after_a_reset_nothing_counts_until_the_room_was_joined_again() {
        let mut showing = showing(None);
        let mut out = String::new();
        shown(&mut showing, &[joined(true, 2, &[1, 2], false)]);

        let then = showing.show(&reset(None), &mut out);
        let frames = [message(9), reset(None), joined(true, 9, &[8, 9], false)];
        let after = shown(&mut showing, &frames);

        assert_eq!(then, Then::Join);
        assert!(out.starts_with("event: reset\n"), "{out}");
        assert_eq!(after, ["joined", "message 8", "message 9"]);
    }

    #[test]
    fn a_slow_reader_goes_on_where_it_was_and_hears_of_nothing() {
        let mut showing = showing(None);
        let mut out = String::new();
        shown(&mut showing, &[joined(true, 2, &[1, 2], false)]);

        let then = showing.show(&reset(Some(2)), &mut out);

        assert_eq!((then, out.as_str()), (Then::Join, ""));
        let again = showing.join();
        assert_eq!(again.since, Some(MessageId(2)));
        let after = shown(&mut showing, &[message(4), joined(true, 4, &[3, 4], false)]);
        assert_eq!(after, ["joined", "message 3", "message 4"]);
    }
}
