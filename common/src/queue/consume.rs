//! Consume: the loop of a worker. While it is busy it takes turns ([`super::turn`]), which never block;
//! with a free slot and nothing to claim it waits in BRPOP on its own connection.
//! Before this, [`super::enqueue`] pushed the jobs; next, [`super::run`] runs them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet};

use super::{
    JobId, Queue,
    limits::{Demand, Slots},
    run::Runner,
    settle::{Settlement, Verdict},
    turn::{Claimed, Popped, Turns},
};
use crate::{
    error::Chain,
    kv::{
        KvError,
        blocking::{self, Inbox, Waiting},
    },
    shutdown::Shutdown,
};

/// After a failed turn.
const RETRY: Duration = Duration::from_millis(100);

/// The blocking connection, at rest or asked.
enum Listening {
    No(Inbox),
    On(Waiting, Vec<Queue>),
    /// The waiting task is gone with its runtime.
    Gone,
}

pub(super) struct Consumer {
    turns: Turns,
    runner: Runner,
    slots: Slots,
    listening: Listening,
    held: watch::Receiver<usize>,
    running: JoinSet<Settlement>,
    /// The lease of each job that runs. A job whose claim was lost may run beside them to its end.
    in_flight: HashMap<JobId, String>,
    /// Finished, and not yet settled in Redis.
    unsettled: Vec<Settlement>,
    popped: Option<JobId>,
    /// Whether there may be something to claim.
    hungry: bool,
    /// Whether the last turn succeeded.
    well: bool,
    /// Whether a turn failed since the last reconciliation: what it claimed is not known.
    in_doubt: bool,
}

impl Consumer {
    pub(super) fn new(
        runner: Runner,
        slots: Slots,
        inbox: Inbox,
        held: watch::Receiver<usize>,
    ) -> Self {
        Self {
            turns: runner.turns.clone(),
            runner,
            slots,
            listening: Listening::No(inbox),
            held,
            running: JoinSet::new(),
            in_flight: HashMap::new(),
            unsettled: Vec::new(),
            popped: None,
            hungry: true,
            well: true,
            in_doubt: false,
        }
    }

    /// Claims and runs jobs until the shutdown, or until the heartbeat ends; then finishes what runs, for
    /// `patience` at most, and gives the rest back.
    pub(super) async fn run(&mut self, shutdown: &Shutdown, patience: Duration) {
        while !shutdown.is_asked() && self.beats() {
            if self.turn_is_due() {
                self.turn().await;
            } else {
                self.listen().await;
                self.wait(shutdown).await;
            }
        }
        if !shutdown.is_asked() {
            tracing::error!(
                "the heartbeat has ended by itself: this worker stops, for others take it for dead"
            );
        }
        self.finish(patience).await;
    }

    fn beats(&self) -> bool {
        self.held.has_changed().is_ok()
    }

    fn turn_is_due(&self) -> bool {
        !self.unsettled.is_empty()
            || self.popped.is_some()
            || (self.hungry && !self.slots.free_by_queue().is_empty())
    }

    /// Settles what is finished and claims what there are slots for.
    async fn turn(&mut self) {
        let demand = self.slots.demand(Instant::now());
        let popped = self.popped.map(|id| {
            let has_slot = demand.order.iter().any(|(queue, _)| *queue == id.queue());
            if has_slot {
                Popped::Take(id)
            } else {
                Popped::Back(id)
            }
        });
        if let Err(error) = self.exchange(popped, &demand).await {
            self.complain(&error);
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn exchange(&mut self, popped: Option<Popped>, demand: &Demand) -> Result<(), KvError> {
        let reply = self.turns.take(&self.unsettled, popped, demand).await;
        let reply = reply.inspect_err(|_| self.in_doubt = true)?;
        if !std::mem::replace(&mut self.well, true) {
            tracing::info!("Redis is back; claiming again");
        }
        for refused in &reply.refused {
            // Also the answer to a settlement that was carried out, and whose answer was lost.
            tracing::debug!(job.id = %refused, "the claim of {refused} had ended before it was settled");
        }
        self.unsettled.clear();
        self.popped = None;
        self.hungry = demand.free > 0 && reply.claimed.len() >= demand.free;
        for claimed in reply.claimed {
            self.start(claimed);
        }
        Ok(())
    }

    fn start(&mut self, claimed: Claimed) {
        let (id, lease) = (claimed.id, claimed.lease.clone());
        self.slots.fill(id.queue());
        self.running.spawn(self.runner.clone().run(claimed));
        self.in_flight.insert(id, lease);
    }

    /// Waits in BRPOP on the queues that have a free slot.
    async fn listen(&mut self) {
        let free: Vec<Queue> = self
            .slots
            .free_by_queue()
            .into_iter()
            .map(|(queue, _)| queue)
            .collect();
        match std::mem::replace(&mut self.listening, Listening::Gone) {
            Listening::No(inbox) if !free.is_empty() => {
                let lists = free
                    .iter()
                    .map(|queue| self.turns.keys.queue(*queue))
                    .collect();
                self.listening = Listening::On(inbox.wait(lists), free);
            }
            Listening::On(waiting, queues) => {
                // A queue has a free slot that it had not when the question was asked: ask anew.
                if free.iter().any(|queue| !queues.contains(queue)) {
                    waiting.cut_short(&self.turns.redis).await;
                }
                self.listening = Listening::On(waiting, queues);
            }
            at_rest => self.listening = at_rest,
        }
    }

    /// Waits for the next event: a job that finished, an id that was popped, a beat, the shutdown.
    async fn wait(&mut self, shutdown: &Shutdown) {
        let answer = async {
            match &mut self.listening {
                Listening::On(waiting, _) => waiting.answer().await,
                Listening::No(_) | Listening::Gone => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(finished) = self.running.join_next() => self.finished(finished),
            answer = answer => self.answered(answer),
            beat = self.held.changed() => if beat.is_ok() { self.reconcile().await },
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

    fn answered(&mut self, answer: Option<(Inbox, Option<blocking::Popped>)>) {
        let Some((inbox, popped)) = answer else {
            self.listening = Listening::Gone;
            return;
        };
        self.listening = Listening::No(inbox);
        let Some((list, id)) = popped else { return };
        match String::from_utf8_lossy(&id).parse() {
            Ok(id) => self.popped = Some(id),
            Err(error) => {
                tracing::error!(error = %Chain(&error), list, "dropped what is no job's id from `{list}`");
            }
        }
        self.hungry = true;
    }

    /// Finds claims that Redis made and whose answer was lost, and runs them, or gives them back if
    /// there is no slot. Turns are taken one after another, so a claim that is neither running nor
    /// waiting to be settled is such a one.
    async fn reconcile(&mut self) {
        let known = self.in_flight.len() + self.unsettled.len();
        if *self.held.borrow_and_update() <= known && !self.in_doubt {
            return;
        }
        let held = match self.turns.held().await {
            Ok(held) => held,
            Err(error) => return self.complain(&error),
        };
        self.in_doubt = false;
        for claimed in held {
            let settling = self
                .unsettled
                .iter()
                .any(|s| s.id == claimed.id && s.lease == claimed.lease);
            if self.in_flight.get(&claimed.id) == Some(&claimed.lease) || settling {
                continue;
            }
            let id = claimed.id;
            let free = self.slots.free_by_queue();
            if free.iter().any(|(queue, _)| *queue == id.queue()) {
                tracing::warn!(job.id = %id, "running {id}, whose claim's answer was lost");
                self.start(claimed);
            } else {
                tracing::warn!(job.id = %id, "giving {id} back, whose claim's answer was lost");
                self.unsettled.push(Settlement::of(&claimed, Verdict::Back));
            }
        }
    }

    fn complain(&mut self, error: &KvError) {
        if std::mem::replace(&mut self.well, false) {
            tracing::warn!(error = %Chain(&error), "cannot take turns; trying again until Redis is back");
        }
    }

    /// Stops claiming, finishes what runs within `patience`, gives the rest back.
    async fn finish(&mut self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        if let Listening::On(mut waiting, _) =
            std::mem::replace(&mut self.listening, Listening::Gone)
        {
            waiting.cut_short(&self.turns.redis).await;
            let answer = waiting.answer().await;
            self.answered(answer);
        }
        if !self.in_flight.is_empty() {
            let n = self.in_flight.len();
            tracing::info!("stopping: {n} jobs have {patience:?} to finish");
        }
        while !self.in_flight.is_empty() {
            let finished = tokio::time::timeout_at(deadline, self.running.join_next()).await;
            let Ok(Some(finished)) = finished else { break };
            self.finished(finished);
            while let Some(finished) = self.running.try_join_next() {
                self.finished(finished);
            }
            // If it fails, it is tried once more below, with the rest.
            let _ = self.settle_only().await;
        }
        // Also those that are no longer in flight, because their claims were lost.
        self.running.abort_all();
        for (id, lease) in self.in_flight.drain() {
            self.unsettled.push(Settlement {
                id,
                lease,
                group: None,
                follows: None,
                had_group: false,
                verdict: Verdict::Back,
            });
        }
        // An aborted job must be still before somebody else may run it.
        while self.running.join_next().await.is_some() {}
        let given_back = self
            .unsettled
            .iter()
            .filter(|s| s.verdict == Verdict::Back)
            .count();
        match self.settle_only().await {
            Ok(()) if given_back > 0 => tracing::info!("gave {given_back} unfinished jobs back"),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "could not settle; another worker will take over what was held");
            }
        }
    }

    async fn settle_only(&mut self) -> Result<(), KvError> {
        if self.unsettled.is_empty() && self.popped.is_none() {
            return Ok(());
        }
        let popped = self.popped.map(Popped::Back);
        self.exchange(
            popped,
            &Demand {
                order: Vec::new(),
                free: 0,
            },
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{id::BootId, queue::Registry, testing::TestQueue};

    #[tokio::test]
    async fn a_worker_whose_heartbeat_ended_stops() {
        let queue = TestQueue::start();
        let (_stop, shutdown) = Shutdown::manual();
        let runner = Runner {
            registry: Arc::new(Registry::new()),
            turns: Turns {
                redis: queue.redis.clone(),
                keys: queue.keys.clone(),
                worker: BootId::fresh(),
                time_to_live: Duration::from_secs(9),
            },
            shutdown: shutdown.clone(),
        };
        let options = TestQueue::options("default=1");
        let slots = Slots::new(options.limits, 1, options.starvation);
        let (tell, held) = watch::channel(0);
        let inbox = Inbox::new(queue.redis.clone());
        let mut consumer = Consumer::new(runner, slots, inbox, held);

        let run = consumer.run(&shutdown, Duration::ZERO);
        let end = async {
            tokio::task::yield_now().await;
            drop(tell);
        };
        let both = async { tokio::join!(run, end) };
        let stopped = tokio::time::timeout(Duration::from_secs(20), both).await;

        assert!(stopped.is_ok(), "it goes on");
        assert!(!shutdown.is_asked());
    }
}
