//! Consume: the loop of a worker. While it is busy it takes turns ([`super::turn`]), which never block;
//! with a free slot and nothing to claim it waits in BRPOP on its own connection. Up to two or three turns are
//! under way at once, each for its part of the slots: while Redis works on one, the jobs of another
//! run. Before this, [`super::enqueue`] pushed the jobs; next, [`super::run`] runs them.
//!
//! The loop has a [`thread`] of its own; [`compare`] finds claims whose answer was lost; [`finish`] ends the
//! worker.

mod compare;
#[cfg(test)]
mod consumer_test;
mod finish;
mod thread;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{runtime::Handle, sync::watch, task::JoinSet};

pub(super) use thread::alone;

use super::{
    JobId, Queue,
    bell::Bell,
    heartbeat::News,
    limits::{Demand, Slots},
    run::Runner,
    settle::Settlement,
    turn::{Claimed, Lease, Popped, TurnReply, Turns},
};
use crate::{
    begun::begun,
    error::Chain,
    kv::{
        KvError,
        blocking::{self, Inbox, Waiting},
    },
    shutdown::Shutdown,
};

/// After a failed turn.
const RETRY: Duration = Duration::from_millis(100);
/// Turns under way at once.
const TURNS: usize = 2;
/// The same while jobs run that were not done at once, as a master does that keeps Redis busy (docs/decisions/0039).
const TURNS_BESIDE: usize = 3;
/// How long the jobs of one turn are tried at once, one after another, before the rest get tasks of their own.
const AT_ONCE: Duration = Duration::from_micros(500);
/// How often what Redis holds is compared with what runs, after a turn failed.
const DOUBTS: u8 = 2;

/// The blocking connection, at rest or asked.
enum Listening {
    No(Inbox),
    On(Question),
    /// Between the two, or at the end.
    Gone,
}

/// What the blocking connection was asked.
struct Question {
    waiting: Waiting,
    queues: Vec<Queue>,
    /// Since when care has seen something on one of the queues.
    overheard: Option<Instant>,
}

/// A turn that has ended, with what it was for.
struct Turned {
    settlements: Vec<Settlement>,
    popped: Option<JobId>,
    demand: Demand,
    reply: Result<TurnReply, KvError>,
}

pub(super) struct Consumer {
    turns: Turns,
    runner: Runner,
    /// Where jobs run that are not done at once.
    jobs: Handle,
    slots: Slots,
    listening: Listening,
    news: watch::Receiver<News>,
    /// Queues whose list held something when care looked last.
    listed: watch::Receiver<Vec<Queue>>,
    /// How often Redis was away, as far as the blocking connection has heard.
    returns: u64,
    bell: Bell,
    running: JoinSet<Settlement>,
    /// The lease of each job that runs. A job whose claim was lost may run beside them to its end.
    in_flight: HashMap<JobId, Lease>,
    /// Finished, and in no turn.
    unsettled: Vec<Settlement>,
    /// Those that no turn has taken: one, or more if a turn failed.
    popped: VecDeque<JobId>,
    under_way: FuturesUnordered<BoxFuture<'static, Turned>>,
    /// Jobs that turns under way settle.
    settling: usize,
    /// Whether there may be something to claim.
    hungry: bool,
    /// Whether the last turn succeeded.
    well: bool,
    /// Above 0 if a turn failed: what it claimed is not known.
    doubts: u8,
    /// Whether a beat told that Redis and this worker may differ: no new turn until they are compared.
    to_compare: bool,
    retry_at: Option<tokio::time::Instant>,
    /// Tells how many slots are taken.
    slots_used: metrics::Gauge,
    /// Counts settlements that were refused.
    stale: metrics::Counter,
}

impl Consumer {
    /// One whose jobs run on the runtime on which this is called, wherever it runs itself.
    pub(super) fn new(
        turns: Turns,
        runner: Runner,
        slots: Slots,
        inbox: Inbox,
        news: watch::Receiver<News>,
        listed: watch::Receiver<Vec<Queue>>,
        bell: Bell,
    ) -> Self {
        metrics::gauge!("rhubarb_slots").set(u32::try_from(slots.total()).unwrap_or(u32::MAX));
        Self {
            turns,
            runner,
            jobs: Handle::current(),
            slots,
            listening: Listening::No(inbox),
            news,
            listed,
            returns: 0,
            bell,
            running: JoinSet::new(),
            in_flight: HashMap::new(),
            unsettled: Vec::new(),
            popped: VecDeque::new(),
            under_way: FuturesUnordered::new(),
            settling: 0,
            hungry: true,
            well: true,
            doubts: 0,
            to_compare: false,
            retry_at: None,
            slots_used: metrics::gauge!("rhubarb_slots_used"),
            stale: metrics::counter!("rhubarb_stale_settlements_total"),
        }
    }

    /// Claims and runs jobs until the shutdown, or until the heartbeat ends; then finishes what runs, for
    /// `patience` at most, and gives the rest back.
    pub(super) async fn run(&mut self, shutdown: &Shutdown, patience: Duration) {
        while !shutdown.is_asked() && self.news.has_changed().is_ok() {
            if self.to_compare && self.under_way.is_empty() {
                self.compare().await;
            }
            while self.turn_is_due() {
                self.begin_turn();
                if self.under_way.len() > 1 {
                    // It goes out before the jobs of the other run. Else two turns that came back together
                    // stay together: Redis answers both at once, and waits while the jobs of both run.
                    tokio::task::yield_now().await;
                }
            }
            let used = u32::try_from(self.in_flight.len());
            self.slots_used.set(used.unwrap_or(u32::MAX));
            self.listen();
            self.wait(shutdown).await;
        }
        if !shutdown.is_asked() {
            tracing::error!(
                "the heartbeat has ended by itself: this worker stops, for others take it for dead"
            );
        }
        self.finish(patience).await;
    }

    /// A first turn is begun for whatever there is to do; another beside it only if it is worth its while.
    fn turn_is_due(&self) -> bool {
        if self.to_compare || self.retry_at.is_some() {
            return false;
        }
        let claims: usize = if self.hungry {
            let free = self.slots.free_by_queue();
            free.iter().map(|(_, free)| *free).max().unwrap_or(0)
        } else {
            0
        };
        let work = self.unsettled.len().max(claims);
        match self.under_way.len() {
            0 => work > 0 || !self.popped.is_empty(),
            n if n >= self.turns() => false,
            _ => work >= self.part(),
        }
    }

    fn turns(&self) -> usize {
        if self.in_flight.is_empty() {
            TURNS
        } else {
            TURNS_BESIDE
        }
    }

    /// How many jobs a turn is for.
    fn part(&self) -> usize {
        self.slots.total().div_ceil(self.turns())
    }

    /// Settles what is finished and claims what there are slots for.
    fn begin_turn(&mut self) {
        let demand = self.slots.demand(Instant::now(), self.part());
        let popped = self.popped.pop_front();
        let take = popped.map(|id| {
            let has_slot = demand.order.iter().any(|(queue, _)| *queue == id.queue());
            if has_slot {
                Popped::Take(id)
            } else {
                Popped::Back(id)
            }
        });
        self.slots.promise(&demand);
        let settlements = std::mem::take(&mut self.unsettled);
        self.settling += settlements.len();
        let turns = self.turns.clone();
        let turn = async move {
            let reply = turns.take(&settlements, take, &demand).await;
            Turned {
                settlements,
                popped,
                demand,
                reply,
            }
        };
        self.under_way.push(begun(turn));
    }

    fn turned(&mut self, turned: Turned) {
        let Turned {
            settlements,
            popped,
            demand,
            reply,
        } = turned;
        self.slots.keep(&demand);
        self.settling -= settlements.len();
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.complain(&error);
                self.slots.charge(&demand, &[]);
                self.unsettled.extend(settlements);
                if let Some(id) = popped {
                    self.popped.push_front(id);
                }
                self.doubts = DOUBTS;
                self.retry_at = Some(tokio::time::Instant::now() + RETRY);
                return;
            }
        };
        if !std::mem::replace(&mut self.well, true) {
            tracing::info!("Redis is back; claiming again");
        }
        for refused in &reply.refused {
            self.stale.increment(1);
            // Also the answer to a settlement that was carried out, and whose answer was lost.
            tracing::debug!(job.id = %refused, "the claim of {refused} had ended before it was settled");
        }
        if self.slots.pause_also(&reply.paused) {
            // The answer may be older than a resume that was heard meanwhile: the next beat tells.
            self.bell.beat.notify_one();
        }
        let taken: Vec<_> = reply.claimed.iter().map(|job| job.id.queue()).collect();
        self.slots.charge(&demand, &taken);
        if demand.free > 0 {
            self.hungry = reply.claimed.len() >= demand.free;
        }
        self.start(reply.claimed, Instant::now() + AT_ONCE);
    }

    /// Starts jobs. Until the given time each is first tried here, if its task was quick the last time: a job
    /// that ends without waiting for anything costs no task of the runtime, no wake-up, no change of thread.
    fn start(&mut self, jobs: impl IntoIterator<Item = Claimed>, until: Instant) {
        // Whatever they make of tasks, timers and sockets stays where they go on.
        let runtime = self.jobs.clone();
        let _entered = runtime.enter();
        for claimed in jobs {
            let (id, lease) = (claimed.id, claimed.lease.clone());
            let mut job = Box::pin(self.runner.clone().run(claimed));
            if Instant::now() < until
                && let Some(settlement) = job.as_mut().now_or_never()
            {
                self.unsettled.push(settlement);
                self.hungry = true;
                continue;
            }
            self.slots.fill(id.queue());
            self.running.spawn(job);
            self.in_flight.insert(id, lease);
        }
    }

    /// Waits in BRPOP on the queues that have a free slot, when the last turn found nothing more in them.
    fn listen(&mut self) {
        let free = self.slots.free_by_queue().into_iter();
        let free: Vec<Queue> = free.map(|(queue, _)| queue).collect();
        match std::mem::replace(&mut self.listening, Listening::Gone) {
            Listening::No(inbox) if !free.is_empty() && !self.hungry && self.popped.is_empty() => {
                let lists = free
                    .iter()
                    .map(|queue| self.turns.keys.queue(*queue))
                    .collect();
                self.listening = Listening::On(Question {
                    waiting: inbox.wait(lists),
                    queues: free,
                    overheard: None,
                });
            }
            Listening::On(question) => {
                // A queue has a free slot that it had not when the question was asked, or one was paused: ask
                // anew.
                let asked = &question.queues;
                if asked.iter().any(|queue| self.slots.is_paused(*queue))
                    || free.iter().any(|queue| !asked.contains(queue))
                {
                    question.waiting.cut_short();
                }
                self.listening = Listening::On(question);
            }
            at_rest => self.listening = at_rest,
        }
    }

    /// Waits for the next event: a turn that ended, a job that finished, an id that was popped, a beat, the
    /// shutdown.
    async fn wait(&mut self, shutdown: &Shutdown) {
        let answer = async {
            match &mut self.listening {
                Listening::On(question) => question.waiting.answer().await,
                Listening::No(_) | Listening::Gone => std::future::pending().await,
            }
        };
        let pause = async {
            match self.retry_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(turned) = self.under_way.next() => self.turned(turned),
            Some(finished) = self.running.join_next() => self.finished(finished),
            answer = answer => self.answered(answer),
            beat = self.news.changed() => if beat.is_ok() { self.beat() },
            Ok(()) = self.listed.changed() => self.cared(),
            () = pause => self.retry_at = None,
            () = shutdown.asked() => {}
        }
        while let Some(finished) = self.running.try_join_next() {
            self.finished(finished);
        }
    }

    fn finished(&mut self, finished: Result<Settlement, tokio::task::JoinError>) {
        // An error is a job that was aborted; whoever aborts also gives it back.
        let Ok(settlement) = finished else { return };
        let known = self.in_flight.get(&settlement.id);
        if known == Some(&settlement.lease) {
            self.in_flight.remove(&settlement.id);
        }
        self.slots.free(settlement.id.queue());
        self.unsettled.push(settlement);
        self.hungry = true;
    }

    fn answered(&mut self, (inbox, popped): (Inbox, Option<blocking::Popped>)) {
        self.listening = Listening::No(inbox);
        let Some((list, id)) = popped else { return };
        match String::from_utf8_lossy(&id).parse() {
            Ok(id) => self.popped.push_back(id),
            Err(error) => {
                tracing::error!(error = %Chain(&error), list, "dropped what is no job's id from `{list}`");
            }
        }
        self.hungry = true;
    }

    fn complain(&mut self, error: &KvError) {
        if std::mem::replace(&mut self.well, false) {
            tracing::warn!(error = %Chain(&error), "cannot take turns; trying again until Redis is back");
        }
    }
}
