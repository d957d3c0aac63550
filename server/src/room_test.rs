//! A room step by step: holes, joiners, and what is told to whom.

use std::sync::{Arc, Barrier};

use common::{
    chat::{Content, Entry, log::Opened},
    id::MessageId,
};
use serde_json::Value;

use crate::{
    frame,
    history::Part,
    hub::ConnectionId,
    outbox::Outbox,
    room::{History, Read, Room},
};

pub(crate) fn entry(id: i64, prev: i64) -> Entry {
    let content = Content {
        user_id: "u".into(),
        username: "u".into(),
        client_id: "c".into(),
        message: "m".into(),
    };
    Entry::of(MessageId(id), MessageId(prev), &content)
}

/// What somebody finds who opens a room whose newest message is `top`.
pub(crate) fn opened(top: i64, warm: bool, whole: bool) -> Opened {
    Opened {
        warm,
        hydrated_from: MessageId::ZERO,
        top: MessageId(top),
        members: 1,
        complete: whole,
        more: false,
        after: MessageId::ZERO,
        behind: false,
        newer: 0,
        unflushed: 0,
        first_unflushed: MessageId::ZERO,
        whole,
        entries: Vec::new(),
    }
}

/// These messages as a part of a history.
pub(crate) fn part(entries: &[Entry]) -> Part {
    Part::split(entries).next().unwrap_or_default()
}

/// A history that ends with a message.
fn history(room: &Room, seen: i64, whole: bool) -> History {
    let opened = opened(seen, whole, whole);
    History {
        last_frame: frame::joined(&None, room.id(), &opened, &Part::default(), false, None),
        seen: MessageId(seen),
        whole,
    }
}

/// A warm room whose newest message is 3, and a member that has it.
fn live_room() -> (Arc<Room>, Arc<Outbox>) {
    let room = Room::new(&"lobby".parse().unwrap());
    let outbox = Arc::new(Outbox::new(usize::MAX));
    room.enter(ConnectionId(1), &outbox);
    assert!(room.go_live(ConnectionId(1), history(&room, 3, true)));
    assert_eq!(sent(&outbox), ["joined"]);
    (room, outbox)
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
    let (room, outbox) = live_room();

    assert!(!room.hear(vec![entry(4, 3)]));
    assert!(room.hear(vec![entry(6, 5)]), "5 was missed");
    assert!(
        !room.hear(vec![entry(7, 6)]),
        "the log is being read already"
    );
    assert_eq!(sent(&outbox), ["4"]);
    assert_eq!(room.catching_up_from(), Some(MessageId(4)));
    room.fill(&[entry(5, 4), entry(6, 5)], Read::All);

    assert_eq!(sent(&outbox), ["5", "6", "7"]);
    assert_eq!(room.catching_up_from(), None);
}

#[test]
fn messages_that_are_heard_together_are_taken_one_by_one_where_they_must_be() {
    let (room, outbox) = live_room();

    assert!(!room.hear(vec![entry(2, 1), entry(3, 2), entry(4, 3)]));
    assert_eq!(sent(&outbox), ["4"], "it has the others");
    assert!(room.hear(vec![entry(5, 4), entry(7, 6), entry(8, 7)]));
    assert_eq!(sent(&outbox), ["5"], "6 was missed");
    room.fill(&[entry(6, 5), entry(7, 6)], Read::All);

    assert_eq!(sent(&outbox), ["6", "7", "8"]);
}

#[test]
fn messages_that_are_heard_together_are_dropped_together_by_a_slow_reader() {
    let room = Room::new(&"lobby".parse().unwrap());
    let outbox = Arc::new(Outbox::for_messages(1000));
    room.enter(ConnectionId(1), &outbox);
    assert!(room.go_live(ConnectionId(1), history(&room, 3, true)));
    assert_eq!(sent(&outbox), ["joined"]);

    let run = |from: i64| (from..from + 4).map(|id| entry(id, id - 1)).collect();
    assert!(!room.hear(run(4)));
    assert!(!room.hear(run(8)), "there is no room for so many");

    let resume: Vec<_> = outbox
        .take()
        .iter()
        .map(|frame| frame.to_string())
        .collect();
    assert!(
        matches!(&*resume, [only] if only.contains(r#""since":3"#)),
        "{resume:?}"
    );
}

#[test]
fn a_hole_that_cannot_be_filled_is_told_once() {
    let (room, outbox) = live_room();

    assert!(room.hear(vec![entry(9, 8)]));
    room.fill(&[entry(7, 6), entry(8, 7), entry(9, 8)], Read::All);
    assert!(!room.hear(vec![entry(10, 9)]));

    assert_eq!(sent(&outbox), ["reset", "7", "8", "9", "10"]);
}

#[test]
fn a_subscription_that_was_lost_and_missed_nothing_is_not_noticed() {
    let (room, outbox) = live_room();

    assert!(room.resume());
    assert!(!room.resume(), "the log is being read already");
    room.fill(&[], Read::All);
    assert_eq!(room.catching_up_from(), Some(MessageId(3)), "once more");
    room.fill(&[], Read::All);

    assert_eq!(room.catching_up_from(), None);
    assert!(sent(&outbox).is_empty());
}

#[test]
fn a_message_that_is_heard_twice_is_delivered_once() {
    let (room, outbox) = live_room();

    for id in [4, 4, 5, 4, 5] {
        assert!(!room.hear(vec![entry(id, id - 1)]));
    }

    assert_eq!(sent(&outbox), ["4", "5"]);
}

#[test]
fn a_long_hole_is_filled_part_by_part_and_what_comes_meanwhile_is_read_too() {
    let (room, outbox) = live_room();

    assert!(room.hear(vec![entry(9, 8)]));
    room.fill(&[entry(4, 3), entry(5, 4)], Read::Part);
    assert_eq!(room.catching_up_from(), Some(MessageId(5)));
    for id in 10..13 {
        assert!(
            !room.hear(vec![entry(id, id - 1)]),
            "too many to be kept back"
        );
    }
    let rest: Vec<_> = (6..13).map(|id| entry(id, id - 1)).collect();
    room.fill(&rest[..6], Read::All);
    assert_eq!(room.catching_up_from(), Some(MessageId(11)), "once more");
    room.fill(&rest[6..], Read::All);

    assert_eq!(room.catching_up_from(), None);
    assert_eq!(
        sent(&outbox),
        ["4", "5", "6", "7", "8", "9", "10", "11", "12"]
    );
}

#[test]
fn who_read_the_log_before_the_others_gets_what_they_have() {
    let (room, outbox) = live_room();
    let late = Arc::new(Outbox::new(usize::MAX));
    room.enter(ConnectionId(2), &late);

    // It read the log before 3 was said, and goes live before 3 is heard.
    assert!(room.go_live(ConnectionId(2), history(&room, 2, true)));
    assert!(!room.hear(vec![entry(3, 2)]));
    assert!(!room.hear(vec![entry(4, 3)]));

    assert_eq!(sent(&late), ["joined", "3", "4"]);
    assert_eq!(sent(&outbox), ["4"]);
}

#[test]
fn a_joiner_that_is_far_behind_reads_on_instead_of_being_waited_for() {
    let (room, _) = live_room();
    let slow = Arc::new(Outbox::new(usize::MAX));
    room.enter(ConnectionId(2), &slow);

    for id in 4..9 {
        assert!(!room.hear(vec![entry(id, id - 1)]));
    }
    assert!(!room.go_live(ConnectionId(2), history(&room, 3, true)));
    assert!(!room.hear(vec![entry(9, 8)]));
    assert!(room.go_live(ConnectionId(2), history(&room, 8, true)));

    assert_eq!(sent(&slow), ["joined", "9"]);
}

#[test]
fn a_joiner_is_told_how_many_are_there_after_its_history() {
    let (room, _) = live_room();
    let outbox = Arc::new(Outbox::new(usize::MAX));
    room.enter(ConnectionId(2), &outbox);

    room.tell_presence(&frame::presence(room.id(), 2));
    room.tell_typing(&frame::typing(room.id(), "u", "u"));
    assert!(room.go_live(ConnectionId(2), history(&room, 3, true)));

    assert_eq!(sent(&outbox), ["joined", "presence"]);
}

#[test]
fn the_word_that_a_room_is_complete_is_not_missed_by_a_joiner() {
    let room = Room::new(&"lobby".parse().unwrap());
    let outbox = Arc::new(Outbox::new(usize::MAX));
    room.enter(ConnectionId(1), &outbox);

    // It comes after the joiner has read the log.
    room.was_hydrated();

    assert!(!room.go_live(ConnectionId(1), history(&room, 0, false)));
    assert!(room.go_live(ConnectionId(1), history(&room, 3, true)));
    assert_eq!(sent(&outbox), ["joined"]);
}

#[test]
fn who_joins_again_while_messages_come_is_not_told_to_resume() {
    let room = Room::new(&"lobby".parse().unwrap());
    let outbox = Arc::new(Outbox::for_messages(0));
    for id in (4..8000).step_by(2) {
        room.enter(ConnectionId(1), &outbox);
        assert!(room.go_live(ConnectionId(1), history(&room, id - 1, true)));
        // The second one has no room, as the first waits.
        let both_at_once = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                both_at_once.wait();
                assert!(!room.hear(vec![entry(id, id - 1)]));
                assert!(!room.hear(vec![entry(id + 1, id)]));
            });
            both_at_once.wait();
            room.enter(ConnectionId(1), &outbox);
        });
        let told = sent(&outbox);
        assert!(!told.contains(&"reset".to_owned()), "{id}: {told:?}");
    }
}
