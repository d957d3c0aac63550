//! What connections and clients saw.

use super::{
    id,
    story::{BOB, EVE, ROOM, Story, follows, message},
};
use crate::chaos::chat::{event::Event, wrong::Wrong};

#[test]
fn a_hole_that_nothing_tells_of_is_found() {
    // As if 6 had never been.
    let story = Story::all_is_well()
        .sends(6)
        .sends(7)
        .hears(BOB, follows(7, 5));
    assert!(
        story
            .wrong()
            .contains(&Wrong::Hole(BOB, ROOM, id(5), id(7)))
    );

    // 0 tells nothing.
    let story = Story::all_is_well()
        .sends(6)
        .sends(7)
        .hears(BOB, follows(7, 0));
    assert!(
        story
            .wrong()
            .contains(&Wrong::Hole(BOB, ROOM, id(5), id(7)))
    );
}

#[test]
fn a_hole_may_be_told_by_prev_by_reset_and_by_an_incomplete_answer() {
    let missed = || Story::all_is_well().sends(6).sends(7);
    let rejoins = |story: Story| story.joins(BOB, Some(5), true, &[6, 7]).shows(1, &[6, 7]);

    let by_prev = rejoins(missed().hears(BOB, message(7)));
    assert_eq!(by_prev.counts()["holes told by prev"], 1);
    let by_reset = rejoins(missed().reset(BOB).hears(BOB, follows(7, 0)));
    assert_eq!(by_reset.counts()["resets"], 1);
    let incomplete = missed().joins(EVE, Some(3), false, &[7]).shows(1, &[7]);
    let whole = rejoins(incomplete.reset(BOB));
    assert_eq!(whole.counts()["joins that could not resume"], 1);
}

#[test]
fn a_hole_that_was_told_must_be_filled_in_the_end() {
    let missed = Story::all_is_well().sends(6).sends(7).shows(1, &[7]);
    let story = missed.hears(BOB, message(7));

    assert_eq!(story.wrong(), [Wrong::Behind(BOB, ROOM, None)]);
}

#[test]
fn a_message_that_comes_twice_or_too_late_is_found() {
    let story = Story::all_is_well().hears(BOB, message(5));
    assert_eq!(story.wrong(), [Wrong::Again(BOB, ROOM, id(5))]);

    let story =
        Story::all_is_well().joined(EVE, None, true, 5, vec![message(5), message(4)], false);
    assert!(story.wrong().contains(&Wrong::Again(EVE, ROOM, id(4))));
}

#[test]
fn a_complete_answer_that_lacks_something_is_found() {
    // At its end, in its middle, and where it is to go on.
    let story =
        Story::all_is_well().joined(EVE, None, true, 5, vec![message(3), message(4)], false);
    assert_eq!(
        story.wrong(),
        [
            Wrong::Lacks(EVE, ROOM, id(5)),
            Wrong::Behind(EVE, ROOM, None)
        ]
    );
    let story = Story::all_is_well().joins(EVE, None, true, &[3, 5]);
    assert!(story.wrong().contains(&Wrong::Lacks(EVE, ROOM, id(4))));
    let story = Story::all_is_well().joins(EVE, Some(2), true, &[4, 5]);
    assert!(story.wrong().contains(&Wrong::Lacks(EVE, ROOM, id(3))));
    let story = Story::all_is_well().joined(EVE, Some(2), true, 5, Vec::new(), false);
    assert!(story.wrong().contains(&Wrong::Lacks(EVE, ROOM, id(3))));
}

#[test]
fn an_answer_that_ends_too_early_is_found() {
    // It was archived before Eve asked.
    let story = Story::all_is_well().joins(EVE, None, true, &[3, 4]);

    assert!(
        story
            .wrong()
            .contains(&Wrong::Stale(EVE, ROOM, id(4), id(5)))
    );
}

#[test]
fn an_answer_in_parts_is_held_against_the_archive_as_a_whole() {
    let first = vec![message(1), message(2)];
    let story = |rest: &[i64]| {
        let messages = rest.iter().map(|id| message(*id)).collect();
        let history = Event::History {
            room: ROOM,
            messages,
            continues: false,
        };
        Story::all_is_well()
            .joined(EVE, Some(0), true, 5, first.clone(), true)
            .tell(EVE, history)
    };

    assert_eq!(story(&[3, 4, 5]).wrong(), []);
    assert!(
        story(&[4, 5])
            .wrong()
            .contains(&Wrong::Lacks(EVE, ROOM, id(3)))
    );
}

#[test]
fn an_answer_that_breaks_off_must_be_followed_by_a_reset_at_once() {
    let breaks_off =
        || Story::all_is_well().joined(EVE, None, true, 5, vec![message(3), message(4)], false);
    let lacks = Wrong::Lacks(EVE, ROOM, id(5));

    let resets = breaks_off().reset(EVE).joins(EVE, None, true, &[4, 5]);
    assert_eq!(resets.wrong(), []);
    let too_late = breaks_off().hears(EVE, follows(5, 4)).reset(EVE);
    assert!(too_late.wrong().contains(&lacks));
    let anew = breaks_off().joins(EVE, None, true, &[4, 5]);
    assert_eq!(anew.wrong(), [lacks]);
}

#[test]
fn a_room_that_was_not_at_hand_must_be_reset_in_the_end() {
    let cold = || Story::all_is_well().joined(EVE, None, false, 0, Vec::new(), false);

    assert_eq!(cold().wrong(), [Wrong::Behind(EVE, ROOM, None)]);
    assert_eq!(
        cold().reset(EVE).joins(EVE, None, true, &[4, 5]).wrong(),
        []
    );
}

#[test]
fn a_connection_that_never_gets_the_last_message_is_behind() {
    let story = Story::all_is_well().sends(6).shows(1, &[6]);
    assert_eq!(story.wrong(), [Wrong::Behind(BOB, ROOM, Some(id(5)))]);

    // One that has left or is gone need not have it.
    let left = || Story::all_is_well().tell(BOB, Event::Leaves { room: ROOM });
    assert_eq!(left().sends(6).shows(1, &[6]).wrong(), []);
    let gone = Story::all_is_well().tell(BOB, Event::Closed { code: None });
    assert_eq!(gone.sends(6).shows(1, &[6]).wrong(), []);
}

#[test]
fn a_client_that_shows_something_else_than_was_said_is_found() {
    for shown in [&[1, 2, 3, 5][..], &[5, 5], &[4, 5, 6], &[1, 2, 3, 4]] {
        let story = Story::all_is_well().shows(1, shown);
        assert_eq!(story.wrong(), [Wrong::Shows(1, ROOM)], "{shown:?}");
    }
}
