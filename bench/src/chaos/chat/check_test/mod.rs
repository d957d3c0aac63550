//! The checker finds what is wrong: notes with one fault each.

mod changes;
mod seen;
pub(super) mod story;

use client::{Message, MessageId};

use self::story::{ADA, BOB, EVE, ROOM, SECOND, SERVER, Story, follows, key, message};
use super::{
    event::{Event, Key, Shown},
    faults::Fault,
    wrong::{Counted, Wrong},
};

const KILL: Fault = Fault::KillServer { slot: 0 };

fn id(number: i64) -> MessageId {
    MessageId(number)
}

#[test]
fn notes_in_which_all_went_well_have_nothing_wrong() {
    let story = Story::all_is_well()
        .joins(EVE, None, true, &[4, 5])
        .sends(6)
        .hears(BOB, message(6))
        .hears(EVE, message(6))
        .shows(1, &[1, 2, 3, 4, 5, 6])
        .shows(2, &[4, 5, 6]);

    let counts = story.counts();
    assert_eq!((counts["acknowledged"], counts["delivered live"]), (6, 7));
}

// --- What was promised ---------------------------------------------------------------------------

#[test]
fn an_acknowledged_message_that_is_not_archived_is_lost() {
    // Nobody saw it.
    let story = Story::all_is_well().posts(6).acked(6, 6, false);

    assert_eq!(story.wrong(), [Wrong::Lost(ROOM, key(6), id(6))]);

    // Everybody saw it.
    let wrong = Story::all_is_well().without_row(3).wrong();
    assert!(
        wrong.contains(&Wrong::Lost(ROOM, key(3), id(3))),
        "{wrong:?}"
    );
}

#[test]
fn a_message_that_was_not_acknowledged_may_be_archived_or_not() {
    assert_eq!(Story::all_is_well().posts(6).wrong(), []);
    let story = Story::all_is_well().posts(6).archives(message(6));

    let story = story.hears(BOB, message(6)).shows(1, &[5, 6]);
    assert_eq!(story.counts()["never acknowledged, and archived"], 1);
}

#[test]
fn a_message_that_is_archived_under_another_id_is_found() {
    let story = Story::all_is_well().posts(6).acked(6, 6, false);
    let elsewhere = Shown {
        id: id(7),
        prev: id(5),
        ..message(6)
    };
    let story = story
        .archives(elsewhere)
        .hears(BOB, elsewhere)
        .shows(1, &[7]);

    assert_eq!(
        story.wrong(),
        [Wrong::Elsewhere(ROOM, key(6), id(6), id(7))]
    );
}

#[test]
fn a_message_that_is_archived_twice_is_found() {
    let double = Shown {
        id: id(6),
        ..message(5)
    };
    let story = Story::all_is_well()
        .archives(double)
        .hears(BOB, double)
        .shows(1, &[6]);

    assert!(story.wrong().contains(&Wrong::Twice(key(5))));
}

#[test]
fn a_resend_that_got_another_id_is_found() {
    let story = Story::all_is_well().posts(5).acked(5, 5, true);
    assert_eq!(story.counts()["acknowledged as resends"], 1);

    let story = Story::all_is_well().posts(5).acked(5, 6, true);
    assert_eq!(story.wrong(), [Wrong::TwoAnswers(key(5), id(5), id(6))]);

    let story = Story::all_is_well().posts(5).acked(5, 5, false);
    assert_eq!(story.wrong(), [Wrong::TwoAnswers(key(5), id(5), id(5))]);
}

#[test]
fn a_message_that_nobody_sent_is_found() {
    // In the archive, and to somebody.
    let story = Story::all_is_well().archives(message(6)).shows(1, &[6]);
    assert!(story.wrong().contains(&Wrong::NobodySent(ROOM, id(6))));
    let story = Story::all_is_well().hears(BOB, message(6));
    assert!(story.wrong().contains(&Wrong::NobodySent(ROOM, id(6))));

    // A message that is not as it was sent has no key.
    let story = Story::all_is_well().with_row(5, |row| row.key = None);
    assert!(story.wrong().contains(&Wrong::NobodySent(ROOM, id(5))));
}

#[test]
fn a_message_in_another_room_than_it_was_sent_to_is_found() {
    let mut story = Story::all_is_well();
    story
        .remains
        .archive
        .entry(2)
        .or_default()
        .push(follows(5, 0));

    assert!(story.wrong().contains(&Wrong::NobodySent(2, id(5))));
}

#[test]
fn a_message_that_is_seen_before_it_was_sent_is_found() {
    let story = Story::default().joins(BOB, None, true, &[]);
    let story = story.hears(BOB, message(1)).sends(1);

    assert_eq!(story.wrong(), [Wrong::NobodySent(ROOM, id(1))]);
}

#[test]
fn a_text_that_is_not_as_it_was_sent_is_not_taken_for_it() {
    let (own, text) = (key(3), key(3).text(key(3).length()));
    let shown = |user: &str, text: &str| {
        let (user, own) = (user.to_owned(), own.to_string());
        let message = serde_json::json!(
            {"messageId": 1, "prev": 0, "userId": user, "clientId": own, "message": text});
        Shown::from(&serde_json::from_value::<Message>(message).unwrap())
    };

    assert_eq!(shown("c0", &text).key, Some(own));
    assert_eq!(shown("c1", &text).key, None, "by another");
    assert_eq!(shown("c0", &text[..text.len() - 1]).key, None, "cut short");
    assert_eq!(shown("c0", &format!("{text}.")).key, None, "with more");
    let long = Key {
        guest: 0,
        number: Key::FLOOD,
    };
    assert!(long.text(long.length()).len() > 5000);
}

#[test]
fn a_message_that_somebody_saw_and_nobody_kept_is_found() {
    let story = Story::all_is_well().posts(6).hears(BOB, message(6));

    assert!(story.wrong().contains(&Wrong::Vanished(BOB, ROOM, id(6))));
}

#[test]
fn an_id_that_names_two_messages_is_found() {
    let story = Story::all_is_well().joins(EVE, None, true, &[4, 5]);
    let other = Shown {
        key: Some(key(1)),
        ..message(6)
    };
    let story = story.sends(6).hears(BOB, message(6)).hears(EVE, other);

    assert!(story.wrong().contains(&Wrong::Swapped(EVE, ROOM, id(6))));
}

#[test]
fn an_archive_whose_messages_do_not_follow_each_other_is_found() {
    let story = Story::all_is_well().with_row(4, |row| row.prev = id(2));
    assert_eq!(story.wrong(), [Wrong::Chain(ROOM, id(4), id(2))]);

    // 0: it was not known, as the room was cold.
    let story = Story::all_is_well().with_row(4, |row| row.prev = id(0));
    assert_eq!(story.wrong(), []);
}

// --- What is left --------------------------------------------------------------------------------

#[test]
fn a_wrong_number_of_members_is_found() {
    let counted = |told| Counted {
        guest: 1,
        room: ROOM,
        told,
        there: 3,
    };
    let mut story = Story::all_is_well();
    story.remains.members = vec![counted(Some(3)), counted(Some(4)), counted(None)];

    let wrong = [counted(Some(4)), counted(None)].map(Wrong::Members);
    assert_eq!(story.wrong(), wrong);
}

#[test]
fn what_is_left_and_what_never_came_about_is_found() {
    let mut story = Story::all_is_well();
    story.remains.left.push("r1 is dirty".to_owned());
    story.remains.late.push("never".to_owned());

    assert!(matches!(
        story.wrong()[..],
        [Wrong::Left(_), Wrong::Late(_)]
    ));
}

#[test]
fn a_process_that_ended_by_itself_is_found() {
    let boot = || Story::all_is_well().tell(SERVER, Event::Booted);
    for (signal, code) in [(None, Some(101)), (Some(11), None), (Some(9), None)] {
        let story = boot().exits(signal, code);
        assert!(
            matches!(story.wrong()[..], [Wrong::Exit(_)]),
            "{signal:?} {code:?}"
        );
    }
    assert_eq!(boot().struck(KILL).exits(Some(9), None).wrong(), []);
    assert_eq!(boot().struck(KILL).exits(None, Some(0)).wrong(), []);
    // One that drains must not fail at it.
    let failed = boot().struck(KILL).exits(None, Some(1));
    assert!(matches!(failed.wrong()[..], [Wrong::Exit(_)]));
}

#[test]
fn a_process_may_end_that_does_not_find_what_it_needs() {
    let fault = Fault::PostgresStop { ms: 1000 };
    let began = |story: Story| story.tell(ADA, Event::Began { fault });
    let over = |story: Story| story.tell(ADA, Event::Over { fault });

    let story = began(Story::all_is_well()).tell(SERVER, Event::Booted);
    assert_eq!(over(story.exits(None, Some(1))).wrong(), []);

    // Long after the outage it has no such reason.
    let mut story = over(began(Story::all_is_well())).tell(SERVER, Event::Booted);
    story = story.exits(None, Some(1));
    for line in story.lines.iter_mut().rev().take(2) {
        line.t += 60 * SECOND;
    }
    assert!(matches!(story.wrong()[..], [Wrong::Exit(_)]));
}

// --- What a power cut excuses --------------------------------------------------------------------

#[test]
fn a_power_cut_excuses_what_was_acknowledged_just_before_and_nothing_else() {
    let story = Story::all_is_well().posts(6).acked(6, 6, false);
    let acked = story.lines.last().unwrap().t;
    let cut = |from| Event::PowerCut { from };

    let excused = story.tell(BOB, cut(acked - 1));
    assert_eq!(
        excused.counts()["acknowledged and gone, in a power cut's window"],
        1
    );
    let story = Story::all_is_well().posts(6).acked(6, 6, false);
    let too_late = story.tell(BOB, cut(acked + 1));
    assert_eq!(too_late.wrong(), [Wrong::Lost(ROOM, key(6), id(6))]);
}

#[test]
fn a_power_cut_excuses_nothing_that_was_said_to_be_archived() {
    let story = Story::all_is_well()
        .posts(6)
        .acked(6, 6, false)
        .says_archived();
    let from = story.lines.last().unwrap().t - 1;
    let story = story.tell(BOB, Event::PowerCut { from });

    assert_eq!(story.wrong(), [Wrong::Lost(ROOM, key(6), id(6))]);
}

#[test]
fn a_message_that_was_seen_just_before_a_power_cut_may_be_gone() {
    let story = Story::all_is_well().posts(6).hears(BOB, message(6));
    let seen = story.lines.last().unwrap().t;
    let story = story.tell(
        BOB,
        Event::PowerCut {
            from: seen - SECOND / 2,
        },
    );
    // Who saw it is told, and joins again.
    let story = story.reset(BOB).joins(BOB, None, true, &[4, 5]);

    assert_eq!(story.wrong(), []);
}
