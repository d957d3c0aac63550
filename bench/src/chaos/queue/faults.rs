//! What goes wrong, and when: drawn from the seed before anything runs.

use std::time::Duration;

use common::queue::Queue;
use serde::{Deserialize, Serialize};

use super::point::{Act, Point};
use crate::{
    chaos::{schedule, seed::Dice},
    number::{count, float, whole},
};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    /// Whoever passes this point next is hit.
    Ambush {
        /// Where.
        at: Point,
        /// How.
        act: Act,
    },
    /// A worker is killed at a moment of no meaning.
    KillWorker {
        /// Its place.
        slot: u16,
    },
    /// A producer is.
    KillProducer {
        /// Its place.
        slot: u16,
    },
    /// A worker is stopped in order, as a deployment does it.
    StopWorker {
        /// Its place.
        slot: u16,
    },
    /// A worker is frozen (SIGSTOP): alive, and it does nothing.
    FreezeWorker {
        /// Its place.
        slot: u16,
        /// How long.
        ms: u64,
    },
    /// A worker's network is a black hole.
    IsolateWorker {
        /// Its place.
        slot: u16,
        /// How long.
        ms: u64,
    },
    /// Everybody's network is.
    BlackHole {
        /// How long.
        ms: u64,
    },
    /// Redis is shut down in order and started again.
    RedisShutdown {
        /// How long it is away.
        ms: u64,
    },
    /// Redis is killed with signal 9 and started again.
    RedisKill {
        /// How long it is away.
        ms: u64,
    },
    /// Redis is frozen (SIGSTOP).
    RedisFreeze {
        /// How long.
        ms: u64,
    },
    /// Redis cuts every socket (CLIENT KILL).
    CutAll,
    /// Somebody deletes a queue's list by hand.
    DeleteList {
        /// Whose.
        queue: Queue,
    },
}

impl Fault {
    /// What it is called in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ambush { .. } => "ambush",
            Self::KillWorker { .. } => "worker killed at any moment",
            Self::KillProducer { .. } => "producer killed at any moment",
            Self::StopWorker { .. } => "worker stopped in order",
            Self::FreezeWorker { .. } => "worker frozen",
            Self::IsolateWorker { .. } => "worker in a black hole",
            Self::BlackHole { .. } => "all in a black hole",
            Self::RedisShutdown { .. } => "Redis shut down",
            Self::RedisKill { .. } => "Redis killed",
            Self::RedisFreeze { .. } => "Redis frozen",
            Self::CutAll => "all sockets cut",
            Self::DeleteList { .. } => "list deleted",
        }
    }

    /// Whether nobody can use Redis meanwhile, so that it is measured how soon all goes on.
    pub(super) fn is_outage(self) -> bool {
        matches!(
            self,
            Self::BlackHole { .. }
                | Self::RedisShutdown { .. }
                | Self::RedisKill { .. }
                | Self::RedisFreeze { .. }
                | Self::CutAll
        )
    }

    /// How long a worker that it silences is not heard.
    pub(super) fn silence(self) -> Option<Duration> {
        match self {
            Self::FreezeWorker { ms, .. } | Self::IsolateWorker { ms, .. } => {
                Some(Duration::from_millis(ms))
            }
            _ => None,
        }
    }
}

/// How much is to go wrong, on whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Processes killed, at least.
    pub(super) kills: u32,
    /// Over how long.
    pub(super) time: Duration,
    /// Places of workers.
    pub(super) workers: u16,
    /// Places of producers.
    pub(super) producers: u16,
}

/// A fault and its time.
pub(super) type Step = schedule::Step<Fault>;

/// All that goes wrong in a run, by time.
pub(super) fn schedule(seed: u64, extent: &Extent) -> Vec<Step> {
    let mut dice = Dice::new(seed, &[u64::MAX - 1]);
    let mut faults = kills(&mut dice, extent);
    faults.extend(cuts(&mut dice, extent.kills));
    faults.extend(others(&mut dice, extent));
    schedule::deal(&mut dice, faults, extent.time)
}

/// Three of four kills are at a point, each point in turn, and at each at least one; the others at any
/// moment. Some more than were asked for: a process may be gone when its time has come.
fn kills(dice: &mut Dice, extent: &Extent) -> Vec<Fault> {
    let wanted = u64::from(extent.kills) + u64::from(extent.kills / 10);
    let at_points = (wanted * 3 / 4).max(count(Point::ALL.len()));
    let points = Point::ALL
        .into_iter()
        .cycle()
        .take(crate::number::length(at_points));
    let mut faults: Vec<_> = points
        .map(|at| Fault::Ambush { at, act: Act::Kill })
        .collect();
    for _ in at_points..wanted {
        faults.push(if dice.below(3) == 0 {
            Fault::KillProducer {
                slot: slot(dice, extent.producers),
            }
        } else {
            Fault::KillWorker {
                slot: slot(dice, extent.workers),
            }
        });
    }
    faults
}

/// Connections that are cut, and answers that come late, at the points that a command passes.
fn cuts(dice: &mut Dice, kills: u32) -> Vec<Fault> {
    let mut points: Vec<_> = Point::ALL
        .into_iter()
        .filter(|at| !at.is_inside_the_job())
        .collect();
    let mut faults = Vec::new();
    for (act, share) in [(Act::Cut, 4), (Act::Late, 8)] {
        dice.shuffle(&mut points);
        let number = crate::number::length(u64::from(kills / share).max(3));
        let points = points.iter().cycle().take(number);
        faults.extend(points.map(|at| Fault::Ambush { at: *at, act }));
    }
    faults
}

/// What goes wrong with Redis, the network and whole workers.
fn others(dice: &mut Dice, extent: &Extent) -> Vec<Fault> {
    // So many in a run of 200 kills, one of each at least.
    let times = |in_full: u64| {
        let share = float(u64::from(extent.kills)) / 200.0 * float(in_full);
        whole(share.round()).max(1)
    };
    // Every other one, the first among them, lasts longer than a worker's time to live.
    let lasting = |dice: &mut Dice, n: u64| {
        if n.is_multiple_of(2) {
            dice.between(7_000, 8_500)
        } else {
            dice.between(500, 2_500)
        }
    };
    let mut faults = Vec::new();
    for n in 0..times(6) {
        let slot = slot(dice, extent.workers);
        faults.push(Fault::FreezeWorker {
            slot,
            ms: lasting(dice, n),
        });
    }
    for n in 0..times(6) {
        let slot = slot(dice, extent.workers);
        faults.push(Fault::IsolateWorker {
            slot,
            ms: lasting(dice, n),
        });
    }
    for n in 0..times(4) {
        faults.push(Fault::RedisFreeze {
            ms: lasting(dice, n),
        });
    }
    for n in 0..times(4) {
        faults.push(Fault::BlackHole {
            ms: lasting(dice, n + 1),
        });
    }
    for _ in 0..times(6) {
        faults.push(Fault::RedisShutdown {
            ms: dice.between(100, 1_500),
        });
    }
    for _ in 0..times(8) {
        faults.push(Fault::RedisKill {
            ms: dice.between(0, 1_500),
        });
    }
    for _ in 0..times(10) {
        faults.push(Fault::StopWorker {
            slot: slot(dice, extent.workers),
        });
        faults.push(Fault::CutAll);
        faults.push(Fault::DeleteList {
            queue: dice.pick(&Queue::ALL),
        });
    }
    faults
}

fn slot(dice: &mut Dice, slots: u16) -> u16 {
    u16::try_from(dice.below(u64::from(slots))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(kills: u32) -> Extent {
        Extent {
            kills,
            time: Duration::from_secs(40),
            workers: 5,
            producers: 2,
        }
    }

    #[test]
    fn a_seed_determines_the_schedule() {
        assert_eq!(schedule(5, &extent(50)), schedule(5, &extent(50)));
        assert_ne!(schedule(5, &extent(50)), schedule(6, &extent(50)));
    }

    #[test]
    fn a_schedule_has_each_kind_of_fault_and_each_point_however_short() {
        let steps = schedule(5, &extent(1));

        for at in Point::ALL {
            let fault = Fault::Ambush { at, act: Act::Kill };
            assert!(steps.iter().any(|step| step.fault == fault), "{at:?}");
        }
        let kinds: std::collections::HashSet<_> =
            steps.iter().map(|step| step.fault.name()).collect();
        assert!(kinds.len() >= 10, "{kinds:?}");
        assert!(steps.is_sorted_by_key(|step| step.at));
    }

    #[test]
    fn a_schedule_kills_as_many_as_were_asked_for() {
        let steps = schedule(5, &extent(200));
        let is_kill = |step: &&Step| {
            matches!(
                step.fault,
                Fault::Ambush { act: Act::Kill, .. }
                    | Fault::KillWorker { .. }
                    | Fault::KillProducer { .. }
            )
        };

        assert!(steps.iter().filter(is_kill).count() >= 200);
    }
}
