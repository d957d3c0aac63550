//! What people ask and change about periodic tasks: the list, a pause, the removal of what nobody knows.

use std::{collections::HashMap, sync::LazyLock};

use serde::Serialize;

use super::{Definition, ticker::ORPHANED};
use crate::{
    kv::{Keys, KvError, Redis, Script},
    queue::{LIB, enqueue::millis, inspect::ONLY_LOOKS, operate::Operator},
};

static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "list the periodic tasks",
        &[ONLY_LOOKS, LIB, include_str!("../lua/periodics.lua")],
    )
});
static CHANGE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "change a periodic task",
        &[LIB, include_str!("../lua/change_periodic.lua")],
    )
});

/// The periodic tasks under one namespace.
#[derive(Debug, Clone)]
pub struct Entries {
    redis: Redis,
    keys: Keys,
}

/// All of them, at one instant.
#[derive(Debug, Clone, Serialize)]
pub struct List {
    /// The instant.
    pub now_ms: u64,
    /// By name.
    pub entries: Vec<Entry>,
}

/// One periodic task.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is; none if this program cannot read it.
    pub definition: Option<Definition>,
    /// The last tick that was enqueued or passed over.
    pub last_ms: Option<u64>,
    /// The next tick, if it is known and nobody has paused it.
    pub next_ms: Option<u64>,
    /// Whether its ticks are passed over until somebody resumes it.
    pub paused: bool,
    /// Whether no worker knows it any more.
    pub orphaned: bool,
    /// When a worker vouched for it last.
    pub vouched_ms: u64,
    /// The job of its latest tick.
    pub job: Option<String>,
    /// Jobs enqueued since ever.
    pub enqueued: u64,
    /// How often ticks were passed over: paused, missed, or the job before was not settled.
    pub passed: u64,
}

/// What to do with a periodic task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Its ticks are passed over from now on.
    Pause,
    /// No longer.
    Resume,
    /// Nothing is kept of it, if no worker knows it.
    Forget,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// It was made.
    Done,
    /// It was so before.
    Already,
    /// A worker knows it, and would bring it back.
    InUse,
    /// There is none of that name.
    Unknown,
}

impl Entries {
    /// Those under `keys`.
    pub fn new(redis: Redis, keys: Keys) -> Self {
        Self { redis, keys }
    }

    /// Lists them.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn list(&self) -> Result<List, KvError> {
        type Found = (String, f64, HashMap<String, String>);
        let call = LIST.on(self.keys.prefix());
        let (now_ms, found): (u64, Vec<Found>) = call.run(&self.redis).await?;
        let entry = |(name, vouched, fields)| entry(now_ms, name, vouched, &fields);
        let mut entries: Vec<_> = found.into_iter().map(entry).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(List { now_ms, entries })
    }
}

impl Operator {
    /// Changes a periodic task.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn change_periodic(&self, name: &str, change: Change) -> Result<Changed, KvError> {
        let verb = match change {
            Change::Pause => "pause",
            Change::Resume => "resume",
            Change::Forget => "forget",
        };
        self.write_down(verb, &format!("periodic task {name}"))
            .await?;
        let mut call = CHANGE.on(self.keys.prefix());
        call.arg(name).arg(verb).arg(millis(ORPHANED));
        let changed: String = call.run(&self.redis).await?;
        Ok(match changed.as_str() {
            "done" => Changed::Done,
            "already" => Changed::Already,
            "in use" => Changed::InUse,
            _ => Changed::Unknown,
        })
    }
}

fn entry(now_ms: u64, name: String, vouched: f64, fields: &HashMap<String, String>) -> Entry {
    let number = |field: &str| -> Option<u64> { fields.get(field)?.parse().ok() };
    let definition = fields.get("definition");
    let definition: Option<Definition> =
        definition.and_then(|text| serde_json::from_str(text).ok());
    let (last_ms, paused) = (number("last"), fields.contains_key("paused"));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "times in ms are below 2^53, and a float saturates"
    )]
    let vouched_ms = vouched as u64;
    let next = definition.as_ref().filter(|_| !paused).and_then(|it| {
        let from = now_ms.max(last_ms.unwrap_or(0));
        it.timetable.after(from)
    });
    Entry {
        name,
        next_ms: next,
        definition,
        last_ms,
        paused,
        orphaned: vouched_ms + millis(ORPHANED) < now_ms,
        vouched_ms,
        job: fields.get("job").cloned(),
        enqueued: number("enqueued").unwrap_or(0),
        passed: number("passed").unwrap_or(0),
    }
}
