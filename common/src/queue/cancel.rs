//! Cancel: end a job for good, wherever it is. One that nobody runs ends at once. One that is run is asked
//! for in Redis, fenced by the lease of its claim; its worker hears of it with a heartbeat, which the bell
//! hurries, and drops it ([`super::JobContext::stopping`]). If that attempt fails or its worker dies
//! meanwhile, the job is not tried again.

use std::{sync::LazyLock, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    ENDS, JobId, WITHDRAW,
    inspect::PLACES,
    job::Ties,
    operate::Operator,
    results::{AnyOutcome, Ear, LOOK_EVERY, Outcome, Signal},
};
use crate::kv::{KvError, Script};

static CANCEL: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "cancel jobs",
        &[ENDS, PLACES, WITHDRAW, include_str!("lua/cancel.lua")],
    )
});

/// Jobs a script call at most.
const CHUNK: usize = 200;

/// What became of a wish to cancel a job.
#[derive(Debug, Clone)]
pub enum Cancel {
    /// It is cancelled: it does not run, and will not.
    Cancelled,
    /// It is being run; its worker is asked.
    Asked,
    /// It had ended before: so, if that is kept. Or there has never been such a job.
    Ended(Option<AnyOutcome>),
    /// It is in no place; an audit finds out where it belongs.
    Nowhere,
}

impl Operator {
    /// Cancels jobs; returns what became of each. A child counts as failed in its group. What follows the
    /// group of a master that is cancelled before it has named all children is never enqueued; the children
    /// that it has named run.
    ///
    /// # Errors
    /// If Redis fails; an unknown part has been cancelled then. To cancel again is harmless.
    pub async fn cancel(&self, jobs: &[JobId]) -> Result<Vec<Cancel>, KvError> {
        self.write_down_all("cancel", jobs).await?;
        self.end(jobs).await
    }

    /// [`Self::cancel`], without an entry of its own.
    async fn end(&self, jobs: &[JobId]) -> Result<Vec<Cancel>, KvError> {
        let mut all = Vec::with_capacity(jobs.len());
        for chunk in jobs.chunks(CHUNK) {
            let bodies = self.bodies(chunk).await?;
            let mut call = CANCEL.on(self.keys.prefix());
            for (id, body) in chunk.iter().zip(&bodies) {
                let ties = Ties::of(body.as_deref().unwrap_or_default().as_bytes());
                call.arg(id).arg(ties.write());
            }
            let answers: Vec<String> = call.run(&self.redis).await?;
            all.extend(answers.iter().map(|answer| match answer.as_str() {
                "cancelled" => Cancel::Cancelled,
                "asked" => Cancel::Asked,
                "nowhere" => Cancel::Nowhere,
                outcome => Cancel::Ended(AnyOutcome::read(outcome)),
            }));
        }
        Ok(all)
    }

    /// Cancels jobs and waits until those that are being run have ended; what has not within `patience`
    /// stays [`Cancel::Asked`]. A job that was done before its worker heard is [`Cancel::Ended`].
    ///
    /// # Errors
    /// As [`Self::cancel`].
    pub async fn cancel_and_wait(
        &self,
        jobs: &[JobId],
        patience: Duration,
    ) -> Result<Vec<Cancel>, KvError> {
        let deadline = Instant::now() + patience;
        // First listen, then ask: the confirmation may come at once.
        let mut ears = join_all(jobs.iter().map(|job| self.hearing.job(*job))).await;
        let mut answers = self.cancel(jobs).await?;
        for ((job, ear), answer) in jobs.iter().zip(&mut ears).zip(&mut answers) {
            if matches!(answer, Cancel::Asked) {
                let confirmed = tokio::time::timeout_at(deadline, self.confirmation(*job, ear));
                if let Ok(confirmed) = confirmed.await {
                    *answer = confirmed;
                }
            }
        }
        Ok(answers)
    }

    /// Cancels the children that a master has named and that have not ended; returns how many are cancelled
    /// or asked for. They count as failed, and what follows the group goes by its policy.
    ///
    /// # Errors
    /// As [`Self::cancel`].
    pub async fn cancel_children(&self, master: JobId) -> Result<usize, KvError> {
        self.write_down("cancel", &format!("the children of {master}"))
            .await?;
        let (mut cursor, mut cancelled) = (0_u64, 0);
        loop {
            let mut connection = self.redis.connection().await?;
            let (next, children): (u64, Vec<JobId>) = redis::cmd("SSCAN")
                .arg(self.keys.group_left(master))
                .arg(cursor)
                .arg("COUNT")
                .arg(CHUNK)
                .query_async(&mut connection)
                .await
                .map_err(|source| self.redis.failed("walk over a group's children", source))?;
            let answers = self.end(&children).await?;
            let is_so = |answer: &&Cancel| matches!(answer, Cancel::Cancelled | Cancel::Asked);
            cancelled += answers.iter().filter(is_so).count();
            if next == 0 {
                return Ok(cancelled);
            }
            cursor = next;
        }
    }

    async fn confirmation(&self, job: JobId, ear: &mut Ear) -> Cancel {
        let mut next_look = Instant::now() + LOOK_EVERY;
        loop {
            tokio::select! {
                biased;
                signal = ear.next() => match signal {
                    Signal::Told(text) => match AnyOutcome::read(&text) {
                        Some(outcome) => return ended(Some(outcome)),
                        None if text == r#"{"ended":null}"# => next_look = Instant::now(),
                        None => {}
                    },
                    Signal::Missed => next_look = Instant::now(),
                },
                // To ask again tells how it stands.
                () = tokio::time::sleep_until(next_look) => {
                    next_look = Instant::now() + LOOK_EVERY;
                    match self.end(&[job]).await.unwrap_or_default().pop() {
                        Some(Cancel::Ended(outcome)) => return ended(outcome),
                        Some(Cancel::Asked) | None => {}
                        Some(answer) => return answer,
                    }
                }
            }
        }
    }
}

fn ended(outcome: Option<AnyOutcome>) -> Cancel {
    match outcome {
        Some(Outcome::Cancelled(_)) => Cancel::Cancelled,
        outcome => Cancel::Ended(outcome),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::{
        queue::{
            JobContext, Queue, Task, TaskError, job,
            limits::Demand,
            settle::{Settlement, Verdict},
            turn::Turns,
        },
        testing::TestQueue,
    };

    #[derive(Debug, Serialize, Deserialize)]
    struct Part(String);

    impl Task for Part {
        const NAME: &'static str = "test.part";
        type Context = ();
        type Output = ();

        async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_job_of_a_flow_that_is_given_back_instead_of_cancelled_still_tells_its_flow() {
        let queue = TestQueue::start();
        let (part, handler) = (Part("a".into()), Part("b".into()));
        let flow = job(&part).or_else(job(&handler));
        queue.producer().start(flow).await.unwrap();
        let turns = Turns::on(&queue);
        let one = Demand {
            order: vec![(Queue::Default, 1)],
            free: 1,
            ..Demand::default()
        };
        let reply = turns.take(&[], None, &one).await.unwrap();
        let claimed = &reply.claimed[0];
        let operator = Operator::new(queue.redis.clone(), queue.keys.clone());
        operator.cancel(&[claimed.id]).await.unwrap();

        // Its worker stops before it hears of that.
        let back = Settlement::of(claimed.id, &claimed.lease, Verdict::Back);
        let reply = turns.take(&[back], None, &one).await.unwrap();

        let next = &reply.claimed[0];
        let body = String::from_utf8_lossy(&next.body);
        assert!(body.contains(r#""args":"b""#), "{body}");
        let mut done = Settlement::of(next.id, &next.lease, Verdict::Done);
        done.ties = crate::queue::job::Ties::of(&next.body);
        turns.take(&[done], None, &Demand::default()).await.unwrap();
        let names = queue.key_names().await;
        assert!(
            names.iter().all(|name| !name.starts_with("flow:")),
            "{names:?}"
        );
    }
}
