//! The real thing: each action of the model, done to Redis through the functions that workers use.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    super::{
        scripts::{Held, MAX_DEATHS, Settlement, Split as Step, SplitReply, Turn, Verdict},
        store::{CHILDREN, Id, Lease, Policy, Role, Who},
    },
    Node,
    read::to_id,
};
use crate::{
    id::BootId,
    kv::Script,
    queue::{
        JobContext, JobId, OnDeath, Options, Queue, Task, TaskError, When, WorkerOptions,
        care::Care,
        fan_out::FanOutError,
        heartbeat::{Pulse, retire},
        inspect::status::WorkerInfo,
        job::Ties,
        limits::Demand,
        operate::Operator,
        settle,
        tail::Tail,
        turn::{Claimed, Popped, Turns, held_by},
    },
    shutdown::{Shutdown, Stop},
    testing::TestQueue,
};

pub(super) const QUEUE: Queue = Queue::Default;
/// So long that nothing ends by itself.
const LONG: Duration = Duration::from_secs(3600);
/// Workers, those that are started later included.
const WORKERS: usize = 4;

#[derive(Debug, Serialize, Deserialize)]
struct Nop;

impl Task for Nop {
    const NAME: &'static str = "test.nop";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Ok(())
    }
}

static COPY: LazyLock<Script> = LazyLock::new(|| {
    let copy = "local to = ARGV[1]
    for i = 2, #ARGV do
      local name = ARGV[i]
      if redis.call('COPY', KEYS[1] .. name, to .. name, 'REPLACE') == 0 then redis.call('DEL', to .. name) end
    end";
    Script::new("copy a namespace", &[copy])
});

/// One namespace, with the same workers as all others.
pub(super) struct Real {
    pub(super) queue: TestQueue,
    pub(super) workers: Vec<BootId>,
    care: Care,
    shutdown: Shutdown,
    _stop: Stop,
}

impl Real {
    pub(super) fn start(workers: &[BootId]) -> Self {
        let queue = TestQueue::start();
        let options = WorkerOptions {
            max_deaths: u32::from(MAX_DEATHS),
            time_to_live: LONG,
            claim_grace: Duration::ZERO,
            ..TestQueue::options("default=1")
        };
        let (stop, shutdown) = Shutdown::manual();
        Self {
            care: Care::new(queue.redis.clone(), queue.keys.clone(), &options),
            queue,
            workers: workers.to_vec(),
            shutdown,
            _stop: stop,
        }
    }

    pub(super) fn fresh_workers() -> Vec<BootId> {
        (0..WORKERS).map(|_| BootId::fresh()).collect()
    }

    /// As in the model's first state: workers beat, and somebody has looked for dead ones.
    pub(super) async fn begin(&self, workers: usize) {
        for worker in 0..workers {
            self.beat(worker).await;
        }
        self.care.overdue().await.unwrap();
    }

    /// Where bodies are: of pushed ids, and of unlisted ones.
    pub(super) fn buckets(&self) -> [String; 2] {
        let first = |id: &str| self.queue.keys.bucket(id.parse().unwrap());
        [first("default-1"), first("default+1")]
    }

    /// Becomes what another is.
    pub(super) async fn copy(&self, other: &Self) {
        let master = "default-1".parse().unwrap();
        let names = |real: &Self| {
            let keys = &real.queue.keys;
            let mut names = vec![
                keys.queue(QUEUE),
                keys.mark(QUEUE),
                keys.loose(QUEUE),
                keys.attempts(),
                keys.scheduled(),
                keys.dead(),
                keys.workers(),
                keys.stats(),
                keys.looked(),
                keys.group(master),
                keys.group_left(master),
                keys.group_failed(master),
            ];
            names.extend(real.buckets());
            names.extend(self.workers.iter().map(|worker| keys.claims(*worker)));
            names
        };
        let prefix = self.queue.keys.prefix();
        let mut call = COPY.on(other.queue.keys.prefix());
        call.arg(prefix);
        for name in names(self) {
            call.arg(&name[prefix.len()..]);
        }
        let () = call.run(&self.queue.redis).await.unwrap();
    }

    pub(super) async fn enqueue(&self, when: When) {
        let options = Options {
            queue: Some(QUEUE),
            when,
            ..Options::default()
        };
        self.queue
            .producer()
            .enqueue_with(&Nop, &options)
            .await
            .unwrap();
    }

    pub(super) async fn enqueue_later(&self) {
        self.enqueue(When::In(LONG)).await;
    }

    pub(super) async fn pop(&self) -> Option<Id> {
        let list = self.queue.keys.queue(QUEUE);
        let popped: Option<JobId> = self.queue.command(&["RPOP", &list]).await;
        popped.map(to_id)
    }

    pub(super) async fn delete_list(&self) {
        let list = self.queue.keys.queue(QUEUE);
        let _: usize = self.queue.command(&["DEL", &list]).await;
    }

    fn turns(&self, who: Who) -> Turns {
        Turns {
            redis: self.queue.redis.clone(),
            keys: self.queue.keys.clone(),
            worker: self.workers[who],
            time_to_live: LONG,
            max_deaths: u32::MAX, // nobody is a suspect: the model leaves that out
        }
    }

    /// Returns the attempts of what was claimed.
    pub(super) async fn turn(&self, who: Who, turn: &Turn, node: &Node) -> BTreeMap<Id, u32> {
        let settlements: Vec<_> = turn
            .settle
            .iter()
            .map(|it| to_settlement(it, node))
            .collect();
        let popped = turn.popped.map(|id| match turn.wanted {
            0 => Popped::Back(to_job(id)),
            _ => Popped::Take(to_job(id)),
        });
        let order = if turn.wanted > 0 {
            vec![(QUEUE, turn.wanted)]
        } else {
            Vec::new()
        };
        let demand = Demand {
            order,
            free: turn.wanted,
            ..Demand::default()
        };
        let turns = self.turns(who);
        let reply = turns.take(&settlements, popped, &demand).await.unwrap();
        let claimed = reply.claimed.iter();
        claimed
            .map(|it| (to_id(it.id), it.lease.attempt()))
            .collect()
    }

    pub(super) async fn beat(&self, who: Who) {
        let (_stop, shutdown) = Shutdown::manual();
        let pulse = Pulse {
            registry: Arc::default(),
            tail: Tail::default(),
            keys: self.queue.keys.clone(),
            worker: self.workers[who],
            every: LONG,
            time_to_live: LONG,
            info: WorkerInfo::default(),
            shutdown,
        };
        pulse.beat(&self.queue.redis).await.unwrap();
    }

    /// Its heartbeat ends.
    pub(super) async fn expire(&self, who: Who) {
        let name = self.workers[who].to_string();
        let workers = self.queue.keys.workers();
        let _: usize = self
            .queue
            .command(&["ZADD", &workers, "XX", "1", &name])
            .await;
    }

    pub(super) async fn retire(&self, who: Who) {
        let Self { queue, workers, .. } = self;
        retire(&queue.redis, &queue.keys, workers[who])
            .await
            .unwrap();
    }

    pub(super) async fn held(&self, who: Who) -> BTreeMap<Id, (u32, u32)> {
        let Self { queue, workers, .. } = self;
        let held = held_by(&queue.redis, &queue.keys, workers[who])
            .await
            .unwrap();
        let held = held.into_iter();
        held.map(|it| (to_id(it.id), (it.lease.attempt(), it.deaths)))
            .collect()
    }

    pub(super) async fn reap(&self, who: Who) {
        self.care.reap(self.workers[who]).await.unwrap();
    }

    /// Gives back what was read some time ago.
    pub(super) async fn give_back(&self, who: Who, read: &BTreeMap<Id, Held>, node: &Node) {
        let claimed = |(id, held): (&Id, &Held)| {
            let group = match held.role {
                Role::Child(master) => format!(r#","group":"{master}""#),
                _ => String::new(),
            };
            Claimed {
                id: to_job(*id),
                lease: node.lease(*id, held.lease).into(),
                deaths: u32::from(held.deaths),
                body: format!(r#"{{"task":"test.nop","args":null{group}}}"#).into_bytes(),
            }
        };
        let held: Vec<_> = read.iter().map(claimed).collect();
        self.care.give_back(self.workers[who], &held).await.unwrap();
    }

    /// The time of a scheduled job comes.
    pub(super) async fn promote(&self, id: Id) {
        let scheduled = self.queue.keys.scheduled();
        let id = id.to_string();
        let _: usize = self
            .queue
            .command(&["ZADD", &scheduled, "XX", "1", &id])
            .await;
        self.care.overdue().await.unwrap();
    }

    pub(super) async fn revive(&self, id: Id) {
        let operator = Operator::new(self.queue.redis.clone(), self.queue.keys.clone());
        operator.retry(&[to_job(id)]).await.unwrap();
    }

    pub(super) async fn sweep(&mut self, asked: Option<Id>) {
        let asked = asked.map(|id| (to_job(id), Instant::now()));
        self.care.missing = HashMap::from_iter(asked);
        self.care.sweep().await.unwrap();
    }

    pub(super) async fn split(
        &self,
        who: Who,
        master: Id,
        lease: Lease,
        step: Step,
        node: &Node,
    ) -> SplitReply {
        let context = JobContext::by_hand(
            self.turns(who),
            to_job(master),
            node.lease(master, lease).into(),
            self.shutdown.clone(),
        );
        let policy = match step {
            Step::Begin(policy) | Step::Add(policy, _) => policy,
            Step::Seal => Policy::Continue, // it has been told before
        };
        let on_death = match policy {
            Policy::Continue => OnDeath::Continue,
            Policy::Fail => OnDeath::Fail,
        };
        // A split begins anew each time, which changes nothing from the second time on.
        let begun = context.fan_out(on_death, &CHILDREN).await;
        let outcome = match (begun, step) {
            (Err(error), _) => Err(error),
            (Ok(split), Step::Begin(_)) => {
                assert_eq!(split.plan().unwrap(), CHILDREN);
                Ok((split.next, split.sealed))
            }
            (Ok(mut split), Step::Add(_, index)) => {
                (split.next, split.index) = (u64::from(index), u64::from(index));
                split.sealed = false;
                split.add(&Nop).await.unwrap();
                split.send().await.unwrap();
                let heard = split.hear(1).await;
                heard.map(|()| (split.next, split.sealed))
            }
            (Ok(mut split), Step::Seal) => {
                split.index = split.next;
                split.then(&Nop).await.map(|()| (0, true))
            }
        };
        match outcome {
            Ok((_, true)) => SplitReply::Sealed,
            Ok((next, false)) => SplitReply::Next(u8::try_from(next).unwrap()),
            Err(FanOutError::ClaimLost(_)) => SplitReply::ClaimLost,
            Err(error) => panic!("{error}"),
        }
    }
}

fn to_job(id: Id) -> JobId {
    id.to_string().parse().unwrap()
}

fn to_settlement(it: &Settlement, node: &Node) -> settle::Settlement {
    let error = "it failed".to_owned();
    let master_if = |role| match role {
        Role::Child(master) => (Some(to_job(master)), None),
        Role::Follower(master) => (None, Some(to_job(master))),
        Role::Plain | Role::Master => (None, None),
    };
    let (group, follows) = master_if(it.role);
    let ties = Ties {
        group,
        follows,
        ..Ties::default()
    };
    settle::Settlement {
        id: to_job(it.id),
        lease: node.lease(it.id, it.lease).into(),
        ties,
        had_group: it.had_group,
        output: None,
        verdict: match it.verdict {
            Verdict::Done => settle::Verdict::Done,
            Verdict::Retry => settle::Verdict::Retry {
                delay: Duration::ZERO,
                error,
            },
            Verdict::RetryLater => settle::Verdict::Retry { delay: LONG, error },
            Verdict::Bury => settle::Verdict::Bury { error },
            Verdict::Back => settle::Verdict::Back,
        },
    }
}
