//! The queue on a real Redis, step by step: real workers, and accidents made by hand.

mod claim;
mod death;
mod enqueue;
mod fan_out;
mod outage;
mod settle;
mod shutdown;
mod sweep;

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use common::{
    queue::{JobContext, JobId, OnDeath, Options, Queue, Registry, Task, TaskError},
    testing::{TestQueue, eventually},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

/// What the tasks of these tests and the tests themselves see of each other.
#[derive(Debug)]
pub(crate) struct Stage {
    started: Mutex<Vec<String>>,
    ended: Mutex<Vec<String>>,
    open: watch::Sender<bool>,
}

/// A mutex that no test poisons.
trait Held<T> {
    fn held(&self) -> MutexGuard<'_, T>;
}

impl<T> Held<T> for Mutex<T> {
    fn held(&self) -> MutexGuard<'_, T> {
        self.lock().expect("a mutex that nobody poisoned")
    }
}

impl Stage {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Mutex::default(),
            ended: Mutex::default(),
            open: watch::Sender::new(false),
        })
    }

    pub(crate) fn registry(self: &Arc<Self>) -> Registry {
        Registry::new()
            .with::<Act>(self)
            .with::<Fan>(self)
            .with::<Sum>(self)
            .with::<Hasty>(&Arc::new(()))
            .with::<Clumsy>(&Arc::new(()))
    }

    /// The names of all acts that started, in that order; twice, if they ran twice.
    pub(crate) fn started(&self) -> Vec<String> {
        self.started.held().clone()
    }

    /// The names of all acts that ended well.
    pub(crate) fn ended(&self) -> Vec<String> {
        self.ended.held().clone()
    }

    /// How often an act of that name started.
    pub(crate) fn starts_of(&self, name: &str) -> usize {
        self.started()
            .iter()
            .filter(|started| *started == name)
            .count()
    }

    /// Lets the waiting acts, and all that come, end.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) async fn has_started(&self, name: &str) {
        self.has_started_times(name, 1).await;
    }

    pub(crate) async fn has_started_times(&self, name: &str, times: usize) {
        eventually(&format!("`{name}` has started {times} times"), async || {
            (self.starts_of(name) >= times).then_some(())
        })
        .await;
    }

    pub(crate) async fn has_ended(&self, name: &str) {
        eventually(&format!("`{name}` has ended"), async || {
            self.ended().iter().any(|ended| ended == name).then_some(())
        })
        .await;
    }

    /// Waits until so many acts have ended.
    pub(crate) async fn have_ended(&self, acts: usize) {
        eventually(&format!("{acts} acts have ended"), async || {
            (self.ended.held().len() >= acts).then_some(())
        })
        .await;
    }

    async fn opened(&self) {
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("a stage");
    }
}

/// How an act goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Plot {
    /// It ends at once.
    Brief,
    /// It takes so many ms.
    Takes(u64),
    /// It waits until the stage is opened.
    Waits,
    /// It waits until its worker is to stop, notes that, and waits until the stage is opened.
    Hears,
    /// It fails in its first so many attempts.
    Fails(u32),
    /// It fails for good.
    Fatal,
    /// It panics.
    Panics,
}

/// Has a name and notes when it starts and ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Act {
    pub(crate) name: String,
    pub(crate) plot: Plot,
}

pub(crate) fn act(name: impl Display, plot: Plot) -> Act {
    let name = name.to_string();
    Act { name, plot }
}

/// Brief acts named by their number.
pub(crate) fn brief(numbers: std::ops::Range<u32>) -> Vec<Act> {
    numbers.map(|number| act(number, Plot::Brief)).collect()
}

impl Task for Act {
    const NAME: &'static str = "test.act";
    const MAX_ATTEMPTS: u32 = 3;
    type Context = Stage;

    async fn run(self, stage: &Stage, job: &JobContext) -> Result<(), TaskError> {
        stage.started.held().push(self.name.clone());
        match self.plot {
            Plot::Takes(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Plot::Waits => stage.opened().await,
            Plot::Hears => {
                job.shutdown().asked().await;
                stage.started.held().push("the stop".to_owned());
                stage.opened().await;
            }
            Plot::Fails(times) if job.attempt() <= times => {
                return Err(format!("flaw {}", job.attempt()).into());
            }
            Plot::Brief | Plot::Fails(_) => {}
            Plot::Fatal => return Err(TaskError::fatal("a hopeless case")),
            Plot::Panics => panic!("the act fell through the floor"),
        }
        stage.ended.held().push(self.name);
        Ok(())
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::from_millis(20)
    }
}

/// A master: its acts are its children; `Sum` follows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fan {
    pub(crate) children: Vec<Act>,
    pub(crate) fail: bool,
    /// In its first so many attempts it waits for the stage after this child, and then fails.
    pub(crate) stumbles: Option<usize>,
    /// Whether it names what follows.
    pub(crate) ends: bool,
}

pub(crate) fn fan(children: Vec<Act>) -> Fan {
    Fan {
        children,
        fail: false,
        stumbles: None,
        ends: true,
    }
}

impl Task for Fan {
    const NAME: &'static str = "test.fan";
    const MAX_ATTEMPTS: u32 = 3;
    type Context = Stage;

    async fn run(self, stage: &Stage, job: &JobContext) -> Result<(), TaskError> {
        stage.started.held().push("master".to_owned());
        let on_death = if self.fail {
            OnDeath::Fail
        } else {
            OnDeath::Continue
        };
        let mut split = job.fan_out(on_death, &self.children.len()).await?;
        for (index, child) in self.children.iter().enumerate() {
            if self.stumbles == Some(index) && job.attempt() == 1 {
                stage.started.held().push("master stumbles".to_owned());
                stage.opened().await;
                return Err("the master stumbled".into());
            }
            split.add(child).await?;
        }
        if self.ends {
            split.then(&Sum).await?;
        }
        Ok(())
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::from_millis(20)
    }
}

/// Follows a group. Its name on the stage tells which reasons of death it saw.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sum;

impl Task for Sum {
    const NAME: &'static str = "test.sum";
    type Context = Stage;

    async fn run(self, stage: &Stage, job: &JobContext) -> Result<(), TaskError> {
        let reasons: Vec<_> = job.failures().await?.into_values().collect();
        let name = format!("sum[{}]", reasons.join(", "));
        stage.started.held().push(name.clone());
        stage.ended.held().push(name);
        Ok(())
    }
}

/// Never ends within its limit.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hasty;

impl Task for Hasty {
    const NAME: &'static str = "test.hasty";
    const MAX_ATTEMPTS: u32 = 2;
    const TIMEOUT: Option<Duration> = Some(Duration::from_millis(30));
    type Context = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        std::future::pending().await
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::ZERO
    }
}

/// Fails, and panics when asked when to try again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Clumsy;

impl Task for Clumsy {
    const NAME: &'static str = "test.clumsy";
    type Context = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Err("it dropped something".into())
    }

    fn backoff(_attempt: u32) -> Duration {
        panic!("and then it tripped")
    }
}

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
    /// Waits until every job is settled, then asserts that only the given kind of keys is left.
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
            .command(&["HGET", &self.keys.jobs(), &job.to_string()])
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
        self.gone(&self.keys.jobs()).await;
        for queue in Queue::ALL {
            self.gone(&self.keys.queue(queue)).await;
        }
        let names = eventually("what no job needs is gone", async || {
            let names = self.key_names().await;
            let passing = ["workers", "workers:info", "looked", "stats"];
            let rest: Vec<_> = names
                .into_iter()
                .filter(|name| !name.starts_with("mark:") && !passing.contains(&name.as_str()))
                .collect();
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
        let jobs: usize = self.command(&["HLEN", &self.keys.jobs()]).await;
        assert_eq!(jobs, left, "jobs that are not settled");
        assert_eq!(
            sum("enqueued:"),
            sum("completed:") + sum("discarded:") + jobs,
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

/// Each name once, sorted.
pub(crate) fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// The names of the acts of these numbers, sorted.
pub(crate) fn names(numbers: std::ops::Range<u32>) -> Vec<String> {
    sorted(numbers.map(|number| number.to_string()).collect())
}
