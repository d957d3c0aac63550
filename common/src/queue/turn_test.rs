//! Turns, on a real Redis.

use std::{collections::BTreeSet, time::Duration};

use serde_json::value::RawValue;

use super::{
    LIB, Options, Queue,
    enqueue::millis,
    limits::Demand,
    settle::{Settlement, Verdict},
    turn::{Lease, Popped, Turns},
};
use crate::testing::TestQueue;

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

/// As if so many had come and gone.
async fn begin_after(queue: &TestQueue, n: u64) {
    let (mark, n) = (queue.keys.mark(Queue::Default), n.to_string());
    let words = ["HSET", &mark, "last", &n, "cursor", &n];
    let _: usize = queue.command(&words).await;
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
async fn what_lies_in_two_buckets_is_claimed_in_order_and_leaves_nothing() {
    let queue = TestQueue::start();
    let turns = Turns::on(&queue);
    begin_after(&queue, 995).await;
    waiting(&queue, 12).await;

    let claimed = turns.take(&[], None, &wants(12)).await.unwrap().claimed;

    let numbers: Vec<_> = claimed.iter().map(|job| job.id.number()).collect();
    assert_eq!(numbers, (996..1008).collect::<Vec<_>>());
    assert!(claimed.iter().all(|job| !job.body.is_empty()));
    let ends = claimed.iter().map(|job| {
        // One lease for both buckets, as if Redis's clock had been set back between two claims.
        Settlement::of(job.id, &claimed[0].lease, Verdict::Done)
    });
    let ends: Vec<_> = ends.collect();
    let claims = queue.keys.claims(turns.worker);
    let ids: Vec<_> = claimed.iter().map(|job| job.id.to_string()).collect();
    let leases: Vec<String> = queue.command(&["HKEYS", &claims]).await;
    assert_eq!(leases.len(), 2);
    let lease = leases.iter().find(|lease| claimed[0].lease.is(lease));
    let _: usize = queue.command(&["DEL", &claims]).await;
    let words = ["HSET", &claims, lease.unwrap(), &(ids.join(" ") + " ")];
    let _: usize = queue.command(&words).await;
    let reply = turns.take(&ends, None, &Demand::default()).await.unwrap();
    assert_eq!(reply.refused, []);
    assert!(queue.is_drained().await);
    assert!(queue.held(turns.worker).await.is_empty());
}

#[tokio::test]
async fn a_body_of_before_buckets_is_found_when_its_job_is_claimed() {
    let queue = TestQueue::start();
    let turns = Turns::on(&queue);
    waiting(&queue, 3).await;
    let bucket = queue.keys.bucket("default-1".parse().unwrap());
    let old = format!("{}jobs", queue.keys.prefix());
    let _: String = queue.command(&["RENAME", &bucket, &old]).await;

    let claimed = turns.take(&[], None, &wants(3)).await.unwrap().claimed;

    assert_eq!(claimed.len(), 3);
    assert!(claimed.iter().all(|job| !job.body.is_empty()));
    assert_eq!(queue.bodies().await.len(), 3);
    let is_left: bool = queue.command(&["EXISTS", &old]).await;
    assert!(!is_left);
}

#[tokio::test]
async fn something_else_in_the_place_of_a_bucket_takes_no_other_job_with_it() {
    let queue = TestQueue::start();
    let turns = Turns::on(&queue);
    begin_after(&queue, 997).await;
    waiting(&queue, 4).await;
    let bucket = queue.keys.bucket("default-1000".parse().unwrap());
    let _: String = queue.command(&["SET", &bucket, "x"]).await;

    let claimed = turns.take(&[], None, &wants(4)).await.unwrap().claimed;

    let numbers: Vec<_> = claimed.iter().map(|job| job.id.number()).collect();
    assert_eq!(numbers, [998, 999]);
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

/// Has a known worker take a turn with an id that BRPOP popped; returns whether it was the short one, and the numbers
/// of what it claimed. Only the long one, if it claims, raises a deadline that is far enough away.
async fn popped(queue: &TestQueue, turns: &Turns, demand: &Demand) -> (bool, Vec<u64>) {
    let (workers, worker) = (queue.keys.workers(), turns.worker.to_string());
    let (seconds, _): (u64, u64) = queue.command(&["TIME"]).await;
    let deadline = (seconds * 1000 + millis(turns.time_to_live) * 9 / 10).to_string();
    let _: usize = queue.command(&["ZADD", &workers, &deadline, &worker]).await;
    let list = queue.keys.queue(Queue::Default);
    let id: String = queue.command(&["RPOP", &list]).await;
    let popped = Popped::Take(id.parse().unwrap());
    let claimed = turns.take(&[], Some(popped), demand).await.unwrap().claimed;
    let held = queue.held(turns.worker).await;
    for job in &claimed {
        assert!(held.contains_key(&job.id) && !job.body.is_empty());
    }
    let after: String = queue.command(&["ZSCORE", &workers, &worker]).await;
    let numbers = claimed.iter().map(|job| job.id.number());
    (after == deadline, numbers.collect())
}

#[tokio::test]
async fn a_job_that_is_popped_alone_is_claimed_by_a_short_turn_and_any_other_by_a_long_one() {
    let queue = TestQueue::start();
    let turns = Turns {
        time_to_live: Duration::from_secs(3600),
        ..Turns::on(&queue)
    };
    let list = queue.keys.queue(Queue::Default);
    let some = wants(9);

    waiting(&queue, 1).await;
    assert_eq!(popped(&queue, &turns, &some).await, (true, vec![1]));
    let _: usize = queue.command(&["RPUSH", &list, "default-1"]).await;
    assert_eq!(popped(&queue, &turns, &some).await.1, [0; 0], "twice");
    waiting(&queue, 3).await;
    let of_more = popped(&queue, &turns, &wants(2)).await;
    assert_eq!(of_more, (false, vec![2, 3]), "another is listed");
    assert_eq!(popped(&queue, &turns, &some).await, (true, vec![4]));

    let reserved = Demand {
        shared: 8,
        own: vec![(Queue::Default, 1)],
        ..wants(9)
    };
    waiting(&queue, 2).await;
    assert_eq!(popped(&queue, &turns, &reserved).await, (false, vec![5, 6]));
    waiting(&queue, 1).await;
    assert_eq!(popped(&queue, &turns, &reserved).await, (true, vec![7]));

    waiting(&queue, 1).await;
    let paused = queue.keys.paused();
    let _: usize = queue.command(&["HSET", &paused, "default", "1"]).await;
    assert_eq!(popped(&queue, &turns, &some).await.1, [0; 0], "paused");
    let listed: Vec<String> = queue.command(&["LRANGE", &list, "0", "-1"]).await;
    assert_eq!(listed, ["default-8"]);
    let _: usize = queue.command(&["DEL", &paused]).await;

    let attempts = queue.keys.attempts();
    let _: usize = queue
        .command(&["HSET", &attempts, "low-9", "1 0", "default-9", "1 0"])
        .await;
    assert_eq!(popped(&queue, &turns, &some).await, (true, vec![8]));
    waiting(&queue, 1).await;
    let of_record = popped(&queue, &turns, &some).await;
    assert_eq!(of_record, (false, vec![9]), "it has a record");

    waiting(&queue, 1).await;
    let bucket = queue.keys.bucket("default-10".parse().unwrap());
    let _: usize = queue.command(&["HDEL", &bucket, "default-10"]).await;
    assert_eq!(popped(&queue, &turns, &some).await.1, [0; 0], "discarded");
    waiting(&queue, 1).await;
    assert_eq!(popped(&queue, &turns, &some).await, (true, vec![11]));

    let held = queue.held(turns.worker).await;
    let (id, lease) = held.last_key_value().unwrap();
    assert_eq!(id.number(), 11);
    let back = Settlement::of(*id, &Lease::from(lease.as_str()), Verdict::Back);
    turns.take(&[back], None, &Demand::default()).await.unwrap();
    let out_of_order = popped(&queue, &turns, &some).await;
    assert_eq!(out_of_order, (false, vec![11]), "it was given back");
}

#[tokio::test]
async fn who_claims_is_known() {
    let queue = TestQueue::start();
    let stranger = Turns::on(&queue);
    waiting(&queue, 1).await;
    let list = queue.keys.queue(Queue::Default);
    let id: String = queue.command(&["RPOP", &list]).await;

    let popped = Some(Popped::Take(id.parse().unwrap()));
    let reply = stranger.take(&[], popped, &wants(1)).await.unwrap();

    assert_eq!(reply.claimed.len(), 1);
    let (workers, worker) = (queue.keys.workers(), stranger.worker.to_string());
    let known: Option<String> = queue.command(&["ZSCORE", &workers, &worker]).await;
    assert!(known.is_some());
}
