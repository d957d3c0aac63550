//! Edits and deletions.

use super::{
    id, key,
    story::{
        ADA, BOB, EVE, ROOM, SECOND, Story, changed, deletes, edits, follows, message, replaced,
    },
};
use crate::chaos::chat::{
    event::{Deed, Event, Key, Shown},
    wrong::Wrong,
};

/// Ada has edited 2 (by 6), edited it again (by 7) and deleted 3 (by 8); Bob has heard all.
fn all_is_well() -> Story {
    let mut story = Story::all_is_well();
    for change in [edits(6, 2), edits(7, 2), deletes(8, 3)] {
        story = story.changes(change).hears(BOB, change);
    }
    let rows = rows(&story);
    story.shows_these(1, &rows).logs(&rows)
}

fn rows(story: &Story) -> Vec<Shown> {
    story.remains.archive[&ROOM].clone()
}

/// As whoever reads them now should get them.
fn newest(from: usize) -> Vec<Shown> {
    rows(&all_is_well())[from - 1..].to_vec()
}

/// The same, with one as it was before.
fn with(old: Shown) -> Vec<Shown> {
    let now = newest(1).into_iter();
    now.map(|shown| if shown.id == old.id { old } else { shown })
        .collect()
}

#[test]
fn changes_that_all_see_are_well() {
    let story = all_is_well()
        .joined(EVE, None, true, 8, newest(1), false)
        .turns(EVE, 6, &newest(1)[..5], false)
        .turns(EVE, 6, &newest(3)[..3], true);

    let counts = story.counts();
    assert_eq!((counts["edited"], counts["deleted"]), (1, 1));
    assert_eq!(counts["edits that later changes replaced"], 1);
    assert_eq!(counts["pages of older messages"], 2);
}

// --- What is kept --------------------------------------------------------------------------------

#[test]
fn an_acknowledged_change_that_is_not_archived_is_lost() {
    for change in [edits(9, 4), deletes(9, 4)] {
        let story = all_is_well().does(9, change.deed).acked(9, 9, false);
        assert_eq!(story.wrong(), [Wrong::Lost(ROOM, key(9), id(9))]);
    }
}

#[test]
fn a_message_that_is_archived_otherwise_than_its_last_change_says_is_found() {
    let (first, second) = (edits(6, 2), edits(7, 2));
    let deletion = deletes(8, 3);
    // As if there had been none; as an earlier one; without its text; deleted only half.
    for (number, row) in [
        (2, message(2)),
        (2, changed(message(2), first)),
        (2, changed(message(2), replaced(second, 7))),
        (3, message(3)),
        (
            3,
            Shown {
                face: message(3).face,
                ..changed(message(3), deletion)
            },
        ),
        // Changed, and nobody changed it.
        (4, changed(message(4), second)),
        (4, changed(message(4), deletion)),
    ] {
        let story = all_is_well().with_row(number, |it| *it = row);
        let wrong = story.wrong();
        assert!(
            wrong.contains(&Wrong::Unchanged(ROOM, id(number))),
            "{row:?}: {wrong:?}"
        );
    }
}

#[test]
fn a_replaced_edit_that_keeps_its_text_is_found() {
    let story = all_is_well().with_row(6, |row| *row = edits(6, 2));
    assert_eq!(story.wrong(), [Wrong::Kept(ROOM, id(6))]);

    // So does one before a deletion.
    let edit = edits(9, 4);
    let story = all_is_well().changes(edit).changes(deletes(10, 4));
    let story = story.with_row(9, |row| *row = edit);
    assert!(story.wrong().contains(&Wrong::Kept(ROOM, id(9))));
}

#[test]
fn a_change_that_does_something_else_than_what_was_sent_is_found() {
    let story = all_is_well().with_row(7, |row| row.deed = Deed::Edit(id(4)));
    assert!(story.wrong().contains(&Wrong::NobodySent(ROOM, id(7))));
    let story = all_is_well().with_row(7, |row| row.deed = Deed::Say);
    assert!(story.wrong().contains(&Wrong::NobodySent(ROOM, id(7))));
}

#[test]
fn a_change_of_what_is_not_its_senders_is_found() {
    let bobs = Key {
        guest: 1,
        number: 9,
    };
    let change = Shown {
        key: Some(bobs),
        ..edits(9, 4)
    };
    let story = all_is_well()
        .asks(BOB, bobs, change.deed)
        .archives(change)
        .with_row(4, |row| *row = changed(*row, change));
    assert!(
        story
            .wrong()
            .contains(&Wrong::NotTheirs(ROOM, id(9), id(4)))
    );

    // A change, and a message that is not there.
    for target in [6, 99] {
        let story = all_is_well().changes(edits(9, target));
        let wrong = Wrong::NotTheirs(ROOM, id(9), id(target));
        assert!(story.wrong().contains(&wrong));
    }
}

#[test]
fn a_change_after_a_deletion_is_found() {
    for change in [edits(9, 3), deletes(9, 3)] {
        let story = all_is_well().does(9, change.deed).archives(change);
        let wrong = Wrong::AfterDeletion(ROOM, id(9), id(3));
        assert!(story.wrong().contains(&wrong));
    }
}

#[test]
fn a_log_that_had_a_message_otherwise_than_it_is_archived_is_found() {
    for other in [
        message(2),
        message(3),
        follows(4, 2),
        Shown {
            key: Some(key(1)),
            ..message(5)
        },
        Shown {
            deed: Deed::Say,
            ..edits(7, 2)
        },
    ] {
        let story = all_is_well().logs(&with(other));
        assert_eq!(story.wrong(), [Wrong::Differs(ROOM, other.id)], "{other:?}");
    }
    let story = all_is_well().logs(&[message(9)]);
    assert_eq!(story.wrong(), [Wrong::Differs(ROOM, id(9))]);

    // An edit keeps its text in the log until it is flushed.
    assert_eq!(all_is_well().logs(&with(edits(6, 2))).wrong(), []);
}

// --- What is read --------------------------------------------------------------------------------

#[test]
fn a_reader_who_gets_a_message_without_its_last_change_is_found() {
    let old = changed(message(2), edits(6, 2));
    let page = |old| with(old)[..5].to_vec();
    let outdated = || Wrong::Outdated(EVE, ROOM, id(2), id(7));

    // Over HTTP the change itself does not come along.
    for old in [message(2), old] {
        let story = all_is_well().turns(EVE, 6, &page(old), false);
        assert_eq!(story.wrong(), [outdated()]);
    }
    // Who joins gets it: such an answer may be older than what stands after it.
    let all = with(old);
    let story = all_is_well().joined(EVE, None, true, 8, all.clone(), false);
    assert_eq!(story.wrong(), []);
    // But not if it says that a later one has replaced it.
    let mut all = all;
    all[6] = replaced(edits(7, 2), 8);
    let story = all_is_well().joined(EVE, None, true, 8, all, false);
    assert!(story.wrong().contains(&outdated()));
}

#[test]
fn a_deleted_message_that_comes_back_is_found() {
    let page = with(message(3))[..5].to_vec();
    let story = all_is_well().turns(EVE, 6, &page, false);
    assert_eq!(story.wrong(), [Wrong::Undead(EVE, ROOM, id(3), id(8))]);
}

#[test]
fn a_reader_who_asked_before_a_change_was_known_may_get_what_was_before() {
    let read = |t: fn(u64) -> u64| {
        let page = with(message(3))[..5].to_vec();
        let mut story = all_is_well().turns(EVE, 6, &page, false);
        let acked = story
            .lines
            .iter()
            .find(|line| matches!(line.event, Event::Acked { id, .. } if id.0 == 8));
        let at = t(acked.unwrap().t);
        let turns = story.lines.len() - 2;
        story.lines[turns].t = at;
        story.lines.sort_by_key(|line| line.t);
        story.wrong()
    };

    assert_eq!(read(|acked| acked - SECOND / 2), []);
    assert_eq!(
        read(|acked| acked + 1),
        [Wrong::Undead(EVE, ROOM, id(3), id(8))]
    );
}

#[test]
fn a_page_may_be_older_than_a_change_that_was_heard_and_is_not_acknowledged() {
    let change = edits(9, 4);
    let mut story = all_is_well().does(9, change.deed).archives(change);
    story = story.with_row(4, |row| *row = changed(*row, change));
    let rows = rows(&story);
    let story = story.hears(BOB, change).logs(&rows).shows(1, &[9]);
    let page = newest(1)[..4].to_vec();
    let read = |story: Story| story.turns(EVE, 5, &page, false);

    assert_eq!(read(story).wrong(), []);
}

#[test]
fn a_text_that_nobody_gave_a_message_is_found() {
    for untrue in [
        // Another's; one from a change of another message; an old edit's under a new one's name.
        Shown {
            face: message(1).face,
            ..message(5)
        },
        changed(message(5), edits(7, 2)),
        Shown {
            face: edits(6, 2).face,
            ..changed(message(2), edits(7, 2))
        },
        // Empty; deleted without a deletion.
        Shown {
            face: deletes(9, 9).face,
            ..message(5)
        },
        changed(message(5), deletes(8, 3)),
    ] {
        let story = all_is_well().joined(EVE, None, true, 8, with(untrue), false);
        let wrong = story.wrong();
        let due = Wrong::Untrue(EVE, ROOM, untrue.id);
        assert!(wrong.contains(&due), "{untrue:?}: {wrong:?}");
    }
}

#[test]
fn a_page_with_a_hole_and_one_that_ends_too_early_are_found() {
    let all = newest(1);
    for (page, more, lacks) in [
        (&[all[0], all[2], all[3], all[4]][..], false, 2),
        (&all[..4], false, 5),
        (&all[2..5], false, 1),
        (&[], false, 1),
    ] {
        let story = all_is_well().turns(EVE, 6, page, more);
        assert_eq!(story.wrong(), [Wrong::Lacks(EVE, ROOM, id(lacks))]);
    }
}

#[test]
fn a_change_that_comes_twice_or_that_somebody_misses_is_found() {
    let story = all_is_well().hears(BOB, deletes(8, 3));
    assert_eq!(story.wrong(), [Wrong::Again(BOB, ROOM, id(8))]);

    let change = edits(9, 4);
    let story = all_is_well().changes(change).changes(deletes(10, 5));
    let missed = story.hears(
        BOB,
        Shown {
            prev: id(8),
            ..deletes(10, 5)
        },
    );
    let wrong = Wrong::Hole(BOB, ROOM, id(8), id(10));
    assert!(missed.wrong().contains(&wrong));
}

#[test]
fn a_client_that_shows_a_message_as_it_was_is_found() {
    for old in [message(2), changed(message(2), edits(6, 2))] {
        let mut entries = with(old);
        // As a client that did not carry the change out.
        entries[6] = replaced(entries[6], 7);
        let story = all_is_well().shows_these(1, &entries);
        assert_eq!(story.wrong(), [Wrong::ShowsAsWas(1, ROOM, id(2))]);
    }
}

// --- What is refused -----------------------------------------------------------------------------

#[test]
fn a_change_is_refused_for_a_reason_that_holds() {
    let bobs = |number| Key { guest: 1, number };
    let story = |target, code: &str, by: Key| {
        let who = if by.guest == 0 { ADA } else { BOB };
        all_is_well()
            .asks(who, by, Deed::Edit(id(target)))
            .refuses(who, by.number.into(), code)
    };

    for (target, code, by) in [
        (4, "not_author", bobs(9)),
        (3, "deleted", key(9)),
        (6, "not_a_message", key(9)),
        (4, "unavailable", key(9)),
        (4, "archive_unavailable", key(9)),
    ] {
        assert_eq!(story(target, code, by).wrong(), [], "{code}");
    }
    for (target, code, by) in [
        (4, "not_author", key(9)),
        (4, "deleted", key(9)),
        (4, "not_a_message", key(9)),
        (4, "not_found", key(9)),
        (4, "bad_message", key(9)),
    ] {
        let wrong = [Wrong::Refused(by, code.to_owned())];
        assert_eq!(story(target, code, by).wrong(), wrong);
    }
    // A message is not refused for good at all.
    let said = all_is_well().posts(9).refuses(ADA, 9, "deleted");
    assert_eq!(said.wrong(), [Wrong::Refused(key(9), "deleted".to_owned())]);
}

// --- What a power cut excuses --------------------------------------------------------------------

#[test]
fn a_power_cut_excuses_a_change_that_was_acknowledged_just_before_and_nothing_else() {
    let story = |after: u64| {
        let change = deletes(9, 4);
        let mut story = all_is_well().does(9, change.deed).acked(9, 9, false);
        let from = story.lines.last().unwrap().t + after - SECOND / 2;
        story = story.tell(ADA, Event::PowerCut { from });
        let page = newest(1)[..5].to_vec();
        story.turns(EVE, 6, &page, false)
    };

    assert_eq!(story(0).wrong(), []);
    assert_eq!(story(SECOND).wrong(), [Wrong::Lost(ROOM, key(9), id(9))]);
}

#[test]
fn a_change_that_a_power_cut_took_may_still_show_in_the_archive() {
    let change = edits(9, 4);
    let story = |after: u64| {
        let mut story = all_is_well().does(9, change.deed).acked(9, 9, false);
        let from = story.lines.last().unwrap().t + after - SECOND / 2;
        story = story.tell(ADA, Event::PowerCut { from });
        story.with_row(4, |row| *row = changed(*row, change))
    };

    assert_eq!(story(0).wrong(), []);
    let wrong = story(SECOND).wrong();
    assert!(wrong.contains(&Wrong::Unchanged(ROOM, id(4))), "{wrong:?}");
}
