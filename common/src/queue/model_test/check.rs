//! The comparison: each job is where the model says, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use redis::FromRedisValue;

use super::{
    super::{JobId, Queue, heartbeat::retire, job::Body, parking::Kind},
    End, LANES, QUEUES,
    bench::Bench,
    full_key,
    model::{Job, Place},
};

impl Bench {
    /// Each job is where the model says, and nowhere else; the books balance.
    pub(super) async fn check(&mut self) {
        let bodies = self.queue.bodies().await;
        for (id, body) in &bodies {
            let follows = Body::read(body).unwrap().follows;
            if let Some(place) = follows.and_then(|master| self.model.fired.remove(&master)) {
                self.model.add(*id, place, None, follows);
            }
        }
        for (id, body) in &bodies {
            let lane = Body::read(body).unwrap().lane;
            if let Some(job) = self.model.jobs.get_mut(id) {
                job.lane = lane.map(|lane| lane.name().to_owned());
            }
        }

        let places = self.places().await;
        let laned = self.laned().await;
        let fired = &self.model.fired;
        assert!(fired.is_empty(), "nothing follows {fired:?}");
        let known: Vec<_> = self.model.jobs.keys().collect();
        assert_eq!(bodies.keys().collect::<Vec<_>>(), known);
        for (id, job) in &self.model.jobs {
            let right = match &job.place {
                Place::Waiting if laned.contains(id) => "laned",
                Place::Waiting => "waiting",
                Place::Scheduled { .. } => "scheduled",
                Place::Parked => "parked",
                Place::Dead => "dead",
                Place::Claimed { worker: 0, .. } => "claimed by the first",
                Place::Claimed { .. } => "claimed by the second",
            };
            let found = places.get(id).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(found, [right], "{id}, {job:?}");
        }
        for (master, group) in &self.model.groups {
            let key = self.queue.keys.group_left(*master);
            let left: BTreeSet<JobId> = self.command(&["SMEMBERS", &key]).await;
            assert_eq!(left, group.left, "left of {master}");
        }
        let keys: BTreeMap<String, JobId> =
            self.command(&["HGETALL", &self.queue.keys.unique()]).await;
        let held = self.model.keys.iter();
        let held: BTreeMap<_, _> = held.map(|(key, id)| (full_key(*key), *id)).collect();
        assert_eq!(keys, held, "keys of unique jobs");
        self.check_lanes(&laned).await;
        self.check_stats().await;
    }

    /// Who is in the line of a lane.
    pub(super) async fn laned(&self) -> BTreeSet<JobId> {
        let mut laned = BTreeSet::new();
        for (lane, _) in LANES.into_iter().flatten() {
            let line = self.queue.keys.lane(lane);
            let ids: Vec<JobId> = self.command(&["ZRANGE", &line, "0", "-1"]).await;
            laned.extend(ids);
        }
        laned
    }

    /// Who is under way holds a slot, and nobody else; no lane is wider than it may be, none holds back what may
    /// go.
    async fn check_lanes(&self, laned: &BTreeSet<JobId>) {
        let keys = &self.queue.keys;
        let count: Option<usize> = self.command(&["GET", &keys.lanes_waiting()]).await;
        assert_eq!(count.unwrap_or(0), laned.len());
        for (lane, width) in LANES.into_iter().flatten() {
            let of_lane = |job: &Job| job.lane.as_deref() == Some(lane);
            let under_way = self.model.ids(|job| {
                let place = &job.place;
                of_lane(job) && matches!(place, Place::Waiting | Place::Claimed { .. })
            });
            let under_way: BTreeSet<_> = under_way.into_iter().collect();
            let slots: BTreeSet<JobId> = self.command(&["SMEMBERS", &keys.slots(lane)]).await;
            assert_eq!(slots, &under_way - laned, "slots of {lane}");
            assert!(slots.len() <= width as usize, "{lane} is too wide");
            let in_line: usize = self.command(&["ZCARD", &keys.lane(lane)]).await;
            assert!(
                in_line == 0 || slots.len() == width as usize,
                "{lane} sleeps"
            );
        }
    }

    async fn check_stats(&self) {
        let stats: BTreeMap<String, usize> =
            self.command(&["HGETALL", &self.queue.keys.stats()]).await;
        let sum = |what: &str| -> usize {
            let of = |queue: &Queue| stats.get(&format!("{what}:{queue}"));
            QUEUES.iter().filter_map(of).sum()
        };
        let model = &self.model;
        assert_eq!(sum("enqueued"), model.enqueued);
        assert_eq!(sum("completed"), model.completed);
        assert_eq!(sum("discarded"), model.discarded);
        assert_eq!(sum("cancelled"), model.cancelled);
        assert_eq!(
            model.enqueued,
            model.completed + model.discarded + model.cancelled + model.jobs.len()
        );
    }

    /// Every place that Redis has each id in.
    async fn places(&self) -> BTreeMap<JobId, Vec<&'static str>> {
        let keys = &self.queue.keys;
        let mut places = BTreeMap::<JobId, Vec<_>>::new();
        let mut add = |ids: Vec<JobId>, place| {
            for id in ids {
                places.entry(id).or_default().push(place);
            }
        };
        add(
            self.command(&["ZRANGE", &keys.scheduled(), "0", "-1"])
                .await,
            "scheduled",
        );
        add(
            self.command(&["ZRANGE", &keys.dead(), "0", "-1"]).await,
            "dead",
        );
        let kinds: Vec<Kind> = self.command(&["SMEMBERS", &keys.parked()]).await;
        for kind in kinds {
            let ids = ["ZRANGE", &keys.parked_of(&kind), "0", "-1"];
            add(self.command(&ids).await, "parked");
        }
        for (worker, name) in [(0, "claimed by the first"), (1, "claimed by the second")] {
            let claims = keys.claims(self.workers[worker].worker);
            let by_lease: Vec<String> = self.command(&["HVALS", &claims]).await;
            let ids = by_lease.iter().flat_map(|ids| ids.split_whitespace());
            add(ids.map(|id| id.parse().unwrap()).collect(), name);
        }
        add(self.laned().await.into_iter().collect(), "laned");
        for queue in QUEUES {
            let (last, cursor): (Option<u64>, Option<u64>) = self
                .command(&["HMGET", &keys.mark(queue), "last", "cursor"])
                .await;
            let fresh = cursor.unwrap_or(0) + 1..=last.unwrap_or(0);
            let fresh = fresh.map(|number| format!("{queue}-{number}").parse().unwrap());
            // What was discarded while it waited keeps its number until it is popped.
            add(
                fresh
                    .filter(|id| self.model.jobs.contains_key(id))
                    .collect(),
                "waiting",
            );
            add(
                self.command(&["ZRANGE", &keys.loose(queue), "0", "-1"])
                    .await,
                "waiting",
            );
        }
        places
    }

    async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.queue.command(words).await
    }

    /// Works everything off; nothing of it may be left behind.
    pub(super) async fn drain(&mut self) {
        for queue in std::mem::take(&mut self.model.paused) {
            self.operator.resume(queue).await.unwrap();
        }
        for _ in 0..200 {
            self.look().await;
            let at_rest = |job: &Job| {
                matches!(
                    job.place,
                    Place::Dead | Place::Parked | Place::Scheduled { .. }
                )
            };
            while self.model.pick(0, at_rest).is_some() {
                self.revive(0).await;
            }
            self.claim(0, None, QUEUES, 50).await;
            while self
                .model
                .pick(0, |job| matches!(job.place, Place::Claimed { .. }))
                .is_some()
            {
                self.settle(0, End::Done).await;
            }
            self.check().await;
            if self.model.jobs.is_empty() {
                break;
            }
        }
        assert!(
            self.model.jobs.is_empty(),
            "never drained: {:?}",
            self.model
        );
        // What stands in the lists in vain is popped; what was discarded while it was lost is forgotten.
        self.claim(1, None, QUEUES, 50).await;
        self.look().await;
        self.look().await;
        // What was to be cancelled and was done before is forgotten.
        for turns in &self.workers {
            let (redis, keys) = (&self.queue.redis, &self.queue.keys);
            assert_eq!(retire(redis, keys, turns.worker).await.unwrap(), 0);
        }
        let names = self.queue.key_names().await;
        let rest: Vec<_> = names
            .iter()
            .filter(|name| {
                !name.starts_with("mark:")
                    && !["stats", "workers", "looked"].contains(&name.as_str())
            })
            .collect();
        assert!(rest.is_empty(), "left behind: {rest:?}");
    }
}
