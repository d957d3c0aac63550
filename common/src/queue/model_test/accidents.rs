//! Steps that are rarer than claim and settle: groups, deaths, operators.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use super::{
    super::{
        JobContext, JobId, OnDeath, Options, Queue, Registry, Unique, cancel::Cancel,
        parking::Returns,
    },
    MAX_DEATHS, Nop,
    bench::Bench,
    model::{Group, Job, Place},
};

impl Bench {
    pub(super) async fn fan_out(&mut self, job: usize, children: u8, fail: bool, seal: bool) {
        let claimed = |job: &Job| matches!(job.place, Place::Claimed { .. });
        let Some(id) = self.model.pick(job, claimed) else {
            return;
        };
        let Place::Claimed {
            worker,
            lease,
            had_group,
        } = &mut self.model.job(id).place
        else {
            return;
        };
        *had_group = true;
        let context = JobContext::by_hand(
            self.workers[*worker].clone(),
            id,
            lease.clone(),
            self.shutdown.clone(),
        );

        let on_death = if fail {
            OnDeath::Fail
        } else {
            OnDeath::Continue
        };
        let mut split = context.fan_out(on_death, &children).await.unwrap();
        let group = self
            .model
            .groups
            .entry(id)
            .or_insert_with(|| Group::new(children, on_death));
        assert_eq!(
            split.plan().unwrap(),
            group.children,
            "the first plan holds"
        );
        if seal {
            for child in 0..group.children {
                split.add(&Nop(child)).await.unwrap();
            }
            split.then(&Nop(99)).await.unwrap();
        }

        assert!(context.had_group.load(Ordering::Relaxed));
        if seal && !group.sealed {
            group.sealed = true;
            let left: BTreeSet<JobId> = self
                .queue
                .command(&["SMEMBERS", &self.queue.keys.group_left(id)])
                .await;
            assert_eq!(left.len(), usize::from(group.children));
            group.left.clone_from(&left);
            for child in left {
                self.model.add(child, Place::Waiting, Some(id), None);
            }
            self.model.fire_if_done(id);
        }
    }

    /// A second job of a key is made if the first has come to its end, and not before.
    pub(super) async fn enqueue_unique(&mut self, queue: Queue, key: u8) {
        let options = Options {
            queue: Some(queue),
            unique: Some(Unique::until_done(key.to_string())),
            ..Options::default()
        };
        let producer = self.queue.producer();
        let made = producer.enqueue_unique(&Nop(0), &options).await.unwrap();

        let before = self.model.keys.insert(key, made.id);
        assert_eq!(before.is_some(), made.existed, "of key {key}");
        if made.existed {
            assert_eq!(before, Some(made.id), "of key {key}");
        } else {
            self.model.add(made.id, Place::Waiting, None, None);
            self.model.job(made.id).key = Some(key);
        }
    }

    pub(super) async fn worker_dies(&mut self, worker: usize) {
        let name = self.workers[worker].worker.to_string();
        let _: usize = self
            .queue
            .command(&["ZADD", &self.queue.keys.workers(), "XX", "1", &name])
            .await;
        for id in self
            .model
            .ids(|job| matches!(&job.place, Place::Claimed { worker: w, .. } if *w == worker))
        {
            let job = self.model.job(id);
            let Place::Claimed { lease, .. } = job.place.clone() else {
                continue;
            };
            job.attempts += 1;
            job.deaths += 1;
            if job.asked {
                self.model.cancelled += 1;
                self.model.end(id);
            } else if job.deaths >= MAX_DEATHS {
                job.place = Place::Dead;
                self.model.leave(id, true);
            } else {
                self.model.waits(id);
            }
            self.old.push((id, worker, lease));
        }
        self.look().await;
    }

    pub(super) async fn look(&mut self) {
        self.care.look().await.unwrap();
        for id in self
            .model
            .ids(|job| job.place == Place::Scheduled { due: true })
        {
            self.model.waits(id);
        }
    }

    /// A worker comes that knows all tasks.
    pub(super) async fn unpark(&mut self) {
        let registry = Arc::new(Registry::new().with::<Nop>(&Arc::new(())));
        let limits = "high=1,low=1".parse().unwrap();
        let mut returns = Returns::new(registry, &limits);
        let (redis, keys) = (&self.queue.redis, &self.queue.keys);
        let kinds: Vec<String> = self.queue.command(&["SMEMBERS", &keys.parked()]).await;
        while returns.take(redis, keys, &kinds).await.unwrap().1 {}
        for id in self.model.ids(|job| job.place == Place::Parked) {
            self.model.waits(id);
        }
    }

    pub(super) async fn revive(&mut self, job: usize) {
        let fits = |job: &Job| {
            matches!(
                job.place,
                Place::Dead | Place::Parked | Place::Scheduled { .. }
            )
        };
        let Some(id) = self.model.pick(job, fits) else {
            return;
        };
        let revived = self.operator.retry(&[id]).await.unwrap();

        assert_eq!(revived, [id]);
        self.model.waits(id);
        let job = self.model.job(id);
        (job.attempts, job.deaths) = (0, 0);
    }

    pub(super) async fn discard(&mut self, job: usize) {
        let Some(id) = self.model.pick(job, |_| true) else {
            return;
        };
        let job = &self.model.jobs[&id];
        let claimed = matches!(job.place, Place::Claimed { .. });
        let discarded = self.operator.discard(&[id]).await.unwrap();

        assert_eq!(discarded.is_empty(), claimed);
        if !claimed {
            self.model.discarded += 1;
            self.model.ghosts += 1;
            self.model.end(id);
        }
    }

    pub(super) async fn cancel(&mut self, job: usize) {
        let Some(id) = self.model.pick(job, |_| true) else {
            return;
        };
        let answers = self.operator.cancel(&[id]).await.unwrap();

        if matches!(self.model.jobs[&id].place, Place::Claimed { .. }) {
            assert!(matches!(answers[..], [Cancel::Asked]), "{answers:?}");
            self.model.job(id).asked = true;
        } else {
            assert!(matches!(answers[..], [Cancel::Cancelled]), "{answers:?}");
            self.model.cancelled += 1;
            self.model.ghosts += 1;
            self.model.end(id);
        }
    }
}
