//! The queue on a real Redis, step by step: real workers, and accidents made by hand.

mod blocking;
mod cancel;
mod claim;
mod death;
mod delay;
mod enqueue;
mod fan_out;
mod flows;
mod inbox;
mod lanes;
mod middleware;
mod outage;
mod outbox;
mod parking;
mod pause;
mod periodic;
mod poison;
mod recite;
mod results;
mod settle;
mod share;
mod shutdown;
mod stage;
mod sweep;
mod testing;
mod timeouts;
mod trace;
mod unique;

use std::{collections::BTreeMap, ops::Range};

use common::{
    queue::{JobId, Options, Queue},
    testing::{TestQueue, eventually},
};
use serde_json::Value;

use stage::{Act, Clumsy, Hasty, Plot, Stage, act, brief, fan};

/// What tests ask of a queue, by the names that `redis-cli` would use.
pub(crate) trait Look {
    /// LLEN of a queue's list.
    async fn listed(&self, queue: Queue) -> usize;
    /// ZCARD of `dead`.
    async fn dead(&self) -> Vec<JobId>;
    /// A number in `stats`; 0 if there is none.
    async fn stat(&self, name: &str) -> usize;
    /// The entries of a job's history.
    async fn history(&self, job: JobId) -> Vec<Value>;
    /// Waits until a job is dead; returns its last error.
    async fn dies(&self, job: JobId) -> String;
    /// Waits until a key is gone.
    async fn gone(&self, key: &str);
    /// Waits until every job is settled and nothing of any is left, then asserts that the books balance.
    async fn ends_clean(&self);
    /// Asserts that no job is missing from the books, `left` of them unsettled.
    async fn adds_up(&self, left: usize);
    /// BRPOP by somebody who then dies.
    async fn pop_and_die(&self, queue: Queue) -> Option<String>;
}

impl Look for TestQueue {
    async fn listed(&self, queue: Queue) -> usize {
        self.command(&["LLEN", &self.keys.queue(queue)]).await
    }

    async fn dead(&self) -> Vec<JobId> {
        self.command(&["ZRANGE", &self.keys.dead(), "0", "-1"])
            .await
    }

    async fn stat(&self, name: &str) -> usize {
        let value: Option<usize> = self.command(&["HGET", &self.keys.stats(), name]).await;
        value.unwrap_or(0)
    }

    async fn history(&self, job: JobId) -> Vec<Value> {
        let entries: Vec<String> = self
            .command(&["LRANGE", &self.keys.history(job), "0", "-1"])
            .await;
        entries
            .iter()
            .map(|entry| serde_json::from_str(entry).expect("JSON"))
            .collect()
    }

    async fn dies(&self, job: JobId) -> String {
        eventually(&format!("{job} is dead"), async || {
            self.dead().await.contains(&job).then_some(())
        })
        .await;
        let body: Option<Vec<u8>> = self
            .command(&["HGET", &self.keys.bucket(job), &job.to_string()])
            .await;
        assert!(body.is_some(), "a dead job keeps its body");
        let history = self.history(job).await;
        history.last().expect("an entry")["error"]
            .as_str()
            .expect("an error")
            .to_owned()
    }

    async fn gone(&self, key: &str) {
        eventually(&format!("{key} is gone"), async || {
            (self.command::<usize>(&["EXISTS", key]).await == 0).then_some(())
        })
        .await;
    }

    async fn ends_clean(&self) {
        self.until_drained().await;
        for queue in Queue::ALL {
            self.gone(&self.keys.queue(queue)).await;
        }
        let names = eventually("what no job needs is gone", async || {
            let names = self.key_names().await;
            let passing = ["workers", "workers:info", "looked", "stats"];
            let stays = |name: &str| {
                let expires = name.starts_with("result:");
                expires || name.starts_with("mark:") || passing.contains(&name)
            };
            let rest: Vec<_> = names.into_iter().filter(|name| !stays(name)).collect();
            // What was discarded or listed twice leaves the loose ones at the next sweep.
            rest.is_empty().then_some(())
        });
        names.await;
        self.adds_up(0).await;
    }

    async fn adds_up(&self, left: usize) {
        let stats: BTreeMap<String, usize> = self.command(&["HGETALL", &self.keys.stats()]).await;
        let sum = |what: &str| -> usize {
            stats
                .iter()
                .filter(|(name, _)| name.starts_with(what))
                .map(|(_, n)| n)
                .sum()
        };
        let jobs = self.bodies().await.len();
        assert_eq!(jobs, left, "jobs that are not settled");
        assert_eq!(
            sum("enqueued:"),
            sum("completed:") + sum("discarded:") + sum("cancelled:") + sum("expired:") + jobs,
            "{stats:?}"
        );
    }

    async fn pop_and_die(&self, queue: Queue) -> Option<String> {
        let popped: Option<(String, String)> =
            self.command(&["BRPOP", &self.keys.queue(queue), "1"]).await;
        popped.map(|(_, id)| id)
    }
}

/// Onto one queue.
pub(crate) fn onto(queue: Queue) -> Options {
    Options {
        queue: Some(queue),
        ..Options::default()
    }
}

/// The names, sorted.
pub(crate) fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// The names of the acts of these numbers, sorted.
pub(crate) fn names(numbers: Range<u32>) -> Vec<String> {
    sorted(numbers.map(|number| number.to_string()).collect())
}
