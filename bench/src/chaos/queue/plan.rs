//! The plan: what each job is to do. A job carries a key and nothing else; the key and the seed tell
//! the rest, to the one who runs it and to the one who checks what became of it.

use std::{fmt, str::FromStr};

use anyhow::Context;
use common::queue::{OnDeath, Queue};
use serde::{Deserialize, Serialize};

use crate::chaos::seed::Dice;

/// A job's name in this run, given before it is enqueued: `p0.3-17` is the 17th of producer 0's third
/// life, `p0.3-17/5` its fifth child, `p0.3-17/then` what follows its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// The producer's place.
    pub(super) slot: u16,
    /// Which producer in that place.
    pub(super) life: u32,
    /// Counted from 0 by each.
    pub(super) number: u32,
    /// Which part of it.
    pub(super) part: Part,
}

/// A part of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    /// What was enqueued.
    Whole,
    /// A child, counted from 0.
    Child(u32),
    /// What follows its group.
    Then,
}

impl Key {
    /// Another part of the same job.
    pub(super) fn part(self, part: Part) -> Self {
        Self { part, ..self }
    }

    /// The key `further` places on.
    pub(super) fn after(self, further: u32) -> Self {
        Self {
            number: self.number + further,
            ..self
        }
    }

    fn dice(self, seed: u64) -> Dice {
        let part = match self.part {
            Part::Whole => 0,
            Part::Then => 1,
            Part::Child(n) => 2 + u64::from(n),
        };
        let own = [
            u64::from(self.slot),
            u64::from(self.life),
            u64::from(self.number),
            part,
        ];
        Dice::new(seed, &own)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}.{}-{}", self.slot, self.life, self.number)?;
        match self.part {
            Part::Whole => Ok(()),
            Part::Child(n) => write!(f, "/{n}"),
            Part::Then => f.write_str("/then"),
        }
    }
}

impl FromStr for Key {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (whole, part) = text.split_once('/').unwrap_or((text, ""));
            let (producer, number) = whole.strip_prefix('p')?.split_once('-')?;
            let (slot, life) = producer.split_once('.')?;
            Some(Self {
                slot: slot.parse().ok()?,
                life: life.parse().ok()?,
                number: number.parse().ok()?,
                part: match part {
                    "" => Part::Whole,
                    "then" => Part::Then,
                    n => Part::Child(n.parse().ok()?),
                },
            })
        };
        parse().with_context(|| format!("`{text}` is no key of this run"))
    }
}

impl Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// Works for so many ms, and is done.
    Work(u64),
    /// Fails in this many attempts, then is done.
    Fails(u32),
    /// Fails for good at once.
    Fatal,
    /// Fails in every attempt.
    Hopeless,
    /// Takes its worker down, each time.
    Poison,
    /// Splits into a group.
    Master(Group),
    /// Follows the group of the job of this number.
    Follow,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// How many children.
    pub(super) children: u32,
    /// What becomes of it if one dies.
    pub(super) on_death: OnDeath,
    /// The children that are to die.
    pub(super) doomed: Vec<u32>,
}

/// How a job is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It is done.
    Done,
    /// It is dead, by its own fault.
    Dead,
    /// It is dead after it has taken down as many workers as it may.
    Poison,
}

/// What all jobs of a run do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Of the run.
    pub(super) seed: u64,
}

/// Longer than a worker's default time to live: such a job must not be taken for a dead worker's.
const LONG_MS: (u64, u64) = (7_000, 9_000);
/// Every so many lives of the first producer make one poison job.
const POISON_LIVES: u32 = 8;
/// Which of its jobs that is.
const POISON_NUMBER: u32 = 40;

impl Plan {
    /// What a job does.
    pub(super) fn deed(self, key: Key) -> Deed {
        let mut dice = key.dice(self.seed);
        match key.part {
            Part::Then => Deed::Follow,
            Part::Child(n) => {
                let Deed::Master(group) = self.deed(key.part(Part::Whole)) else {
                    return Deed::Work(0);
                };
                match dice.below(100) {
                    _ if group.doomed.contains(&n) => Deed::Fatal,
                    0..5 => Deed::Fails(1),
                    _ => Deed::Work(short(&mut dice)),
                }
            }
            Part::Whole if is_poison(key) => Deed::Poison,
            Part::Whole => match dice.below(10_000) {
                0..50 => Deed::Master(group(&mut dice)),
                50..70 => Deed::Work(dice.between(LONG_MS.0, LONG_MS.1)),
                70..120 => Deed::Fatal,
                120..150 => Deed::Hopeless,
                150..750 => Deed::Fails(u32::try_from(dice.between(1, 3)).unwrap_or(1)),
                _ => Deed::Work(short(&mut dice)),
            },
        }
    }

    /// How a job is to end. What follows a group is done, unless the group is to fail.
    pub(super) fn end(self, key: Key) -> End {
        match self.deed(key) {
            Deed::Work(_) | Deed::Fails(_) | Deed::Master(_) => End::Done,
            Deed::Fatal | Deed::Hopeless => End::Dead,
            Deed::Poison => End::Poison,
            Deed::Follow => match self.deed(key.part(Part::Whole)) {
                Deed::Master(group) if group.fails() => End::Dead,
                _ => End::Done,
            },
        }
    }
}

impl Group {
    /// Whether what follows it is to be dead.
    pub(super) fn fails(&self) -> bool {
        self.on_death == OnDeath::Fail && !self.doomed.is_empty()
    }
}

fn is_poison(key: Key) -> bool {
    key.slot == 0 && key.life % POISON_LIVES == 1 && key.number == POISON_NUMBER
}

/// Most jobs take no time, some a little.
fn short(dice: &mut Dice) -> u64 {
    if dice.below(5) == 0 {
        dice.between(1, 25)
    } else {
        0
    }
}

fn group(dice: &mut Dice) -> Group {
    // Some need several chunks, so that a master can die half way through its split.
    let children = if dice.below(6) == 0 {
        dice.between(600, 1300)
    } else {
        dice.between(0, 30)
    };
    let doomed = if dice.below(10) < 4 && children > 0 {
        dice.between(1, 2)
    } else {
        0
    };
    let mut doomed: Vec<u32> = (0..doomed)
        .filter_map(|_| u32::try_from(dice.below(children)).ok())
        .collect();
    doomed.sort_unstable();
    doomed.dedup();
    Group {
        children: u32::try_from(children).unwrap_or(0),
        on_death: dice.pick(&[OnDeath::Continue, OnDeath::Fail]),
        doomed,
    }
}

/// What a producer does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// How many jobs it enqueues in one call.
    pub(super) jobs: u32,
    /// Where.
    pub(super) queue: Queue,
    /// After how many ms they may run.
    pub(super) in_ms: Option<u64>,
}

impl Plan {
    /// What a producer enqueues in the call that begins with this key.
    pub(super) fn order(self, first: Key) -> Order {
        let mut dice = Dice::new(first.dice(self.seed).next(), &[u64::MAX]);
        let jobs = if dice.below(100) < 2 {
            dice.between(5, 200)
        } else {
            1
        };
        Order {
            jobs: u32::try_from(jobs).unwrap_or(1),
            queue: dice.pick(&[Queue::High, Queue::Default, Queue::Default, Queue::Low]),
            in_ms: (dice.below(8) == 0).then(|| dice.between(20, 3000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32, part: Part) -> Key {
        Key {
            slot: 0,
            life: 3,
            number,
            part,
        }
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        for text in ["p0.3-17", "p1.2-0/5", "p0.3-17/then"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        assert!("p0-1".parse::<Key>().is_err());
    }

    #[test]
    fn a_thousand_jobs_are_of_all_kinds() {
        let plan = Plan { seed: 1 };
        let deeds: Vec<_> = (0..4000).map(|n| plan.deed(key(n, Part::Whole))).collect();
        let has = |fits: fn(&Deed) -> bool| deeds.iter().any(fits);

        assert!(has(|deed| matches!(deed, Deed::Work(0))));
        assert!(has(|deed| matches!(deed, Deed::Work(7000..))));
        assert!(has(|deed| matches!(deed, Deed::Fails(3))));
        assert!(has(|deed| matches!(deed, Deed::Fatal)));
        assert!(has(|deed| matches!(deed, Deed::Hopeless)));
        assert!(has(
            |deed| matches!(deed, Deed::Master(group) if group.children > 500)
        ));
        assert!(has(
            |deed| matches!(deed, Deed::Master(group) if group.fails())
        ));
    }

    #[test]
    fn what_follows_a_group_is_dead_exactly_if_the_group_fails() {
        let plan = Plan { seed: 1 };
        for number in 0..4000 {
            let Deed::Master(group) = plan.deed(key(number, Part::Whole)) else {
                continue;
            };
            let end = if group.fails() { End::Dead } else { End::Done };
            assert_eq!(plan.end(key(number, Part::Then)), end);
            for child in &group.doomed {
                assert_eq!(plan.end(key(number, Part::Child(*child))), End::Dead);
            }
        }
    }
}
