//! What passes between a process and Redis, as far as the faults and the checks must know it.
//!
//! With [`super::lease`] this is all that knows the queue's scripts, and it knows little: a script is
//! recognised by its text when it is loaded, and of arguments it looks at the few named here.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use common::queue::JobId;

use super::{
    lease::{Settlement, is_lease, read_answer, settlements},
    point::Point,
};
use crate::chaos::proxy::resp::Value;

/// The queue's scripts that matter here, each with its text without what the scripts share.
const SCRIPTS: [(Script, &str); 12] = [
    (
        Script::Turn,
        include_str!("../../../../common/src/queue/lua/turn.lua"),
    ),
    (
        Script::Held,
        include_str!("../../../../common/src/queue/lua/held.lua"),
    ),
    (
        Script::Enqueue,
        include_str!("../../../../common/src/queue/lua/enqueue_one.lua"),
    ),
    (
        Script::EnqueueLaned,
        include_str!("../../../../common/src/queue/lua/enqueue_laned.lua"),
    ),
    (
        Script::Enqueue,
        include_str!("../../../../common/src/queue/lua/enqueue.lua"),
    ),
    (
        Script::Schedule,
        include_str!("../../../../common/src/queue/lua/schedule.lua"),
    ),
    (
        Script::FanOut,
        include_str!("../../../../common/src/queue/lua/fan_out.lua"),
    ),
    (
        Script::Seal,
        include_str!("../../../../common/src/queue/lua/seal.lua"),
    ),
    (
        Script::Overdue,
        include_str!("../../../../common/src/queue/lua/overdue.lua"),
    ),
    (
        Script::Reap,
        include_str!("../../../../common/src/queue/lua/reap.lua"),
    ),
    (
        Script::Sweep,
        include_str!("../../../../common/src/queue/lua/sweep.lua"),
    ),
    (
        Script::Beat,
        include_str!("../../../../common/src/queue/lua/beat.lua"),
    ),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Turn,
    Held,
    Enqueue,
    EnqueueLaned,
    Schedule,
    FanOut,
    Seal,
    Overdue,
    Reap,
    Sweep,
    Beat,
}

/// A command, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// BRPOP.
    Pop,
    /// Settles these and may claim; `popped` if it names an id that BRPOP gave.
    Turn {
        /// The settlements.
        settles: Vec<Settlement>,
        /// Whether a popped id is among what it claims.
        popped: bool,
    },
    /// Asks what a worker holds: itself, or a dead one that it takes from.
    Held {
        /// Which, by the identity that it has in Redis.
        worker: String,
    },
    /// Pushes jobs.
    Enqueue {
        /// How many.
        jobs: usize,
    },
    /// Stores jobs for later.
    Schedule,
    /// Adds a chunk of children; `later` if it is not the first.
    Chunk {
        /// Whether children were sent before.
        later: bool,
    },
    /// Seals a group.
    Seal,
    /// Pushes what is due.
    Overdue,
    /// Gives a dead worker's jobs back; `some` if there are any.
    Reap {
        /// Whether there are.
        some: bool,
    },
    /// Looks for lost pops; `again` if it lists some again.
    Sweep {
        /// Whether it does.
        again: bool,
    },
    /// The heartbeat.
    Beat {
        /// Whose, by the identity that it has in Redis.
        worker: String,
    },
    /// Anything else.
    Other,
}

/// What an answer brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Brought {
    /// What the worker holds from now on, each with its lease.
    pub(super) claimed: Vec<(JobId, String)>,
    /// The settlements that were carried out.
    pub(super) settled: Vec<Settlement>,
    /// What BRPOP popped.
    pub(super) popped: Option<JobId>,
    /// How many jobs were pushed or stored for later.
    pub(super) accepted: usize,
}

/// Understands what passes. Knows a script once it has seen it loaded.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    scripts: Mutex<HashMap<String, Script>>,
}

impl Traffic {
    /// Understands a command.
    pub(super) fn read(&self, command: &Value<'_>) -> Command {
        let words: Vec<&str> = command.parts().iter().map(Value::text).collect();
        let Some(name) = words.first() else {
            return Command::Other;
        };
        match name.to_ascii_uppercase().as_str() {
            "BRPOP" => Command::Pop,
            "SCRIPT" => {
                self.learn(words.get(2).copied().unwrap_or_default());
                Command::Other
            }
            "EVALSHA" if words.len() > 4 => {
                let known = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
                // Name, hash, number of keys, the namespace: then the script's own arguments.
                known
                    .get(words[1])
                    .map_or(Command::Other, |script| understand(*script, &words[4..]))
            }
            _ => Command::Other,
        }
    }

    fn learn(&self, text: &str) {
        let Some((script, _)) = SCRIPTS.iter().find(|(_, own)| text.ends_with(own)) else {
            return;
        };
        let hash = redis::Script::new(text).get_hash().to_owned();
        let mut known = self.scripts.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(hash, *script);
    }
}

fn understand(script: Script, args: &[&str]) -> Command {
    match script {
        Script::Turn => Command::Turn {
            settles: settlements(args),
            popped: args.contains(&"take"),
        },
        Script::Held => Command::Held {
            worker: args[0].to_owned(),
        },
        // The queue, and whether the bodies have their time.
        Script::Enqueue => Command::Enqueue {
            jobs: args.len().saturating_sub(2),
        },
        Script::EnqueueLaned => Command::Enqueue {
            jobs: args.len() - 1,
        },
        Script::Schedule => Command::Schedule,
        // The index of the chunk's first child.
        Script::FanOut => Command::Chunk {
            later: args.get(5).is_some_and(|first| *first != "0"),
        },
        Script::Seal => Command::Seal,
        Script::Overdue => Command::Overdue,
        Script::Reap => Command::Reap {
            some: args.iter().any(|text| is_lease(text)),
        },
        Script::Sweep => Command::Sweep {
            again: args.len() > 1,
        },
        Script::Beat => Command::Beat {
            worker: args[0].to_owned(),
        },
    }
}

impl Command {
    /// The points that a process passes with this command, before Redis has it.
    pub(super) fn before(&self) -> Vec<Point> {
        match self {
            Self::Enqueue { .. } => vec![Point::BeforeEnqueue],
            Self::Turn { settles, popped } => {
                let settle = (!settles.is_empty()).then_some(Point::BeforeSettle);
                let claim = popped.then_some(Point::BeforeClaim);
                settle.into_iter().chain(claim).collect()
            }
            Self::Chunk { later: true } => vec![Point::MidSplit],
            Self::Seal => vec![Point::BeforeSeal],
            Self::Reap { some: true } => vec![Point::BeforeReap],
            Self::Sweep { again: true } => vec![Point::BeforeSweep],
            _ => Vec::new(),
        }
    }

    /// The points that it passes when Redis has carried it out with this answer.
    pub(super) fn during(&self, answer: &Value<'_>, brought: &Brought) -> Vec<Point> {
        if matches!(answer, Value::Error(_)) {
            return Vec::new();
        }
        match self {
            Self::Enqueue { .. } => vec![Point::DuringEnqueue],
            Self::Schedule => vec![Point::DuringSchedule],
            Self::Pop if brought.popped.is_some() => vec![Point::AfterPop],
            Self::Turn { settles, .. } => {
                let settle = (!settles.is_empty()).then_some(Point::DuringSettle);
                let claim = (!brought.claimed.is_empty()).then_some(Point::AfterClaim);
                settle.into_iter().chain(claim).collect()
            }
            Self::Chunk { .. } => vec![Point::DuringSplit],
            Self::Seal => vec![Point::DuringSeal],
            Self::Overdue if !matches!(answer.parts().first(), Some(Value::Integer(0)) | None) => {
                vec![Point::DuringPromotion]
            }
            Self::Reap { some: true } => vec![Point::DuringReap],
            Self::Sweep { again: true } => vec![Point::DuringSweep],
            Self::Beat { .. } => vec![Point::DuringBeat],
            _ => Vec::new(),
        }
    }

    /// What an answer to this command brought.
    pub(super) fn brought(self, answer: &Value<'_>) -> (Self, Brought) {
        let mut brought = Brought::default();
        if matches!(answer, Value::Error(_)) {
            return (self, brought);
        }
        match &self {
            Self::Turn { settles, .. } => {
                let (claimed, refused) = read_answer(answer);
                let carried_out = settles.iter().filter(|(id, ..)| !refused.contains(id));
                brought.settled = carried_out.cloned().collect();
                brought.claimed = claimed;
            }
            Self::Held { .. } => brought.claimed = read_answer(answer).0,
            Self::Pop => {
                let id = answer.parts().get(1).map(Value::text);
                brought.popped = id.and_then(|id| id.parse().ok());
            }
            Self::Enqueue { jobs } => brought.accepted = *jobs,
            Self::Schedule => brought.accepted = answer.parts().len(),
            _ => {}
        }
        (self, brought)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_understood_once_its_script_was_loaded() {
        let traffic = Traffic::default();
        let script = format!("-- shared\n{}", SCRIPTS[0].1);
        let hash = redis::Script::new(&script).get_hash().to_owned();
        let turn = [
            "EVALSHA", &hash, "1", "{x}:", "me", "6000", "1", "done", "high-3", "1@99", "",
        ];
        let turn =
            Value::of_texts(&[&turn[..], &["", "", "0", "", "", "low-1", "take", "5"]].concat());

        assert_eq!(traffic.read(&turn), Command::Other);
        traffic.read(&Value::of_texts(&["SCRIPT", "LOAD", &script]));
        let command = traffic.read(&turn);

        let settled = (
            "high-3".parse().unwrap(),
            "1@99".to_owned(),
            "done".to_owned(),
        );
        assert_eq!(
            command,
            Command::Turn {
                settles: vec![settled.clone()],
                popped: true
            }
        );
        assert_eq!(command.before(), [Point::BeforeSettle, Point::BeforeClaim]);
        let answer = Value::List(vec![
            Value::of_texts(&[]),
            Value::of_texts(&["low-1", "2#123", "1 1", "{}"]),
        ]);
        let (command, brought) = command.brought(&answer);
        assert_eq!(brought.settled, [settled]);
        assert_eq!(
            brought.claimed,
            [("low-1".parse().unwrap(), "2#123".to_owned())]
        );
        assert_eq!(
            command.during(&answer, &brought),
            [Point::DuringSettle, Point::AfterClaim]
        );
    }

    #[test]
    fn every_job_of_a_bulk_counts() {
        let traffic = Traffic::default();
        let script = include_str!("../../../../common/src/queue/lua/enqueue.lua");
        let hash = redis::Script::new(script).get_hash().to_owned();
        traffic.read(&Value::of_texts(&["SCRIPT", "LOAD", script]));
        let bulk = ["EVALSHA", &hash, "1", "{x}:", "low", "0", "{}", "{}", "{}"];

        let command = traffic.read(&Value::of_texts(&bulk));

        let (_, brought) = command.brought(&Value::of_texts(&["low-1", "1700000000000"]));
        assert_eq!(brought.accepted, 3);
    }

    #[test]
    fn a_settlement_that_was_refused_was_not_carried_out() {
        let settle = |id: &str| (id.parse().unwrap(), "1@9".to_owned(), "done".to_owned());
        let command = Command::Turn {
            settles: vec![settle("low-1"), settle("low-2")],
            popped: false,
        };
        let answer = Value::List(vec![Value::of_texts(&["low-1"]), Value::of_texts(&[])]);

        let (_, brought) = command.brought(&answer);
        assert_eq!(brought.settled, [settle("low-2")]);
    }
}
