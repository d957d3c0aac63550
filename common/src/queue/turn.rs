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
        &[super::ENDS, super::CANCELS, include_str!("lua/turn.lua")],
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
        demand.write(&mut call);
        TURN.run(&self.redis, &call).await
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
    let held: OnRecord = HELD.run(redis, &call).await?;
    Ok(held.0)
}

/// Claims as the scripts return them: id, lease, `<attempts> <deaths>` so far, body, and so on.
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

impl FromRedisValue for TurnReply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (refused, firsts, again, paused): (_, Vec<FirstTime>, OnRecord, Vec<String>) =
            FromRedisValue::from_redis_value(value)?;
        let mut claimed: Vec<_> = firsts.into_iter().flat_map(first_time).collect();
        claimed.extend(again.0);
        Ok(Self {
            refused,
            claimed,
            paused: known_queues(&paused),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::value::RawValue;

    use super::*;
    use crate::{
        queue::{LIB, Options, Queue, settle::Verdict},
        testing::TestQueue,
    };

    async fn waiting(queue: &TestQueue, n: usize) {
        for _ in 0..n {
            let options = Options::default();
            let args = RawValue::NULL;
            let producer = queue.producer();
            producer
                .enqueue_raw("test.any", args, &options)
                .await
                .unwrap();
        }
    }

    fn wants(n: usize) -> Demand {
        Demand {
            order: vec![(Queue::Default, n)],
            free: n,
            ..Demand::default()
        }
    }

    #[tokio::test]
    async fn jobs_of_one_lease_may_end_one_by_one_and_each_once() {
        let queue = TestQueue::start();
        let turns = Turns::on(&queue);
        waiting(&queue, 12).await;
        let claimed = turns.take(&[], None, &wants(12)).await.unwrap().claimed;
        let leases: BTreeSet<_> = claimed.iter().map(|job| &job.lease).collect();
        assert_eq!((claimed.len(), leases.len()), (12, 1));
        let end = |n: usize| Settlement::of(claimed[n].id, &claimed[n].lease, Verdict::Done);
        let back = |n: usize| Settlement::of(claimed[n].id, &claimed[n].lease, Verdict::Back);
        let ids = |of: &[usize]| of.iter().map(|n| claimed[*n].id).collect::<Vec<_>>();

        // default-1 is the beginning of default-10 to 12, and stays.
        for (ends, refused) in [
            (vec![end(10), end(5)], vec![]),
            (vec![end(5), end(1), back(11)], vec![5]),
            (vec![end(11), end(9)], vec![11]),
        ] {
            let reply = turns.take(&ends, None, &Demand::default()).await.unwrap();
            assert_eq!(reply.refused, ids(&refused));
        }

        let held: Vec<_> = queue.held(turns.worker).await.into_keys().collect();
        assert_eq!(held, ids(&[0, 2, 3, 4, 6, 7, 8]));
        let of_another = Settlement::of(claimed[0].id, &Lease::from("1@5"), Verdict::Done);
        let mut ends: Vec<_> = [8, 0, 2, 3, 4, 6, 7].map(end).into();
        ends.push(of_another);
        let reply = turns.take(&ends, None, &wants(5)).await.unwrap();
        assert_eq!(reply.refused, ids(&[0]));
        assert_eq!(reply.claimed[0].id, claimed[11].id, "it was given back");
        let stats = queue.keys.stats();
        let done: u64 = queue.command(&["HGET", &stats, "completed:default"]).await;
        assert_eq!(done, 11);
    }

    #[tokio::test]
    async fn a_lease_that_a_clock_that_was_set_back_gives_out_again_loses_nothing() {
        let queue = TestQueue::start();
        let turns = Turns::on(&queue);
        waiting(&queue, 1).await;
        let first = turns.take(&[], None, &wants(1)).await.unwrap().claimed;
        let (id, lease) = (first[0].id, &first[0].lease);
        let script = format!("{LIB}\nhold(ARGV[1], ARGV[2], {{ ARGV[3] }})");
        let _: () = redis::Script::new(&script)
            .key(queue.keys.prefix())
            .arg(turns.worker)
            .arg(lease)
            .arg("default-7")
            .invoke_async(&mut queue.redis.connection().await.unwrap())
            .await
            .unwrap();

        let held: Vec<_> = queue.held(turns.worker).await.into_keys().collect();

        assert_eq!(held, [id, "default-7".parse().unwrap()]);
    }

    #[tokio::test]
    async fn what_a_claim_that_falls_behind_gives_back_keeps_its_order() {
        let queue = TestQueue::start();
        let mark = queue.keys.mark(Queue::Default);
        // As if a list of 9000 had been deleted.
        let _: usize = queue.command(&["HSET", &mark, "last", "9000"]).await;
        waiting(&queue, 4).await;
        let turns = Turns::on(&queue);
        let list = queue.keys.queue(Queue::Default);
        let listed: Vec<String> = queue.command(&["LRANGE", &list, "0", "-1"]).await;
        let demand = wants(3);

        for _ in 0..2 {
            let reply = turns.take(&[], None, &demand).await.unwrap();
            assert_eq!(reply.claimed, []);
            let after: Vec<String> = queue.command(&["LRANGE", &list, "0", "-1"]).await;
            assert_eq!(after, listed);
        }

        let reply = turns.take(&[], None, &demand).await.unwrap();
        let claimed: Vec<_> = reply.claimed.iter().map(|job| job.id.number()).collect();
        assert_eq!(claimed, [9001, 9002, 9003]);
    }
}
