//! The end of a worker: finish what runs, give the rest back.

use std::time::Duration;

use futures_util::StreamExt;

use super::{Consumer, Listening, RETRY};
use crate::{
    error::Chain,
    kv::KvError,
    queue::{
        limits::Demand,
        settle::{Settlement, Verdict},
        tail::Event,
        turn::Popped,
    },
};

/// What jobs that block their threads have, once they were asked to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

impl Consumer {
    /// Stops claiming, finishes what runs within `patience`, gives the rest back.
    pub(super) async fn finish(&mut self, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        if let Listening::On(mut question) = std::mem::replace(&mut self.listening, Listening::Gone)
        {
            question.waiting.cut_short();
            let answer = question.waiting.answer().await;
            self.answered(answer);
        }
        while let Some(turned) = self.under_way.next().await {
            self.turned(turned);
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
            // If it fails, it is tried again below, with the rest.
            let _ = self.settle_only().await;
        }
        // Also those that are no longer in flight, because their claims were lost.
        self.running.abort_all();
        // An aborted job must be still before somebody else may run it.
        while self.running.join_next().await.is_some() {}
        let busy = self.runner.closures.ended(STOP_PATIENCE).await;
        for (id, lease) in self.in_flight.drain() {
            if busy.contains(&id) {
                tracing::error!(job.id = %id, "{id} blocks its thread and does not stop; another worker takes it over when this one's heartbeat has run out");
                continue;
            }
            self.runner.tail.tell(|| Event::released(id));
            self.unsettled
                .push(Settlement::of(id, &lease, Verdict::Back));
        }
        let given_back = self
            .unsettled
            .iter()
            .filter(|s| s.verdict == Verdict::Back)
            .count();
        match self.settle_until(deadline).await {
            Ok(()) if given_back > 0 => tracing::info!("gave {given_back} unfinished jobs back"),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "could not settle; another worker will take over what was held");
            }
        }
    }

    /// Settles what is left, when Redis is back if it is away: else others would do again what is done, and count what
    /// was given back as one more death.
    async fn settle_until(&mut self, deadline: tokio::time::Instant) -> Result<(), KvError> {
        loop {
            match self.settle_only().await {
                Err(error) if tokio::time::Instant::now() + RETRY < deadline => {
                    self.complain(&error);
                    tokio::time::sleep(RETRY).await;
                }
                done => return done,
            }
        }
    }

    /// Takes turns that claim nothing; each again on a new connection, once, if the old one turns out to be lost: to
    /// settle twice is harmless.
    async fn settle_only(&mut self) -> Result<(), KvError> {
        while !(self.unsettled.is_empty() && self.popped.is_empty()) {
            let popped = self.popped.front().copied().map(Popped::Back);
            let demand = Demand::default();
            let once = async || self.turns.take(&self.unsettled, popped, &demand).await;
            match once().await {
                Err(error) if error.is_lost_connection() => once().await?,
                done => done?,
            };
            self.unsettled.clear();
            self.popped.pop_front();
        }
        Ok(())
    }
}
