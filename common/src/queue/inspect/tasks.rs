//! Totals by task: what its attempts came to, how long they ran and waited. Counted by workers since ever
//! (`queue/report.rs`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::Inspector;
use crate::kv::KvError;

/// Totals of one task. They may be a little too high after an outage of Redis, and lack the last two seconds of a worker
/// that was killed: what is exact is in [`super::status::Status::totals`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TaskTotals {
    /// Attempts that succeeded.
    pub done: u64,
    /// Attempts that failed, and after which another followed.
    pub retried: u64,
    /// Jobs whose last attempt failed. Those that took their workers down, or cannot be read, are in the totals of
    /// [`super::status::Status`] only.
    pub buried: u64,
    /// Jobs that were cancelled while they ran.
    pub cancelled: u64,
    /// Jobs that were not started in time.
    pub expired: u64,
    /// Time that all attempts ran, in µs.
    pub ran_us: u64,
    /// Time that all jobs waited before their first attempts, in ms.
    pub waited_ms: u64,
}

impl Inspector {
    /// The totals of every task that has run, by name. Costs as much as there are tasks.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn tasks(&self) -> Result<BTreeMap<String, TaskTotals>, KvError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.keys.tasks());
        let fields: BTreeMap<String, String> =
            self.redis.read("read the totals by task", &command).await?;
        let mut tasks = BTreeMap::<String, TaskTotals>::new();
        for (field, count) in fields {
            let Some((name, task)) = field.split_once(':') else {
                continue;
            };
            let totals = tasks.entry(task.to_owned()).or_default();
            let place = match name {
                "done" => &mut totals.done,
                "retried" => &mut totals.retried,
                "buried" => &mut totals.buried,
                "cancelled" => &mut totals.cancelled,
                "expired" => &mut totals.expired,
                "ran_us" => &mut totals.ran_us,
                "waited_ms" => &mut totals.waited_ms,
                _ => continue,
            };
            *place = count.parse().unwrap_or(0);
        }
        Ok(tasks)
    }
}
