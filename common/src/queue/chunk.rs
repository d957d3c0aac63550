//! A chunk of a master's children, on its way to Redis. [`super::fan_out`] makes them and hears the answers.

use std::sync::LazyLock;

use redis::{FromRedisValue, ParsingError, Value};

use super::{
    JobId, OnDeath,
    clock::Clock,
    turn::{Lease, Turns},
};
use crate::kv::{KvError, Script};

static FAN_OUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "add children to a group",
        &[
            super::OFTEN,
            "local function make_push_new()",
            super::LANED,
            "return push_new end",
            include_str!("lua/fan_out.lua"),
        ],
    )
});

/// Some children of a master, on their way to Redis.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub(super) turns: Turns,
    pub(super) master: JobId,
    /// The master's.
    pub(super) lease: Lease,
    pub(super) on_death: OnDeath,
    /// Index of the first.
    pub(super) first: u64,
    pub(super) bodies: Vec<String>,
    /// Whether the bodies begin with their time.
    pub(super) stamped: bool,
}

/// What Redis says of a chunk.
#[derive(Debug)]
pub(super) enum Answer {
    /// They are there, from now on or for long.
    Added {
        /// How many children Redis has.
        next: u64,
        /// The plan that holds, if one was sent.
        plan: String,
        /// Children that have not settled.
        left: u64,
    },
    /// The group takes no more.
    Sealed {
        /// As above.
        plan: String,
    },
    /// The master's claim is no longer this worker's.
    ClaimLost,
    /// The children before these are not there.
    Gap,
}

impl FromRedisValue for Told {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (next, plan, left, now_ms): (i64, String, u64, u64) =
            FromRedisValue::from_redis_value(value)?;
        let answer = match next {
            -3 => Answer::Gap,
            -2 => Answer::Sealed { plan },
            -1 => Answer::ClaimLost,
            next => Answer::Added {
                next: next.unsigned_abs(),
                plan,
                left,
            },
        };
        let clock = Clock::shows(now_ms);
        Ok(Self { answer, clock })
    }
}

/// A chunk, and what became of it.
pub(super) type Sent = (Chunk, Result<Told, KvError>);

/// An answer, and Redis's clock when it was given.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) answer: Answer,
    pub(super) clock: Clock,
}

impl Chunk {
    /// Sends it; a plan too, if it is the first.
    pub(super) async fn send(self, plan: String) -> Sent {
        let policy = match self.on_death {
            OnDeath::Continue => "continue",
            OnDeath::Fail => "fail",
        };
        let Turns {
            redis,
            keys,
            worker,
            ..
        } = &self.turns;
        let mut call = FAN_OUT.on(keys.prefix());
        call.arg(worker)
            .arg(self.master)
            .arg(&self.lease)
            .arg(policy);
        call.arg(plan).arg(self.first).arg(u8::from(self.stamped));
        call.arg(&self.bodies);
        let reply = call.run(redis).await;
        (self, reply)
    }
}
