//! The checker finds what is wrong: histories with one fault each.

mod story;

use std::collections::HashMap;

use common::queue::OnDeath;

use self::story::{ADA, BOB, PRODUCER, SECOND, Story, group, job, plain, small};
use super::{
    cause::Cause,
    event::{Event, Outcome},
    faults::Fault,
    plan::{Deed, Key, Part},
    wrong::{Remains, Wrong},
};
use crate::chaos::ledger::Line;

fn calm() -> Key {
    job(|deed| matches!(deed, Deed::Master(group) if small(group) && group.doomed.is_empty()))
}

#[test]
fn a_history_in_which_all_went_well_has_nothing_wrong() {
    let key = calm();
    let story = group(key, false).run(ADA, key.part(Part::Then), "low-99");
    assert_eq!(story.wrong(), []);

    let fatal = job(|deed| *deed == Deed::Fatal);
    let (story, lease) = story.enqueue(fatal).start(ADA, fatal, "high-1", 1);
    let story = story
        .end(ADA, fatal, 1, Outcome::Fatal)
        .settle(ADA, "high-1", lease, "bury");
    assert_eq!(story.bury(fatal, "high-1").wrong(), []);
}

#[test]
fn a_job_that_never_ran_is_lost() {
    assert_eq!(
        Story::default().enqueue(plain()).wrong(),
        [Wrong::Lost(plain())]
    );
}

#[test]
fn a_job_that_began_and_never_ended_is_lost() {
    let (story, _) = Story::default()
        .enqueue(plain())
        .start(ADA, plain(), "low-1", 1);

    assert_eq!(story.wrong(), [Wrong::Lost(plain())]);
}

#[test]
fn a_job_that_nobody_was_promised_may_be_missing() {
    let first = plain();
    let story = Story::default().tell(PRODUCER, Event::Asks { first, jobs: 1 });

    assert_eq!(story.wrong(), []);
}

#[test]
fn a_job_that_is_dead_against_the_plan_is_found() {
    let story = Story::default().enqueue(plain()).bury(plain(), "low-1");

    assert!(matches!(story.wrong()[..], [Wrong::Dead(..)]));
}

#[test]
fn a_job_that_was_to_be_dead_and_is_gone_is_found() {
    let key = job(|deed| *deed == Deed::Fatal);

    assert_eq!(Story::default().enqueue(key).wrong(), [Wrong::Alive(key)]);
}

#[test]
fn a_second_run_is_explained_by_the_death_of_the_first_ones_worker() {
    let (story, _) = Story::default()
        .enqueue(plain())
        .start(ADA, plain(), "low-1", 1);
    let story = story.end(ADA, plain(), 1, Outcome::Done).killed(ADA);
    let (story, lease) = story.start(BOB, plain(), "low-1", 2);
    let story = story
        .end(BOB, plain(), 2, Outcome::Done)
        .settle(BOB, "low-1", lease, "done");

    assert_eq!(story.duplicates(), HashMap::from([(Cause::Killed, 1)]));
}

#[test]
fn a_second_run_while_the_first_ones_worker_lived_is_not_explained() {
    let (story, _) = Story::default()
        .enqueue(plain())
        .start(ADA, plain(), "low-1", 1);
    let (story, lease) = story.start(BOB, plain(), "low-1", 2);
    let story = story
        .end(BOB, plain(), 2, Outcome::Done)
        .settle(BOB, "low-1", lease, "done");
    // That it was killed later explains nothing.
    let story = story.killed(ADA);

    assert!(matches!(story.wrong()[..], [Wrong::Unexplained(..)]));
}

#[test]
fn a_freeze_explains_a_second_run_if_it_was_long_enough() {
    for (seconds, is_explained) in [(9, true), (2, false)] {
        let fault = Fault::FreezeWorker {
            slot: 0,
            ms: seconds * 1000,
        };
        let (story, _) = Story::default()
            .enqueue(plain())
            .start(ADA, plain(), "low-1", 1);
        let mut story = story.tell(ADA, Event::Began { fault });
        let over = story.lines.len();
        story = story.tell(ADA, Event::Over { fault });
        story.lines[over].t += (seconds - 1) * SECOND;
        let (story, lease) = story.start(BOB, plain(), "low-1", 2);
        let story = story
            .end(BOB, plain(), 2, Outcome::Done)
            .settle(BOB, "low-1", lease, "done");

        let found = matches!(story.wrong()[..], [Wrong::Unexplained(..)]);
        assert_eq!(found, !is_explained, "{seconds} s");
    }
}

#[test]
fn a_claim_after_the_end_is_found_even_if_a_worker_was_killed() {
    let story = Story::default()
        .enqueue(plain())
        .run(ADA, plain(), "low-1")
        .killed(ADA);
    let (story, _) = story.start(BOB, plain(), "low-1", 2);
    let story = story.killed(BOB);

    assert_eq!(
        story.wrong(),
        [Wrong::AfterItsEnd(plain(), "low-1".parse().unwrap())]
    );
}

#[test]
fn one_claim_that_is_run_twice_is_found() {
    let id = "low-1".parse().unwrap();
    let (story, lease) = Story::default()
        .enqueue(plain())
        .start(ADA, plain(), "low-1", 1);
    let story = story.tell(
        ADA,
        Event::Started {
            key: plain(),
            id,
            attempt: 1,
        },
    );
    let story = story
        .end(ADA, plain(), 1, Outcome::Done)
        .settle(ADA, "low-1", lease, "done");

    assert_eq!(story.wrong(), [Wrong::Unclaimed(plain(), id)]);
}

#[test]
fn a_job_that_was_made_twice_is_found() {
    let story = Story::default()
        .enqueue(plain())
        .run(ADA, plain(), "low-1")
        .run(ADA, plain(), "low-2");

    assert!(matches!(story.wrong()[..], [Wrong::TwoIds(..)]));
}

#[test]
fn an_id_that_was_given_out_twice_is_found() {
    let other = job(|deed| matches!(deed, Deed::Work(1..100)));
    let story = Story::default().enqueue(plain()).enqueue(other);
    let (story, lease) = story.start(ADA, plain(), "low-1", 1);
    let story = story
        .end(ADA, plain(), 1, Outcome::Done)
        .settle(ADA, "low-1", lease, "retry");
    let story = story.run(ADA, other, "low-1");

    assert_eq!(story.wrong(), [Wrong::SameId("low-1".parse().unwrap())]);
}

#[test]
fn a_group_that_nothing_followed_is_found() {
    assert_eq!(group(calm(), false).wrong(), [Wrong::NoCallback(calm())]);
}

#[test]
fn a_group_that_was_followed_twice_is_found() {
    let then = calm().part(Part::Then);
    let story = group(calm(), false)
        .run(ADA, then, "low-98")
        .run(ADA, then, "low-99");

    assert!(matches!(story.wrong()[..], [Wrong::TwoIds(..)]));
}

#[test]
fn a_group_that_was_followed_too_early_is_found() {
    let then = calm().part(Part::Then);
    let mut story = group(calm(), false).run(ADA, then, "low-99");
    // What follows began before anything else.
    let starts =
        |line: &&mut Line<Event>| matches!(line.event, Event::Started { key, .. } if key == then);
    story.lines.iter_mut().find(starts).unwrap().t = 1;

    assert!(matches!(story.wrong()[0], Wrong::Early(..)));
}

#[test]
fn a_child_that_is_missing_is_lost() {
    let child = calm().part(Part::Child(0));
    let mut story = group(calm(), false).run(ADA, calm().part(Part::Then), "low-99");
    story.lines.retain(|line| {
        !matches!(line.event, Event::Ended { key, .. } | Event::Started { key, .. } if key == child)
    });

    assert!(story.wrong().contains(&Wrong::Lost(child)));
}

#[test]
fn what_follows_a_group_that_failed_must_not_run() {
    let key = job(|deed| matches!(deed, Deed::Master(group) if small(group) && group.fails()));
    assert_eq!(group(key, true).wrong(), []);

    let story = group(key, false).run(ADA, key.part(Part::Then), "low-99");
    assert!(story.wrong().contains(&Wrong::NoCallback(key)));
}

#[test]
fn what_follows_a_group_must_be_told_of_the_dead_children() {
    let key = job(|deed| {
        matches!(deed, Deed::Master(group) if small(group)
            && group.on_death == OnDeath::Continue
            && !group.doomed.is_empty())
    });
    let then = key.part(Part::Then);
    let told = |story: Story, dead| story.tell(ADA, Event::Failures { key: then, dead });
    let story = || group(key, false).run(ADA, then, "low-99");
    let all = story().remains.buried.into_values().collect();

    assert_eq!(told(story(), all).wrong(), []);
    assert_eq!(told(story(), Vec::new()).wrong(), [Wrong::Misinformed(key)]);
}

#[test]
fn what_was_buried_without_three_deaths_is_found() {
    let mut story = Story::default().enqueue(plain()).run(ADA, plain(), "low-1");
    story
        .remains
        .buried
        .insert(plain(), "low-1".parse().unwrap());
    story.remains.revived.insert(plain());

    assert!(matches!(story.wrong()[..], [Wrong::Dead(..)]));
}

#[test]
fn a_process_that_ended_by_itself_is_found() {
    for (signal, code) in [(None, Some(101)), (Some(11), None), (Some(9), None)] {
        let story = Story::default().tell(ADA, Event::Exited { signal, code });
        assert!(matches!(story.wrong()[..], [Wrong::Exit(..)]));
    }
    assert_eq!(Story::default().killed(ADA).wrong(), []);
}

#[test]
fn what_is_left_in_redis_is_found() {
    let remains = Remains {
        stuck: 2,
        keys: vec!["group:low-1".to_owned()],
        findings: vec!["low-1 is in no place".to_owned()],
        ..Remains::default()
    };
    let story = Story {
        remains,
        ..Story::default()
    };

    assert!(matches!(
        story.wrong()[..],
        [Wrong::Stuck(2), Wrong::Leftover(_), Wrong::Audit(_)]
    ));
}
