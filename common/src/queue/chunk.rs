//! A chunk of a master's children, on its way to Redis. [`super::fan_out`] makes them and hears the answers.

use std::sync::LazyLock;

use redis::{FromRedisValue, ParsingError, Value};

use super::{
    JobId, OnDeath,
    turn::{Lease, Turns},
};
use crate::kv::{KvError, Script};

static FAN_OUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "add children to a group",
        &[super::LIB, include_str!("lua/fan_out.lua")],
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

impl FromRedisValue for Answer {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (next, plan, left): (i64, String, u64) = FromRedisValue::from_redis_value(value)?;
        Ok(match next {
            -3 => Self::Gap,
            -2 => Self::Sealed { plan },
            -1 => Self::ClaimLost,
            next => Self::Added {
                next: next.unsigned_abs(),
                plan,
                left,
            },
        })
    }
}

/// A chunk, and what became of it.
pub(super) type Sent = (Chunk, Result<Answer, KvError>);

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
        call.arg(plan).arg(self.first).arg(&self.bodies);
        let reply = FAN_OUT.run(redis, &call).await;
        (self, reply)
    }
}
