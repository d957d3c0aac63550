//! A session's answers to frames.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::ask::AckLevel;

/// A session with a connection, and what it sends.
struct Stage {
    session: Session,
    now: Instant,
}

impl Stage {
    fn open() -> Self {
        let mut session = Session::new();
        session.opened();
        let now = Instant::now();
        Self { session, now }
    }

    fn sends(&mut self) -> Vec<Value> {
        let frames = self.session.to_send(self.now);
        let read = |frame: &String| serde_json::from_str(frame).unwrap();
        frames.iter().map(read).collect()
    }

    fn hears(&mut self, frame: &Value) -> Option<Event> {
        let frame = Frame::read(&frame.to_string()).unwrap();
        self.session.heard(frame, self.now)
    }

    /// In `r`, which ends with message 5.
    fn joined() -> Self {
        let mut stage = Self::open();
        stage.session.join("r");
        let id = stage.sends()[0]["id"].clone();
        stage.hears(&joined(&id, true, &[5]));
        stage
    }

    fn says(&mut self, own: &str) -> Vec<Value> {
        let (text, ack) = ("hi".to_owned(), AckLevel::Redis);
        self.session.post("r", own, Deed::Say { text, ack });
        self.sends()
    }
}

fn message(id: i64, prev: i64) -> Value {
    json!({"messageId": id, "prev": prev, "userId": "u", "clientId": "c", "message": "hi"})
}

fn live(id: i64, prev: i64) -> Value {
    let mut payload = message(id, prev);
    payload["roomId"] = json!("r");
    json!({"type": "message", "payload": payload})
}

fn joined(id: &Value, complete: bool, ids: &[i64]) -> Value {
    let messages: Vec<_> = ids.iter().map(|id| message(*id, id - 1)).collect();
    let top = ids.last().unwrap_or(&0);
    let payload = json!({"roomId": "r", "complete": complete, "more": false, "top": top,
        "members": 1, "messages": messages});
    json!({"type": "joined", "id": id, "payload": payload})
}

fn ids(event: Option<Event>) -> Vec<i64> {
    let messages = match event {
        Some(Event::Message { message, .. }) => vec![message],
        Some(Event::Joined { messages, .. } | Event::History { messages, .. }) => messages,
        _ => Vec::new(),
    };
    messages
        .iter()
        .map(|message| message.message_id.0)
        .collect()
}

#[test]
fn a_message_is_told_once() {
    let mut stage = Stage::joined();

    assert_eq!(ids(stage.hears(&live(6, 5))), [6]);
    assert_eq!(stage.hears(&live(6, 5)), None);
    assert_eq!(stage.hears(&live(4, 3)), None);
}

#[test]
fn a_hole_is_read_from_where_it_begins() {
    let mut stage = Stage::joined();

    let event = stage.hears(&live(8, 7));
    let asks = stage.sends();
    // What comes meanwhile is in the answer.
    assert_eq!(stage.hears(&live(9, 8)), None);
    let filled = stage.hears(&joined(&asks[0]["id"], true, &[6, 7, 8, 9]));

    assert!(matches!(event, Some(Event::Rejoining { .. })));
    assert_eq!(asks[0]["payload"]["since"], 5);
    assert!(matches!(&filled, Some(Event::Joined { resumed: true, .. })));
    assert_eq!(ids(filled), [6, 7, 8, 9]);
    assert_eq!(ids(stage.hears(&live(10, 9))), [10]);
}

#[test]
fn what_was_only_at_hand_is_not_gone_on_from() {
    let mut stage = Stage::open();
    stage.session.join("r");
    let ask = stage.sends().remove(0);
    let mut pieces = joined(&ask["id"], false, &[8]);
    pieces["payload"]["partial"] = json!(true);
    stage.hears(&pieces);
    assert_eq!(ids(stage.hears(&live(9, 8))), [9]);
    assert_eq!(stage.session.cursor("r"), None);

    stage.session.opened();
    let ask = stage.sends().remove(0);
    let event = stage.hears(&joined(&ask["id"], true, &[7, 8, 9]));

    assert_eq!(ask["payload"].get("since"), None, "{ask}");
    assert!(matches!(&event, Some(Event::Joined { resumed: false, .. })));
    assert_eq!(ids(event), [7, 8, 9]);
    stage.session.opened();
    assert_eq!(stage.sends()[0]["payload"]["since"], 9);
}

#[test]
fn one_of_a_crowd_comes_back_when_its_turn_is() {
    let mut stage = Stage::open();
    stage.session.join("r");
    let ask = stage.sends().remove(0);
    let mut answer = joined(&ask["id"], true, &[1]);
    answer["payload"]["reconnectInMs"] = json!([0, 5000]);

    stage.hears(&answer);
    stage.session.closed();

    let range = [Duration::ZERO, Duration::from_secs(5)];
    assert_eq!(stage.session.return_within(), Some(range));
    stage.session.opened();
    assert_eq!(
        stage.session.return_within(),
        None,
        "the next server says anew"
    );
}

#[test]
fn a_reset_reloads_unless_it_says_from_where_to_go_on() {
    let reset = |since: Value| json!({"type": "reset", "payload": {"roomId": "r", "since": since}});

    let mut stage = Stage::joined();
    stage.hears(&reset(Value::Null));
    let asks = stage.sends();
    let anew = stage.hears(&joined(&asks[0]["id"], true, &[3, 4, 5]));
    assert_eq!(asks[0]["payload"]["since"], Value::Null);
    assert!(matches!(&anew, Some(Event::Joined { resumed: false, .. })));
    assert_eq!(ids(anew), [3, 4, 5]);

    let mut stage = Stage::joined();
    stage.hears(&reset(json!(5)));
    assert_eq!(stage.sends()[0]["payload"]["since"], 5);
}

#[test]
fn an_incomplete_answer_takes_the_place_of_what_was_seen() {
    let mut stage = Stage::joined();
    stage.session.opened();
    let asks = stage.sends();

    let event = stage.hears(&joined(&asks[0]["id"], false, &[20, 21]));

    assert!(matches!(&event, Some(Event::Joined { resumed: false, .. })));
    assert_eq!(ids(event), [20, 21]);
    assert_eq!(ids(stage.hears(&live(22, 21))), [22]);
}

#[test]
fn a_long_history_comes_in_parts() {
    let mut stage = Stage::joined();
    stage.session.opened();
    let id = stage.sends()[0]["id"].clone();
    let mut first = joined(&id, true, &[6, 7]);
    first["payload"]["continues"] = json!(true);
    first["payload"]["top"] = json!(9);

    assert_eq!(ids(stage.hears(&first)), [6, 7]);
    let rest = json!({"type": "history", "payload": {"roomId": "r", "continues": false,
        "messages": [message(8, 7), message(9, 8)]}});
    assert_eq!(ids(stage.hears(&rest)), [8, 9]);
    assert_eq!(ids(stage.hears(&live(10, 9))), [10]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_under_its_own_id() {
    let mut stage = Stage::joined();
    assert_eq!(stage.says("mine")[0]["payload"]["clientId"], "mine");

    stage.session.closed();
    assert_eq!(stage.sends(), [Value::Null; 0]);
    stage.session.opened();
    let asks = stage.sends();
    assert_eq!(asks.len(), 1, "first the room: {asks:?}");
    stage.hears(&joined(&asks[0]["id"], true, &[]));
    let again = stage.sends();
    assert_eq!(again[0]["payload"]["clientId"], "mine");

    let ack = json!({"type": "ack", "id": again[0]["id"],
        "payload": {"roomId": "r", "clientId": "mine", "messageId": 6, "duplicate": true}});
    assert!(matches!(stage.hears(&ack), Some(Event::Acked(ack)) if ack.duplicate));
    assert_eq!(stage.session.unacked().count(), 0);
    assert_eq!(stage.hears(&ack), None);
}

#[test]
fn what_cannot_be_done_now_is_asked_again_later() {
    for code in ["unavailable", "archive_unavailable", "not_archived"] {
        let mut stage = Stage::joined();
        let id = stage.says("mine")[0]["id"].clone();
        let away =
            json!({"type": "error", "id": id, "payload": {"code": code, "retryAfterMs": 500}});

        assert_eq!(stage.hears(&away), None);
        assert_eq!(stage.sends(), [Value::Null; 0]);
        let due = stage.session.due().unwrap();
        assert_eq!(due, stage.now + Duration::from_millis(500));
        stage.now = due;
        assert_eq!(stage.sends()[0]["payload"]["clientId"], "mine");
    }
}

#[test]
fn what_is_refused_for_good_is_told_once() {
    let mut stage = Stage::joined();
    let id = stage.says("mine")[0]["id"].clone();
    let bad = json!({"type": "error", "id": id, "payload": {"code": "bad_message"}});

    assert!(
        matches!(stage.hears(&bad), Some(Event::Refused { client_id, .. }) if client_id == "mine")
    );
    assert_eq!(stage.session.unacked().count(), 0);
}

#[test]
fn a_room_that_was_left_is_not_joined_again() {
    let mut stage = Stage::joined();

    stage.session.leave("r");
    assert_eq!(stage.sends()[0]["type"], "leave");
    assert_eq!(stage.hears(&live(6, 5)), None);
    stage.session.opened();
    assert_eq!(stage.sends(), [Value::Null; 0]);
}

#[test]
fn edits_and_deletions_are_sent_as_the_protocol_says() {
    let mut stage = Stage::joined();
    let (target, text) = (MessageId(4), "new".to_owned());
    stage.session.post("r", "e", Deed::Edit { target, text });
    stage.session.post("r", "d", Deed::Delete { target });

    let asks = stage.sends();
    assert_eq!(asks[0]["type"], "edit");
    assert_eq!(
        asks[0]["payload"],
        json!({"roomId": "r", "clientId": "e", "messageId": 4, "message": "new"})
    );
    assert_eq!(
        asks[1]["payload"],
        json!({"roomId": "r", "clientId": "d", "messageId": 4})
    );
}
