//! The blocking connection: the only place that runs BRPOP.
//!
//! It is a type of its own for three reasons. redis-rs 1.x gives up an answer after 500 ms, which a
//! BRPOP outlasts (redis-rs issues 1924, 2269). A dropped BRPOP still pops, so it must never be raced in
//! a `select!`: it runs in a task of its own and its answer always arrives. And a socket that died
//! without a word looks like an empty queue: the answer is due [`PATIENCE`] plus [`GRACE`] after the
//! question, and a connection that misses that is replaced; so it is as soon as somebody else notices that
//! Redis was away ([`Waiting::abandon`]).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tokio::sync::oneshot;

use super::{CONNECT_TIMEOUT, Redis};
use crate::error::Chain;

/// How long Redis holds an unanswered BRPOP.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// How much later than that the answer may arrive.
pub const GRACE: Duration = Duration::from_millis(750);
/// The same of the first question on a connection that replaces one that failed: whether it works is to be known
/// soon.
const PROBE: Duration = Duration::from_millis(200);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);

/// A list and the element that was popped from it: bytes, for anybody can push anything.
pub type Popped = (String, Vec<u8>);

/// Waits for the next element of some lists.
#[derive(Debug)]
pub struct Inbox {
    redis: Redis,
    connection: Option<MultiplexedConnection>,
    state: Arc<State>,
}

/// What others may know of an [`Inbox`] while it waits.
#[derive(Debug, Default)]
struct State {
    /// Redis's number for the connection; 0 while there is none.
    client: AtomicI64,
    healthy: AtomicBool,
}

/// A question under way.
#[derive(Debug)]
pub struct Waiting {
    answer: oneshot::Receiver<(Inbox, Option<Popped>)>,
    state: Arc<State>,
    redis: Redis,
    task: tokio::task::AbortHandle,
}

/// Tells whether the blocking connection works.
#[derive(Debug, Clone)]
pub struct BlockingHealth(Arc<State>);

impl BlockingHealth {
    /// Whether the last question was answered in time (or none was asked yet).
    pub fn is_healthy(&self) -> bool {
        self.0.healthy.load(Ordering::Relaxed)
    }
}

impl Inbox {
    /// An inbox that connects when first asked.
    pub fn new(redis: Redis) -> Self {
        let state = State {
            healthy: AtomicBool::new(true),
            ..State::default()
        };
        Self {
            redis,
            connection: None,
            state: Arc::new(state),
        }
    }

    /// Tells of this inbox's connection, from now on.
    pub fn health(&self) -> BlockingHealth {
        BlockingHealth(Arc::clone(&self.state))
    }

    /// Asks for the rightmost element of the first non-empty list of `lists`.
    pub fn wait(mut self, lists: Vec<String>) -> Waiting {
        let (state, redis) = (Arc::clone(&self.state), self.redis.clone());
        let (give, answer) = oneshot::channel();
        let task = tokio::spawn(async move {
            let popped = self.pop(&lists).await;
            // Nobody listens any more: the id that was popped is found by the sweep.
            let _ = give.send((self, popped));
        });
        Waiting {
            answer,
            state,
            redis,
            task: task.abort_handle(),
        }
    }

    async fn pop(&mut self, lists: &[String]) -> Option<Popped> {
        match self.try_pop(lists).await {
            Ok(popped) => {
                self.state.healthy.store(true, Ordering::Relaxed);
                popped
            }
            Err(error) => {
                if self.state.healthy.swap(false, Ordering::Relaxed) {
                    tracing::warn!(error = %Chain(&error), "the blocking connection to Redis failed; connecting anew");
                }
                if self.connection.take().is_some() {
                    count_replacement();
                }
                self.state.client.store(0, Ordering::Relaxed);
                tokio::time::sleep(RETRY).await;
                None
            }
        }
    }

    async fn try_pop(&mut self, lists: &[String]) -> redis::RedisResult<Option<Popped>> {
        if self.connection.is_none() {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(PATIENCE + GRACE));
            let mut fresh = self
                .redis
                .client()
                .get_multiplexed_async_connection_with_config(&config)
                .await?;
            let client = redis::cmd("CLIENT")
                .arg("ID")
                .query_async(&mut fresh)
                .await?;
            self.state.client.store(client, Ordering::Relaxed);
            self.connection = Some(fresh);
        }
        let Some(connection) = &mut self.connection else {
            return Ok(None);
        };
        let patience = if self.state.healthy.load(Ordering::Relaxed) {
            PATIENCE
        } else {
            PROBE
        };
        redis::cmd("BRPOP")
            .arg(lists)
            .arg(patience.as_secs_f64())
            .query_async(connection)
            .await
    }
}

fn count_replacement() {
    metrics::counter!("rhubarb_blocking_replacements_total").increment(1);
}

impl Waiting {
    /// The answer: the inbox for the next question, and the list and element that were popped.
    /// Safe to drop and to call again.
    pub async fn answer(&mut self) -> Option<(Inbox, Option<Popped>)> {
        (&mut self.answer).await.ok()
    }

    /// Gives the question up with its connection, which may be dead; returns an inbox that connects anew.
    /// If the question was answered just now, the sweep finds what it popped.
    pub fn abandon(self) -> Inbox {
        self.task.abort();
        count_replacement();
        self.state.client.store(0, Ordering::Relaxed);
        Inbox {
            redis: self.redis,
            connection: None,
            state: self.state,
        }
    }

    /// Has Redis answer now, with nothing, so that another question can be asked.
    pub async fn cut_short(&self, redis: &Redis) {
        let client = self.state.client.load(Ordering::Relaxed);
        if client == 0 {
            return;
        }
        if let Ok(mut connection) = redis.connection().await {
            // If it fails the answer comes by itself, within PATIENCE.
            let _: Result<i64, _> = redis::cmd("CLIENT")
                .arg("UNBLOCK")
                .arg(client)
                .query_async(&mut connection)
                .await;
        }
    }
}
