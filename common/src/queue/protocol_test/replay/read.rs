//! What lies in the real Redis, read back as a [`Store`].

use std::collections::{BTreeMap, BTreeSet};

use redis::FromRedisValue;

use super::{
    super::store::{Group, Heart, Id, Lease, NUMBER, Place, Policy, Role, Store, Who},
    Node,
    real::{QUEUE, Real},
};
use crate::queue::{Body, JobId, job::Birth};

type Ids = BTreeSet<JobId>;
type Fields = BTreeMap<String, String>;

/// Reads all keys at one instant. What Redis does not remember is taken over from `expected`. A claim's
/// text is noted in `node` when it is seen for the first time, and held against it later.
///
/// # Errors
/// If the totals do not come out.
pub(super) async fn read(real: &Real, expected: &Store, node: &mut Node) -> Result<Store, String> {
    let keys = &real.queue.keys;
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("TIME");
    pipe.lrange(keys.queue(QUEUE), 0, -1);
    pipe.hgetall(keys.mark(QUEUE));
    pipe.zrange_withscores(keys.loose(QUEUE), 0, -1);
    let [pushed, unlisted] = real.buckets();
    pipe.hgetall(pushed)
        .hgetall(unlisted)
        .hgetall(keys.attempts());
    pipe.zrange(keys.scheduled(), 0, -1)
        .zrange(keys.dead(), 0, -1);
    pipe.zrange_withscores(keys.workers(), 0, -1);
    pipe.hgetall(keys.stats());
    let master = "default-1".parse().unwrap();
    pipe.hgetall(keys.group(master));
    pipe.smembers(keys.group_left(master));
    pipe.hgetall(keys.group_failed(master));
    for worker in &real.workers {
        pipe.hgetall(keys.claims(*worker));
    }
    let mut connection = real.queue.redis.connection().await.unwrap();
    let reply: Vec<redis::Value> = pipe.query_async(&mut connection).await.unwrap();
    let mut reply = reply.into_iter();
    let mut next = || reply.next().unwrap();

    let (seconds, _): (f64, f64) = from(next());
    let queue: Vec<JobId> = from(next());
    let mark: BTreeMap<String, u8> = from(next());
    let loose: Vec<(JobId, f64)> = from(next());
    let mut jobs: BTreeMap<JobId, String> = from(next());
    jobs.extend(from::<BTreeMap<JobId, String>>(next()));
    let attempts: BTreeMap<JobId, String> = from(next());
    let (scheduled, dead): (Ids, Ids) = (from(next()), from(next()));
    let workers: Vec<(String, f64)> = from(next());
    let stats: BTreeMap<String, usize> = from(next());
    let group: Fields = from(next());
    let left: Ids = from(next());
    let failed: BTreeMap<JobId, String> = from(next());
    let mark = |name: &str| mark.get(name).copied().unwrap_or(0);

    let stat = |name: &str| {
        let of_queue = stats.get(&format!("{name}:{QUEUE}"));
        of_queue.copied().unwrap_or(0)
    };
    let completed = expected.ledger.completed.values();
    let completed = completed.map(|n| usize::from(*n)).sum();
    let made = expected.ledger.made.len();
    if (stat("completed"), stat("enqueued")) != (completed, made) {
        return Err(format!("{stats:?} should tell {completed} of {made} done"));
    }

    let alone = |ids: BTreeSet<Id>| {
        ids.is_empty()
            .then(BTreeMap::new)
            .unwrap_or_else(|| BTreeMap::from([(Id::Pushed(1), ids)]))
    };
    Ok(Store {
        queue: queue.into_iter().map(to_id).collect(),
        last: mark("last"),
        later: mark("later"),
        cursor: mark("cursor"),
        loose: loose
            .into_iter()
            .map(|(id, place)| (to_id(id), to_place(place)))
            .collect(),
        jobs: jobs
            .iter()
            .map(|(id, body)| (to_id(*id), role_of(*id, body, expected)))
            .collect(),
        attempts: attempts
            .iter()
            .map(|(id, text)| (to_id(*id), two_numbers(text)))
            .collect(),
        scheduled: scheduled.into_iter().map(to_id).collect(),
        dead: dead.into_iter().map(to_id).collect(),
        claims: (0..real.workers.len())
            .map(|who| (who, claims_of(who, &from(next()), expected, node)))
            .filter(|(_, claims)| !claims.is_empty())
            .collect(),
        workers: workers
            .into_iter()
            .map(|(name, until)| {
                let who = real.workers.iter().position(|id| id.to_string() == name);
                let beats = until / 1000.0 > seconds;
                (
                    who.unwrap(),
                    if beats { Heart::Beats } else { Heart::Ended },
                )
            })
            .collect(),
        groups: to_group(&group)
            .map(|group| (Id::Pushed(1), group))
            .into_iter()
            .collect(),
        left: alone(left.into_iter().map(to_id).collect()),
        failed: alone(failed.into_keys().map(to_id).collect()),
        ledger: expected.ledger.clone(),
        mistake: expected.mistake,
    })
}

fn from<T: FromRedisValue>(value: redis::Value) -> T {
    T::from_redis_value(value).unwrap()
}

pub(super) fn to_id(id: JobId) -> Id {
    let number = u8::try_from(id.number()).unwrap();
    match id.birth() {
        Birth::Pushed => Id::Pushed(number),
        Birth::Unlisted => Id::Unlisted(number),
    }
}

/// Exact: places are sums of small whole numbers and of steps that are a power of two.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "see above"
)]
fn to_place(score: f64) -> Place {
    let place = score * NUMBER as f64;
    assert!(place.fract() == 0.0, "{score} is no place");
    place as Place
}

/// A body does not tell a master from others; its task does.
fn role_of(id: JobId, body: &str, expected: &Store) -> Role {
    let body = Body::read(body).unwrap();
    match (body.group, body.follows) {
        (Some(master), None) => Role::Child(to_id(master)),
        (None, Some(master)) => Role::Follower(to_id(master)),
        _ => match expected.ledger.made.get(&to_id(id)) {
            Some(Role::Master) => Role::Master,
            _ => Role::Plain,
        },
    }
}

fn two_numbers(text: &str) -> (u8, u8) {
    let (one, other) = text.split_once(' ').unwrap();
    (one.parse().unwrap(), other.parse().unwrap())
}

fn to_group(fields: &Fields) -> Option<Group> {
    let is = |name: &str| fields.get(name).is_some_and(|value| value == "1");
    (!fields.is_empty()).then(|| Group {
        policy: if fields["policy"] == "fail" {
            Policy::Fail
        } else {
            Policy::Continue
        },
        total: fields
            .get("total")
            .map_or(0, |total| total.parse().unwrap()),
        sealed: is("sealed"),
        fired: is("fired"),
        master_settled: is("master_settled"),
    })
}

fn claims_of(
    who: Who,
    found: &BTreeMap<String, String>,
    expected: &Store,
    node: &mut Node,
) -> BTreeMap<Id, Lease> {
    let lease_of = |(id, text): (&str, &String)| {
        let id = to_id(id.parse().unwrap());
        let lease = expected.claims.get(&who).and_then(|claims| claims.get(&id));
        let nth = lease.map_or(0, |lease| lease.nth);
        let own = node.state.store.claims.get(&who);
        let held_before = own.and_then(|claims| claims.get(&id));
        let as_expected = if lease.is_some() && held_before == lease {
            node.leases.get(&(id, nth)) == Some(text)
        } else {
            node.leases.insert((id, nth), text.clone()).as_ref() != Some(text)
        };
        let digits = text.split(['@', '#']).next().unwrap();
        let lease = Lease {
            attempt: digits.parse().unwrap(),
            recorded: text.contains('#'),
            // No claim is the 0th: the comparison will show one that should not be there.
            nth: if as_expected { nth } else { 0 },
        };
        (id, lease)
    };
    let by_lease = found.iter();
    by_lease
        .flat_map(|(lease, ids)| ids.split_whitespace().map(move |id| (id, lease)))
        .map(lease_of)
        .collect()
}
