//! The model and the real thing side by side: each step is done to both.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{
        JobId, Options, Queue, When, WorkerOptions,
        care::Care,
        job::Ties,
        limits::Demand,
        operate::Operator,
        settle::{Settlement, Verdict},
        turn::{Claimed, Lease, Popped, Turns},
    },
    End, LONG, MAX_DEATHS, Nop, Op, QUEUES, full_key,
    model::{Job, Model, Place},
};
use crate::{
    id::BootId,
    shutdown::{Shutdown, Stop},
    testing::TestQueue,
};

/// The model, and the real thing beside it.
pub(super) struct Bench {
    pub(super) model: Model,
    pub(super) queue: TestQueue,
    pub(super) workers: [Turns; 2],
    pub(super) care: Care,
    /// Ended claims.
    pub(super) old: Vec<(JobId, usize, Lease)>,
    pub(super) operator: Operator,
    pub(super) shutdown: Shutdown,
    _stop: Stop,
}

impl Bench {
    pub(super) fn start() -> Self {
        let queue = TestQueue::start();
        let turns = || Turns {
            redis: queue.redis.clone(),
            keys: queue.keys.clone(),
            worker: BootId::fresh(),
            time_to_live: LONG,
            // Who waits for whom among suspects is another test's question.
            max_deaths: u32::MAX,
        };
        let options = WorkerOptions {
            max_deaths: MAX_DEATHS,
            time_to_live: LONG,
            claim_grace: Duration::ZERO,
            ..TestQueue::options("high=1")
        };
        let (stop, shutdown) = Shutdown::manual();
        Self {
            model: Model::default(),
            workers: [turns(), turns()],
            care: Care::new(queue.redis.clone(), queue.keys.clone(), &options),
            old: Vec::new(),
            operator: Operator::new(queue.redis.clone(), queue.keys.clone()),
            queue,
            shutdown,
            _stop: stop,
        }
    }

    pub(super) async fn step(&mut self, op: Op) {
        match op {
            Op::Enqueue { queue, jobs, lane } => {
                let tasks: Vec<_> = (0..jobs).map(|_| Nop(lane)).collect();
                self.enqueue(&tasks, QUEUES[queue], When::Now, &Place::Waiting)
                    .await;
            }
            Op::EnqueueUnique { queue, key } => self.enqueue_unique(QUEUES[queue], key).await,
            Op::Schedule { queue, due, lane } => {
                let when = When::In(if due { Duration::ZERO } else { LONG });
                self.enqueue(&[Nop(lane)], QUEUES[queue], when, &Place::Scheduled { due })
                    .await;
            }
            Op::Claim {
                worker,
                queues,
                wanted,
            } => {
                self.claim(worker, None, queues.map(|queue| QUEUES[queue]), wanted)
                    .await;
            }
            Op::Settle { job, verdict } => self.settle(job, verdict).await,
            Op::SettleLate { job, verdict } => self.settle_late(job, verdict).await,
            Op::FanOut {
                job,
                children,
                fail,
                seal,
            } => self.fan_out(job, children, fail, seal).await,
            Op::PopAndLose { queue, popped } => {
                for _ in 0..popped {
                    self.pop(QUEUES[queue]).await;
                }
            }
            Op::PopAndGiveBack { worker, queue } => {
                if let Some(id) = self.pop(QUEUES[queue]).await {
                    let demand = Demand::default();
                    let back = Some(Popped::Back(id));
                    self.workers[worker].take(&[], back, &demand).await.unwrap();
                    self.model.lost.remove(&id);
                }
            }
            Op::PopAndClaim { worker, queue } => {
                if let Some(id) = self.pop(QUEUES[queue]).await {
                    self.claim(worker, Some(id), QUEUES, 1).await;
                }
            }
            Op::WorkerDies { worker } => self.worker_dies(worker).await,
            Op::Care => self.look().await,
            Op::Unpark => self.unpark().await,
            Op::Revive { job } => self.revive(job).await,
            Op::Discard { job } => self.discard(job).await,
            Op::Cancel { job } => self.cancel(job).await,
            Op::ListAgain { job, at_the_end } => {
                if let Some(id) = self.model.pick(job, |_| true) {
                    let push = if at_the_end { "LPUSH" } else { "RPUSH" };
                    let list = self.queue.keys.queue(id.queue());
                    let _: usize = self.queue.command(&[push, &list, &id.to_string()]).await;
                }
            }
            Op::ListGarbage { queue } => {
                let list = self.queue.keys.queue(QUEUES[queue]);
                let words = [
                    "RPUSH",
                    &list,
                    "rubbish",
                    "high-01",
                    "low-999999",
                    "high+77",
                    "",
                ];
                let _: usize = self.queue.command(&words).await;
            }
            Op::Pause { queue } => {
                let queue = QUEUES[queue];
                let changed = self.operator.pause(queue).await.unwrap();
                assert_eq!(changed, self.model.paused.insert(queue));
            }
            Op::Resume { queue } => {
                let queue = QUEUES[queue];
                let changed = self.operator.resume(queue).await.unwrap();
                assert_eq!(changed, self.model.paused.remove(&queue));
            }
            Op::DeleteList { queue } => {
                let _: usize = self
                    .queue
                    .command(&["DEL", &self.queue.keys.queue(QUEUES[queue])])
                    .await;
                let queue = QUEUES[queue];
                let laned = self.laned().await;
                for id in self.model.ids(|job| job.place == Place::Waiting) {
                    if id.queue() == queue && !laned.contains(&id) {
                        self.model.lost.insert(id);
                    }
                }
            }
        }
    }

    pub(super) async fn enqueue(&mut self, tasks: &[Nop], queue: Queue, when: When, place: &Place) {
        let options = Options {
            queue: Some(queue),
            when,
            ..Options::default()
        };
        let ids = self
            .queue
            .producer()
            .enqueue_all(tasks, &options)
            .await
            .unwrap();
        for id in ids {
            self.model.add(id, place.clone(), None, None);
        }
    }

    /// Pops as BRPOP does; what was popped is lost until somebody sweeps.
    pub(super) async fn pop(&mut self, queue: Queue) -> Option<JobId> {
        let list = self.queue.keys.queue(queue);
        let popped: Option<String> = self.queue.command(&["RPOP", &list]).await;
        let id = popped?.parse().ok()?;
        if self
            .model
            .jobs
            .get(&id)
            .is_some_and(|job| job.place == Place::Waiting)
        {
            self.model.lost.insert(id);
        }
        Some(id)
    }

    pub(super) async fn claim(
        &mut self,
        worker: usize,
        popped: Option<JobId>,
        queues: [Queue; 2],
        wanted: usize,
    ) {
        let order = queues.map(|queue| (queue, wanted)).to_vec();
        let demand = Demand {
            order,
            free: wanted,
            ..Demand::default()
        };
        let take = popped.map(Popped::Take);
        let laned = self.laned().await;
        let reply = self.workers[worker].take(&[], take, &demand).await.unwrap();

        let paused = self.model.paused.clone();
        let is_open = |id: &JobId| !paused.contains(&id.queue());
        assert!(reply.claimed.iter().all(|claimed| is_open(&claimed.id)));
        assert_eq!(BTreeSet::from_iter(reply.paused.clone()), paused);
        if let Some(id) = popped.filter(|id| !is_open(id)) {
            self.model.lost.remove(&id); // listed again
        }
        let mut listed = self.model.ids(|job| job.place == Place::Waiting);
        listed.retain(|id| is_open(id) && !laned.contains(id) && !self.model.lost.contains(id));
        let at_least = wanted.min(listed.len()).saturating_sub(self.model.ghosts);
        assert!(
            (at_least..=wanted).contains(&reply.claimed.len()),
            "claimed {} where {at_least} to {wanted} were due",
            reply.claimed.len()
        );
        self.claimed(worker, reply.claimed);
    }

    pub(super) fn claimed(&mut self, worker: usize, claimed: Vec<Claimed>) {
        for claim in claimed {
            let (id, attempt) = (claim.id, claim.lease.attempt());
            let job = self.model.job(id);
            assert_eq!(job.place, Place::Waiting, "{id} was claimed");
            assert_eq!(
                (attempt, claim.deaths),
                (job.attempts + 1, job.deaths),
                "of {id}"
            );
            job.place = Place::Claimed {
                worker,
                lease: claim.lease,
                had_group: false,
            };
            job.asked = false;
            self.model.lost.remove(&id);
        }
    }

    pub(super) fn settlement(
        &self,
        id: JobId,
        lease: Lease,
        had_group: bool,
        verdict: End,
    ) -> Settlement {
        let job = self.model.jobs.get(&id);
        let error = "it failed".to_owned();
        Settlement {
            id,
            lease,
            ties: Ties {
                group: job.and_then(|job| job.child_of),
                follows: job.and_then(|job| job.follows),
                lane: job.and_then(|job| job.lane.clone()),
                unique: job.and_then(|job| job.key).map(full_key),
                ..Ties::default()
            },
            had_group,
            output: None,
            verdict: match verdict {
                End::Done => Verdict::Done,
                End::Retry => Verdict::Retry {
                    delay: Duration::ZERO,
                    error,
                },
                End::RetryLater => Verdict::Retry { delay: LONG, error },
                End::Bury => Verdict::Bury { error },
                End::Back => Verdict::Back,
                End::Park => Verdict::Park,
            },
        }
    }

    pub(super) async fn settle(&mut self, job: usize, verdict: End) {
        let claimed = |job: &Job| matches!(job.place, Place::Claimed { .. });
        let Some(id) = self.model.pick(job, claimed) else {
            return;
        };
        let Place::Claimed {
            worker,
            lease,
            had_group,
        } = self.model.jobs[&id].place.clone()
        else {
            return;
        };
        let settlement = self.settlement(id, lease.clone(), had_group, verdict);
        let nothing = Demand::default();
        let attempt = lease.attempt();

        let reply = self.workers[worker]
            .take(&[settlement], None, &nothing)
            .await
            .unwrap();

        assert_eq!(reply.refused, []);
        self.model.settle(id, attempt, verdict);
        self.old.push((id, worker, lease));
    }

    /// A worker that was given up, or whose answer was lost, settles once more.
    pub(super) async fn settle_late(&mut self, job: usize, verdict: End) {
        if self.old.is_empty() {
            return;
        }
        let (id, worker, lease) = self.old[job % self.old.len()].clone();
        let settlement = self.settlement(id, lease, true, verdict);
        let nothing = Demand::default();

        let reply = self.workers[worker]
            .take(&[settlement], None, &nothing)
            .await
            .unwrap();

        assert_eq!(reply.refused, [id]);
    }
}
