//! What goes wrong, and when: drawn from the seed before anything runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::RoomNumber;
use crate::{
    chaos::{schedule, seed::Dice},
    number::{float, whole},
};

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fault {
    /// A server is killed with signal 9.
    KillServer {
        /// Its place.
        slot: u16,
    },
    /// A server is stopped in order: it drains.
    StopServer {
        /// Its place.
        slot: u16,
    },
    /// A server is frozen (SIGSTOP), for longer than its lease or less long.
    FreezeServer {
        /// Its place.
        slot: u16,
        /// How long.
        ms: u64,
    },
    /// A worker is killed with signal 9.
    KillWorker {
        /// Its place.
        slot: u16,
    },
    /// A worker is stopped in order.
    StopWorker {
        /// Its place.
        slot: u16,
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
    /// Redis cuts all subscribers (CLIENT KILL TYPE pubsub).
    CutSubscribers,
    /// Redis cuts every other socket.
    CutAll,
    /// Postgres is stopped at once and started again.
    PostgresStop {
        /// How long it is away.
        ms: u64,
    },
    /// All sockets of one server's clients are cut.
    CutClients {
        /// Its place.
        slot: u16,
    },
    /// Somebody deletes a key of a room by hand.
    DeleteKey {
        /// Whose.
        room: RoomNumber,
        /// Which.
        part: Part,
    },
}

/// A key of a room that may be deleted without a message being lost for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// The log, if all of it is archived.
    Log,
    /// What is known of the log.
    Meta,
    /// Both, if all is archived: as if the room had expired.
    Both,
    /// Who is there.
    Members,
    /// The room's place among those that are to be flushed.
    Dirty,
    /// The log of any clean room that is just coming back.
    HalfLog,
    /// The meta of one.
    HalfMeta,
    /// That a flush is under way.
    Flushing,
    /// That a rehydration is.
    Hydrating,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::Log,
        Self::Meta,
        Self::Both,
        Self::Members,
        Self::Dirty,
        Self::HalfLog,
        Self::HalfMeta,
        Self::Flushing,
        Self::Hydrating,
    ];
}

impl Fault {
    /// What it is called in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KillServer { .. } => "server killed",
            Self::StopServer { .. } => "server drained",
            Self::FreezeServer { .. } => "server frozen",
            Self::KillWorker { .. } => "worker killed",
            Self::StopWorker { .. } => "worker stopped in order",
            Self::RedisShutdown { .. } => "Redis shut down",
            Self::RedisKill { .. } => "Redis killed",
            Self::RedisFreeze { .. } => "Redis frozen",
            Self::CutSubscribers => "subscribers cut",
            Self::CutAll => "all sockets to Redis cut",
            Self::PostgresStop { .. } => "Postgres stopped",
            Self::CutClients { .. } => "clients' sockets cut",
            Self::DeleteKey { part, .. } => match part {
                Part::Log => "log of a clean room deleted",
                Part::Meta => "meta of a room deleted",
                Part::Both => "log and meta of a clean room deleted",
                Part::Members => "members of a room deleted",
                Part::Dirty => "dirty mark of a room deleted",
                Part::HalfLog | Part::HalfMeta => "key of a room deleted while it came back",
                Part::Flushing | Part::Hydrating => "mark of a job under way deleted",
            },
        }
    }

    /// Whether Redis is away meanwhile.
    pub(super) fn is_of_redis(self) -> bool {
        matches!(
            self,
            Self::RedisShutdown { .. }
                | Self::RedisKill { .. }
                | Self::RedisFreeze { .. }
                | Self::CutSubscribers
                | Self::CutAll
        )
    }
}

/// How much is to go wrong, on whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Over how long.
    pub(super) time: Duration,
    /// Places of servers.
    pub(super) servers: u16,
    /// Places of workers.
    pub(super) workers: u16,
    /// Rooms.
    pub(super) rooms: u16,
}

/// A fault and its time.
pub(super) type Step = schedule::Step<Fault>;

/// A run of this time has as many of each as [`draw`] says; a shorter one has fewer, but one of each.
pub(super) const FULL: Duration = Duration::from_secs(360);

/// All that goes wrong in a run, by time.
pub(super) fn schedule(seed: u64, extent: &Extent) -> Vec<Step> {
    let mut dice = Dice::new(seed, &[u64::MAX - 2]);
    let faults = draw(&mut dice, extent);
    schedule::deal(&mut dice, faults, extent.time)
}

fn draw(dice: &mut Dice, extent: &Extent) -> Vec<Fault> {
    let share = (extent.time.as_secs_f64() / FULL.as_secs_f64()).max(0.08);
    let times = |in_full: u64| whole((float(in_full) * share).round()).max(1);
    let mut faults = Vec::new();
    for _ in 0..times(80) {
        let (server, worker) = (slot(dice, extent.servers), slot(dice, extent.workers));
        faults.push(Fault::KillServer { slot: server });
        faults.push(Fault::KillWorker { slot: worker });
    }
    for _ in 0..times(25) {
        let (server, worker) = (slot(dice, extent.servers), slot(dice, extent.workers));
        faults.push(Fault::StopServer { slot: server });
        faults.push(Fault::StopWorker { slot: worker });
        let slot = slot(dice, extent.servers);
        faults.push(Fault::CutClients { slot });
        faults.push(Fault::CutSubscribers);
    }
    for n in 0..times(12) {
        let slot = slot(dice, extent.servers);
        // Every other one outlasts the lease.
        let ms = if n.is_multiple_of(2) {
            dice.between(3_000, 4_500)
        } else {
            dice.between(300, 1_500)
        };
        faults.push(Fault::FreezeServer { slot, ms });
        let ms = dice.between(1_000, 6_000);
        faults.push(Fault::PostgresStop { ms });
        let ms = dice.between(100, 1_500);
        faults.push(Fault::RedisKill { ms });
        faults.push(Fault::CutAll);
    }
    for _ in 0..times(10) {
        let ms = dice.between(100, 1_500);
        faults.push(Fault::RedisShutdown { ms });
        let ms = dice.between(300, 4_000);
        faults.push(Fault::RedisFreeze { ms });
    }
    let deletions = Part::ALL.into_iter().cycle();
    for part in deletions.take(crate::number::length(times(108).max(9))) {
        let room = slot(dice, extent.rooms);
        faults.push(Fault::DeleteKey { room, part });
    }
    faults
}

fn slot(dice: &mut Dice, slots: u16) -> u16 {
    u16::try_from(dice.below(u64::from(slots))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENT: Extent = Extent {
        time: Duration::from_secs(20),
        servers: 2,
        workers: 2,
        rooms: 6,
    };

    #[test]
    fn a_seed_determines_the_schedule() {
        assert_eq!(schedule(5, &EXTENT), schedule(5, &EXTENT));
        assert_ne!(schedule(5, &EXTENT), schedule(6, &EXTENT));
    }

    #[test]
    fn a_schedule_has_each_kind_of_fault_however_short() {
        let steps = schedule(5, &EXTENT);

        let kinds: std::collections::HashSet<_> =
            steps.iter().map(|step| step.fault.name()).collect();
        assert_eq!(kinds.len(), 19, "{kinds:?}");
        assert!(steps.is_sorted_by_key(|step| step.at));
    }
}
