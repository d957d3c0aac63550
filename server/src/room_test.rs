//! A room step by step: holes, joiners, and what is told to whom.

use std::sync::Arc;

use common::{
    chat::{Content, Entry, log::Opened},
    id::MessageId,
};
use serde_json::Value;

use crate::{frame, hub::ConnectionId, outbox::Outbox, room::Room};

pub(crate) fn entry(id: i64, prev: i64) -> Entry {
    let content = Content {
        user_id: "u".into(),
        username: "u".into(),
        client_id: "c".into(),
        message: "m".into(),
    };
    Entry::of(MessageId(id), MessageId(prev), &content)
}

/// A warm room whose newest message is 3, and a member that has it.
fn live_room() -> (Arc<Room>, Arc<Outbox>, Opened) {
    let room = Room::new(&"lobby".parse().unwrap());
    let outbox = Arc::new(Outbox::new(usize::MAX));
    let opened = Opened {
        warm: true,
        hydrated_from: MessageId::ZERO,
        top: MessageId(3),
        members: 1,
        complete: true,
        more: false,
        entries: Vec::new(),
    };
    room.enter(ConnectionId(1), &outbox);
    assert!(room.go_live(ConnectionId(1), "joined".into(), &opened));
    assert_eq!(outbox.take(), ["joined"]);
    (room, outbox, opened)
}

/// What was sent: the ids of messages, the types of other frames.
fn sent(outbox: &Outbox) -> Vec<String> {
    let told = |frame: Value| match &frame["payload"]["messageId"] {
        Value::Null => frame["type"].as_str().unwrap().to_owned(),
        id => id.to_string(),
    };
    let frames = outbox.take();
    frames
        .iter()
        .map(|frame| told(serde_json::from_str(frame).unwrap()))
        .collect()
}

#[test]
fn a_hole_is_filled_from_the_log_before_what_shows_it() {
    let (room, outbox, _) = live_room();

    assert!(!room.hear(entry(4, 3)));
    assert!(room.hear(entry(6, 5)), "5 was missed");
    assert!(!room.hear(entry(7, 6)), "the log is being read already");
    assert_eq!(sent(&outbox), ["4"]);
    assert_eq!(room.catching_up_from(), Some(MessageId(4)));
    room.fill(&[entry(5, 4), entry(6, 5)]);

    assert_eq!(sent(&outbox), ["5", "6", "7"]);
    assert_eq!(room.catching_up_from(), None);
}

#[test]
fn a_hole_that_cannot_be_filled_is_told_once() {
    let (room, outbox, _) = live_room();

    assert!(room.hear(entry(9, 8)));
    room.fill(&[entry(7, 6), entry(8, 7), entry(9, 8)]);
    assert!(!room.hear(entry(10, 9)));

    assert_eq!(sent(&outbox), ["reset", "7", "8", "9", "10"]);
}

#[test]
fn a_subscription_that_was_lost_and_missed_nothing_is_not_noticed() {
    let (room, outbox, _) = live_room();

    assert!(room.resume());
    assert!(!room.resume(), "the log is being read already");
    room.fill(&[]);
    assert_eq!(room.catching_up_from(), Some(MessageId(3)), "once more");
    room.fill(&[]);

    assert_eq!(room.catching_up_from(), None);
    assert!(sent(&outbox).is_empty());
}

#[test]
fn a_message_that_is_heard_twice_is_delivered_once() {
    let (room, outbox, _) = live_room();

    for id in [4, 4, 5, 4, 5] {
        assert!(!room.hear(entry(id, id - 1)));
    }

    assert_eq!(sent(&outbox), ["4", "5"]);
}

#[test]
fn who_read_the_log_before_the_others_gets_what_they_have() {
    let (room, outbox, opened) = live_room();
    let late = Arc::new(Outbox::new(usize::MAX));
    room.enter(ConnectionId(2), &late);

    // It read the log before 3 was said, and goes live before 3 is heard.
    let behind = Opened {
        top: MessageId(2),
        ..opened
    };
    let history = frame::joined(&None, room.id(), &behind);
    assert!(room.go_live(ConnectionId(2), history, &behind));
    assert!(!room.hear(entry(3, 2)));
    assert!(!room.hear(entry(4, 3)));

    assert_eq!(sent(&late), ["joined", "3", "4"]);
    assert_eq!(sent(&outbox), ["4"]);
}

#[test]
fn a_joiner_is_told_how_many_are_there_after_its_history() {
    let (room, _, opened) = live_room();
    let outbox = Arc::new(Outbox::new(usize::MAX));
    room.enter(ConnectionId(2), &outbox);

    room.tell_presence(&frame::presence(room.id(), 2));
    room.tell_typing(&frame::typing(room.id(), "u", "u"));
    let history = frame::joined(&None, room.id(), &opened);
    assert!(room.go_live(ConnectionId(2), history, &opened));

    assert_eq!(sent(&outbox), ["joined", "presence"]);
}

#[test]
fn the_word_that_a_room_is_complete_is_not_missed_by_a_joiner() {
    let room = Room::new(&"lobby".parse().unwrap());
    let outbox = Arc::new(Outbox::new(usize::MAX));
    let (_, _, warm) = live_room();
    let cold = Opened {
        warm: false,
        complete: false,
        ..warm.clone()
    };
    room.enter(ConnectionId(1), &outbox);

    // It comes after the joiner has read the log.
    room.was_hydrated();

    assert!(!room.go_live(ConnectionId(1), "joined".into(), &cold));
    assert!(room.go_live(ConnectionId(1), "joined".into(), &warm));
    assert_eq!(outbox.take(), ["joined"]);
}
