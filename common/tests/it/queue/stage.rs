//! The tasks of these tests, and the stage where they and the tests see each other.

use std::{
    fmt::Display,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use common::{
    queue::{JobContext, OnDeath, Registry, Task, TaskError},
    testing::eventually,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::recite::Recite;

/// What the tasks of these tests and the tests themselves see of each other.
#[derive(Debug)]
pub(crate) struct Stage {
    started: Mutex<Vec<String>>,
    ended: Mutex<Vec<String>>,
    /// Both, in their order.
    log: Mutex<Vec<(Event, String)>>,
    open: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Start,
    End,
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
            log: Mutex::default(),
            open: watch::Sender::new(false),
        })
    }

    pub(crate) fn registry(self: &Arc<Self>) -> Registry {
        Registry::new()
            .with::<Act>(self)
            .with::<Fan>(self)
            .with::<Sum>(self)
            .with::<Recite>(self)
            .with::<Shy>(&Arc::new(()))
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

    /// How many acts of these names ran at once, at most.
    pub(crate) fn most_at_once(&self, names: &[&str]) -> usize {
        let (mut now, mut most) = (0_usize, 0);
        for (event, name) in self.log.held().iter() {
            if !names.contains(&name.as_str()) {
                continue;
            }
            match event {
                Event::Start => now += 1,
                Event::End => now -= 1,
            }
            most = most.max(now);
        }
        most
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

    /// Notes a start; returns how many of that name there have been.
    pub(crate) fn note_start(&self, name: &str) -> usize {
        self.started.held().push(name.to_owned());
        self.starts_of(name)
    }

    /// Notes an end.
    pub(crate) fn note_end(&self, name: &str) {
        self.ended.held().push(name.to_owned());
    }

    pub(crate) async fn opened(&self) {
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
    /// It never ends.
    Forever,
    /// It waits until its worker is to stop, notes that, and waits until the stage is opened.
    Hears,
    /// It waits until the stage is opened, and fails.
    WaitsAndFails,
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
pub(crate) fn brief(numbers: Range<u32>) -> Vec<Act> {
    numbers.map(|number| act(number, Plot::Brief)).collect()
}

impl Task for Act {
    const NAME: &'static str = "test.act";
    const MAX_ATTEMPTS: u32 = 3;
    type Context = Stage;
    type Output = ();

    async fn run(self, stage: &Stage, job: &JobContext) -> Result<(), TaskError> {
        stage.log.held().push((Event::Start, self.name.clone()));
        stage.started.held().push(self.name.clone());
        match self.plot {
            Plot::Takes(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Plot::Waits => stage.opened().await,
            Plot::WaitsAndFails => {
                stage.opened().await;
                return Err("it was booed".into());
            }
            Plot::Forever => std::future::pending().await,
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
        stage.log.held().push((Event::End, self.name.clone()));
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
    type Output = ();

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
    type Output = ();

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
    type Output = ();

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
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Err("it dropped something".into())
    }

    fn backoff(_attempt: u32) -> Duration {
        panic!("and then it tripped")
    }
}

/// Fails, to be tried again in a long time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shy;

impl Task for Shy {
    const NAME: &'static str = "test.shy";
    type Context = ();
    type Output = ();

    async fn run(self, (): &(), _job: &JobContext) -> Result<(), TaskError> {
        Err("not today".into())
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::from_secs(3600)
    }
}
