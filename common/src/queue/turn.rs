//! The turn: one script settles what a worker finished and claims what it runs next. It is the only
//! way to a claim. Before this, [`super::consume`] decided what to ask for; next, [`super::run`].

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use redis::{FromRedisValue, ParsingError, RedisWrite, ToRedisArgs, ToSingleRedisArg, Value};

use super::{
    JobId, Queue,
    enqueue::millis,
    limits::Demand,
    pause::known_queues,
    settle::{Settlement, write_all},
};
use crate::{
    id::BootId,
    kv::{Keys, KvError, Redis, Script},
};

static TURN: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "settle and claim jobs",
        &[
            super::TURN_HEAD,
            "local function make_seldom(turn)",
            super::SELDOM,
            "end",
            include_str!("lua/turn.lua"),
        ],
    )
});
static HELD: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "read what a worker holds",
        &[super::LIB, include_str!("lua/held.lua")],
    )
});

/// The fence of a claim: `<attempt>@<claimed at, µs>`. Jobs that one pop took share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lease(Arc<str>);

impl Lease {
    /// The number of the attempt, from 1.
    pub(super) fn attempt(&self) -> u32 {
        let digits = self.0.split(['@', '#', '!']).next().unwrap_or_default();
        digits.parse().unwrap_or(1)
    }

    /// Whether earlier attempts are on record, to be forgotten when the job is done.
    pub(super) fn has_record(&self) -> bool {
        self.0.contains('#')
    }

    /// Whether it reads so.
    pub(super) fn is(&self, text: &str) -> bool {
        &*self.0 == text
    }

    /// When the job was claimed, by Redis's clock: ms since 1970.
    pub(super) fn claimed_ms(&self) -> u64 {
        let micros = self.0.split(['@', '#']).nth(1);
        micros.and_then(|us| us.parse::<u64>().ok()).unwrap_or(0) / 1000
    }
}

impl From<&str> for Lease {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl ToRedisArgs for Lease {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(self.0.as_bytes());
    }
}

impl ToSingleRedisArg for Lease {}

/// A job that this worker may run, and nobody else, until it settles it or stops beating.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) id: JobId,
    pub(super) lease: Lease,
    /// How many workers it has taken down.
    pub(super) deaths: u32,
    /// Empty if there is none.
    pub(super) body: Vec<u8>,
}

/// What to do with an id that BRPOP popped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Popped {
    /// Claim it, if it waits.
    Take(JobId),
    /// There is no slot for it: list it again.
    Back(JobId),
}

/// What a turn brought.
#[derive(Debug, Default)]
pub(super) struct TurnReply {
    /// Jobs whose settlement was refused, because the claim was no longer this worker's.
    pub(super) refused: Vec<JobId>,
    pub(super) claimed: Vec<Claimed>,
    /// Queues that are paused: nothing was taken from them.
    pub(super) paused: Vec<Queue>,
}

/// Takes turns for one worker.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    pub(super) worker: BootId,
    pub(super) time_to_live: Duration,
    /// How many workers a job may take down before it is buried.
    pub(super) max_deaths: u32,
}

#[cfg(test)]
impl Turns {
    /// Turns of a worker of a test's own, which lives for long enough.
    pub(super) fn on(queue: &crate::testing::TestQueue) -> Self {
        Self {
            redis: queue.redis.clone(),
            keys: queue.keys.clone(),
            worker: BootId::fresh(),
            time_to_live: Duration::from_secs(9),
            max_deaths: 3,
        }
    }
}

impl Turns {
    /// Settles `settlements` and claims up to the given number from each queue, in that order. If it
    /// fails, whether it happened is not known: settling again is harmless, and claims that were made
    /// are found by [`Self::held`].
    pub(super) async fn take(
        &self,
        settlements: &[Settlement],
        popped: Option<Popped>,
        demand: &Demand,
    ) -> Result<TurnReply, KvError> {
        let mut call = TURN.on(self.keys.prefix());
        call.arg(self.worker)
            .arg(millis(self.time_to_live))
            .arg(self.max_deaths);
        write_all(settlements, self.worker, &mut call);
        match popped {
            None => call.arg("").arg(""),
            Some(Popped::Take(id)) => call.arg(id).arg("take"),
            Some(Popped::Back(id)) => call.arg(id).arg("back"),
        };
        call.arg(demand.words());
        call.run(&self.redis).await
    }

    /// What Redis says that this worker holds.
    pub(super) async fn held(&self) -> Result<Vec<Claimed>, KvError> {
        held_by(&self.redis, &self.keys, self.worker).await
    }
}

/// What a worker holds, dead or alive.
pub(super) async fn held_by(
    redis: &Redis,
    keys: &Keys,
    worker: BootId,
) -> Result<Vec<Claimed>, KvError> {
    let mut call = HELD.on(keys.prefix());
    call.arg(worker);
    let held: OnRecord = call.run(redis).await?;
    Ok(held.0)
}

/// Claims as the scripts return them: id, lease, `<attempts> <deaths>` so far, body, and so on.
#[derive(Default)]
struct OnRecord(Vec<Claimed>);

impl FromRedisValue for OnRecord {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let fields = Vec::<Vec<u8>>::from_redis_value(value)?;
        let mut claims = Vec::with_capacity(fields.len() / 4);
        let mut fields = fields.into_iter();
        while let (Some(id), Some(lease), Some(before), Some(body)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        {
            let before = text(&before)?;
            let deaths = before.split(' ').nth(1).and_then(|n| n.parse().ok());
            claims.push(Claimed {
                id: job_id(&id)?,
                lease: text(&lease)?.into(),
                deaths: deaths.unwrap_or(0),
                body,
            });
        }
        Ok(Self(claims))
    }
}

/// Claims of jobs that were never claimed before: a lease, the ids that share it, their bodies.
type FirstTime = (String, Vec<JobId>, Vec<Vec<u8>>);

fn first_time((lease, ids, bodies): FirstTime) -> impl Iterator<Item = Claimed> {
    let lease = Lease::from(&*lease);
    ids.into_iter().zip(bodies).map(move |(id, body)| Claimed {
        id,
        lease: lease.clone(),
        deaths: 0,
        body,
    })
}

/// What `turn.lua` answers, if `turn_alone.lua` did not.
type Whole = (
    Option<Vec<JobId>>,
    Option<Vec<FirstTime>>,
    Option<OnRecord>,
    Option<Vec<String>>,
);

impl FromRedisValue for TurnReply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        if matches!(&value, Value::Array(parts) if parts.len() == 3) {
            let (id, lease, body): (_, String, _) = FromRedisValue::from_redis_value(value)?;
            let alone = Claimed {
                id,
                lease: Lease::from(&*lease),
                deaths: 0,
                body,
            };
            return Ok(Self {
                claimed: vec![alone],
                ..Self::default()
            });
        }
        if value == Value::Nil {
            return Ok(Self::default());
        }
        let (refused, firsts, again, paused): Whole = FromRedisValue::from_redis_value(value)?;
        let firsts = firsts.unwrap_or_default().into_iter();
        let mut claimed: Vec<_> = firsts.flat_map(first_time).collect();
        claimed.extend(again.unwrap_or_default().0);
        Ok(Self {
            refused: refused.unwrap_or_default(),
            claimed,
            paused: known_queues(&paused.unwrap_or_default()),
        })
    }
}

fn job_id(bytes: &[u8]) -> Result<JobId, ParsingError> {
    text(bytes)?
        .parse()
        .map_err(|error| format!("{error}").into())
}

fn text(bytes: &[u8]) -> Result<&str, ParsingError> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string().into())
}
