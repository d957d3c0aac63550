//! A history in the making, told line by line.

use std::collections::HashMap;

use super::super::{
    cause::Cause,
    check::check,
    event::{Event, Outcome},
    history::History,
    plan::{Deed, End, Group, Key, Part, Plan},
    point::{Act, Point},
    wrong::{Remains, Wrong},
};
use crate::chaos::ledger::{Line, Role, Who};

pub(super) const PLAN: Plan = Plan { seed: 1 };
pub(super) const SECOND: u64 = 1_000_000_000;

/// Who takes part in all histories here.
pub(super) const PRODUCER: Who = Who {
    role: Role::Producer,
    slot: 0,
    life: 3,
};
pub(super) const ADA: Who = Who {
    role: Role::Worker,
    slot: 0,
    life: 1,
};
pub(super) const BOB: Who = Who {
    role: Role::Worker,
    slot: 1,
    life: 1,
};

/// The first job that fits.
pub(super) fn job(fits: impl Fn(&Deed) -> bool) -> Key {
    let key = |number| Key {
        slot: 0,
        life: 3,
        number,
        part: Part::Whole,
    };
    (0..100_000)
        .map(key)
        .find(|key| fits(&PLAN.deed(*key)))
        .unwrap()
}

pub(super) fn plain() -> Key {
    job(|deed| *deed == Deed::Work(0))
}

pub(super) fn small(group: &Group) -> bool {
    (2..10).contains(&group.children)
}

/// A history in the making, a line a second.
#[derive(Default)]
pub(super) struct Story {
    pub(super) lines: Vec<Line<Event>>,
    pub(super) remains: Remains,
    pub(super) leases: u64,
}

impl Story {
    pub(super) fn tell(mut self, who: Who, event: Event) -> Self {
        let t = (self.lines.len() as u64 + 1) * SECOND;
        self.lines.push(Line { t, who, event });
        self
    }

    pub(super) fn enqueue(self, first: Key) -> Self {
        self.tell(PRODUCER, Event::Asks { first, jobs: 1 })
            .tell(PRODUCER, Event::Accepted { first, jobs: 1 })
    }

    /// Claimed and begun; the lease for [`Self::settle`].
    pub(super) fn start(mut self, who: Who, key: Key, id: &str, attempt: u32) -> (Self, String) {
        let id = id.parse().unwrap();
        self.leases += 1;
        let lease = format!("{attempt}@{}", self.leases);
        let jobs = vec![(id, lease.clone())];
        let story = self
            .tell(who, Event::Claimed { jobs })
            .tell(who, Event::Started { key, id, attempt });
        (story, lease)
    }

    pub(super) fn end(self, who: Who, key: Key, attempt: u32, outcome: Outcome) -> Self {
        let story = match outcome {
            Outcome::Done => self.tell(who, Event::Effect { key }),
            _ => self,
        };
        story.tell(
            who,
            Event::Ended {
                key,
                attempt,
                outcome,
            },
        )
    }

    pub(super) fn settle(self, who: Who, id: &str, lease: String, verdict: &str) -> Self {
        let jobs = vec![(id.parse().unwrap(), lease, verdict.to_owned())];
        self.tell(who, Event::Settled { jobs })
    }

    /// All of a run that goes well.
    pub(super) fn run(self, who: Who, key: Key, id: &str) -> Self {
        let (story, lease) = self.start(who, key, id, 1);
        story
            .end(who, key, 1, Outcome::Done)
            .settle(who, id, lease, "done")
    }

    pub(super) fn bury(mut self, key: Key, id: &str) -> Self {
        self.remains.buried.insert(key, id.parse().unwrap());
        self.remains.dead.insert(key, "for a reason".to_owned());
        self
    }

    pub(super) fn killed(self, who: Who) -> Self {
        self.tell(
            who,
            Event::Hit {
                at: Point::AfterEffect,
                act: Act::Kill,
            },
        )
        .tell(
            who,
            Event::Exited {
                signal: Some(9),
                code: None,
            },
        )
    }

    pub(super) fn wrong(&self) -> Vec<Wrong> {
        check(PLAN, &History::of(&self.lines), &self.remains).0
    }

    pub(super) fn duplicates(&self) -> HashMap<Cause, u64> {
        let (wrong, counts) = check(PLAN, &History::of(&self.lines), &self.remains);
        assert_eq!(wrong, []);
        counts.duplicates.into_iter().collect()
    }
}

/// A group whose children have all run, up to what follows it.
pub(super) fn group(key: Key, fails: bool) -> Story {
    let Deed::Master(group) = PLAN.deed(key) else {
        panic!("no master")
    };
    let mut story = Story::default().enqueue(key).run(ADA, key, "low-1");
    for n in 0..group.children {
        let child = key.part(Part::Child(n));
        let id = format!("low-{}", n + 2);
        story = if PLAN.end(child) == End::Done {
            story.run(BOB, child, &id)
        } else {
            let (story, lease) = story.start(BOB, child, &id, 1);
            let story = story.end(BOB, child, 1, Outcome::Fatal);
            story.settle(BOB, &id, lease, "bury").bury(child, &id)
        };
    }
    if fails {
        story.bury(key.part(Part::Then), "low+1")
    } else {
        story
    }
}
