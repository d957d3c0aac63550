//! An outbox without a socket: its order, and what a slow reader loses.

use std::sync::Arc;

use common::id::MessageId;

use crate::{
    outbox::{Outbox, Standing},
    room::RoomNumber,
};

const ROOMS: [RoomNumber; 2] = [RoomNumber(1), RoomNumber(2)];

/// Puts a message of 10 bytes in, 8 of them its text.
fn put(outbox: &Arc<Outbox>, room: RoomNumber, id: i64) -> bool {
    let text = format!("{}-{id:06}", room.0);
    outbox.push_message(room, MessageId(id - 1), text.as_str().into(), |since| {
        Some(format!("room {} since {since}", room.0).as_str().into())
    })
}

#[test]
fn frames_come_out_as_they_went_in() {
    let outbox = Arc::new(Outbox::new(1000));

    outbox.push("a");
    assert!(put(&outbox, ROOMS[0], 1));
    outbox.push_typing("t".into());
    outbox.push("b");

    assert_eq!(outbox.take(), ["a", "1-000001", "t", "b"]);
    assert!(outbox.take().is_empty());
}

#[test]
fn typing_goes_first_and_of_counts_the_newest_stays() {
    let outbox = Arc::new(Outbox::new(160));

    outbox.push_typing("typing".into());
    for members in ["one", "two"] {
        outbox.push_presence(ROOMS[0], members.into());
    }
    outbox.push_presence(ROOMS[1], "other".into());
    assert!(put(&outbox, ROOMS[0], 1) && put(&outbox, ROOMS[0], 2));
    outbox.push_typing("late".into());

    assert_eq!(outbox.take(), ["two", "other", "1-000001", "1-000002"]);
}

#[test]
fn who_is_behind_gets_the_other_rooms_and_answers_then_resumes_after_what_it_has() {
    let outbox = Arc::new(Outbox::new(160));

    assert!(put(&outbox, ROOMS[1], 7));
    assert!((4..=6).all(|id| put(&outbox, ROOMS[0], id)));
    outbox.push("ack");
    assert!(!put(&outbox, ROOMS[0], 7));
    assert!(put(&outbox, ROOMS[1], 8), "there is room for it again");

    let told = outbox.take();
    assert_eq!(told, ["2-000007", "ack", "2-000008", "room 1 since 3"]);
    assert!(put(&outbox, ROOMS[0], 8), "it has joined again");
}

#[test]
fn who_joins_again_before_it_has_caught_up_is_not_told_to() {
    let outbox = Arc::new(Outbox::new(60));

    assert!(put(&outbox, ROOMS[0], 1));
    assert!(!put(&outbox, ROOMS[0], 2));
    outbox.forget(ROOMS[0]);

    assert!(outbox.take().is_empty());
}

#[test]
fn answers_that_meet_a_history_have_the_whole_bound() {
    let outbox = Arc::new(Outbox::new(20));

    outbox.push_history(ROOMS[0], "h".repeat(50).as_str());
    for _ in 0..2 {
        for _ in 0..5 {
            outbox.push("12");
        }
        assert_eq!(outbox.standing(), Standing::Open);
        assert_eq!(outbox.take().len(), 6);
        outbox.push_history(ROOMS[0], "h".repeat(50).as_str());
    }
    for _ in 0..6 {
        outbox.push("12");
    }
    assert_eq!(outbox.standing(), Standing::Overflowed);
}

#[test]
fn who_reads_not_even_answers_costs_at_most_the_bound() {
    let outbox = Arc::new(Outbox::new(20));

    for _ in 0..5 {
        outbox.push("12");
    }
    assert_eq!(outbox.standing(), Standing::Open);
    outbox.push("1");
    outbox.push("2");

    assert_eq!(outbox.standing(), Standing::Overflowed);
    assert!(outbox.take().is_empty(), "what it had is dropped");
}
