//! The blocking connection: the only place that runs BRPOP.
//!
//! It is a type of its own for three reasons. redis-rs 1.x gives up an answer after 500 ms, which a
//! BRPOP outlasts (redis-rs issues 1924, 2269). A dropped BRPOP still pops, so none is dropped
//! but with a connection that counts as dead: who asks keeps the question ([`Waiting`]) until it is answered. And a
//! socket that died without a word looks like an empty queue: the answer is due [`PATIENCE`] plus [`GRACE`] after
//! the question, and a connection that misses that is replaced; so it is as soon as somebody else notices that
//! Redis was away ([`Waiting::abandon`]).

use std::{
    convert::Infallible,
    fmt,
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tokio::sync::Notify;

use super::{CONNECT_TIMEOUT, KvError, Redis};
use crate::{begun::begun, error::Chain};

/// How long Redis holds an unanswered BRPOP.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// How much later than that the answer may arrive.
pub const GRACE: Duration = Duration::from_millis(750);
/// The same of the first question on a connection that replaces one that failed: whether it works is to be known
/// soon.
const PROBE: Duration = Duration::from_millis(200);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);
/// Between two attempts to cut a question short.
const CUT_AGAIN: Duration = Duration::from_millis(5);

/// A list and the element that was popped from it: bytes, for anybody can push anything.
pub type Popped = (String, Vec<u8>);

/// Waits for the next element of some lists.
#[derive(Debug)]
pub struct Inbox {
    redis: Redis,
    connection: Option<Connection>,
    health: BlockingHealth,
}

/// A connection that blocks, and Redis's number for it.
#[derive(Debug)]
struct Connection {
    line: MultiplexedConnection,
    client: i64,
}

/// A question under way. It goes on while it is polled ([`Self::answer`]), and is to be kept until it is answered or
/// given up: what a question pops that was dropped waits until the sweep finds it.
#[must_use]
pub struct Waiting {
    answer: BoxFuture<'static, (Inbox, Option<Popped>)>,
    cut: Arc<Notify>,
    redis: Redis,
    health: BlockingHealth,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").finish_non_exhaustive()
    }
}

/// Tells whether the blocking connection works.
#[derive(Debug, Clone)]
pub struct BlockingHealth(Arc<AtomicBool>);

impl BlockingHealth {
    /// Whether the last question was answered in time (or none was asked yet).
    pub fn is_healthy(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Inbox {
    /// An inbox that connects when first asked. Its questions are cut short over other connections of `redis`.
    pub fn new(redis: Redis) -> Self {
        Self {
            redis,
            connection: None,
            health: BlockingHealth(Arc::new(AtomicBool::new(true))),
        }
    }

    /// Tells of this inbox's connection, from now on.
    pub fn health(&self) -> BlockingHealth {
        self.health.clone()
    }

    /// Asks for the rightmost element of the first non-empty list of `lists`.
    pub fn wait(mut self, lists: Vec<String>) -> Waiting {
        let (redis, health) = (self.redis.clone(), self.health());
        let cut = Arc::new(Notify::new());
        let is_cut = Arc::clone(&cut);
        let answer = begun(async move {
            let popped = self.pop(&lists, &is_cut).await;
            (self, popped)
        });
        Waiting {
            answer,
            cut,
            redis,
            health,
        }
    }

    async fn pop(&mut self, lists: &[String], cut: &Notify) -> Option<Popped> {
        match self.try_pop(lists, cut).await {
            Ok(popped) => popped,
            Err(error) => {
                if self.health.0.swap(false, Ordering::Relaxed) {
                    tracing::warn!(error = %Chain(&error), "the blocking connection to Redis failed; connecting anew");
                }
                if self.connection.take().is_some() {
                    count_replacement();
                }
                tokio::time::sleep(RETRY).await;
                None
            }
        }
    }

    async fn try_pop(
        &mut self,
        lists: &[String],
        cut: &Notify,
    ) -> redis::RedisResult<Option<Popped>> {
        if self.connection.is_none() {
            // In a task of its own, for it must be there within a time, and who asked may not poll for longer.
            let redis = self.redis.clone();
            let connecting = tokio::spawn(async move { connect(&redis).await });
            self.connection = tokio::select! {
                fresh = connecting => Some(fresh.map_err(io::Error::from)??),
                () = cut.notified() => None,
            };
        }
        let Some(Connection { line, client }) = &mut self.connection else {
            return Ok(None);
        };
        if cut.notified().now_or_never().is_some() {
            return Ok(None);
        }
        let patience = if self.health.is_healthy() {
            PATIENCE
        } else {
            PROBE
        };
        let mut question = redis::cmd("BRPOP");
        question.arg(lists).arg(patience.as_secs_f64());
        // Never dropped: what it pops would be lost until the sweep finds it.
        let answer = question.query_async(line);
        let cut_short = async {
            cut.notified().await;
            // Redis may have heard that before the question, which goes by another connection.
            loop {
                tokio::time::sleep(match unblock(&self.redis, *client).await {
                    Ok(true) => break,
                    Ok(false) => CUT_AGAIN,
                    Err(_) => RETRY,
                })
                .await;
            }
            pending::<Infallible>().await
        };
        let answer = tokio::select! {
            answer = answer => answer?,
            never = cut_short => match never {},
        };
        self.health.0.store(true, Ordering::Relaxed);
        Ok(answer)
    }
}

async fn connect(redis: &Redis) -> redis::RedisResult<Connection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(PATIENCE + GRACE));
    let mut line = redis
        .client()
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let client = redis::cmd("CLIENT")
        .arg("ID")
        .query_async(&mut line)
        .await?;
    Ok(Connection { line, client })
}

/// Has Redis answer what a connection waits for, with nothing. False if it waits for nothing.
async fn unblock(redis: &Redis, client: i64) -> Result<bool, KvError> {
    let mut command = redis::cmd("CLIENT");
    command.arg("UNBLOCK").arg(client);
    redis.read("cut a question short", &command).await
}

fn count_replacement() {
    metrics::counter!("rhubarb_blocking_replacements_total").increment(1);
}

impl Waiting {
    /// The answer: the inbox for the next question, and the list and element that were popped.
    /// Safe to drop and to call again, until it has answered.
    pub async fn answer(&mut self) -> (Inbox, Option<Popped>) {
        (&mut self.answer).await
    }

    /// Gives the question up with its connection, which may be dead; returns an inbox that connects anew, and what was
    /// popped if that is known already. If it is still on its way, the sweep finds it.
    pub fn abandon(mut self) -> (Inbox, Option<Popped>) {
        let answered = self.answer().now_or_never();
        count_replacement();
        let inbox = Inbox {
            redis: self.redis,
            connection: None,
            health: self.health,
        };
        (inbox, answered.and_then(|(_, popped)| popped))
    }

    /// Has the answer come soon, with nothing unless something was just popped, so that another question can be
    /// asked.
    pub fn cut_short(&self) {
        self.cut.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::testing::TestQueue;

    fn list(queue: &TestQueue) -> String {
        format!("{}list", queue.keys.prefix())
    }

    /// An inbox that has its connection, for it has had an answer.
    async fn connected(redis: Redis, queue: &TestQueue, list: &str) -> Inbox {
        let _: usize = queue.command(&["LPUSH", list, "first"]).await;
        let mut waiting = Inbox::new(redis).wait(vec![list.to_owned()]);
        let (inbox, popped) = waiting.answer().await;
        assert_eq!(popped, Some((list.to_owned(), b"first".to_vec())));
        inbox
    }

    /// Asks, and cuts the question short when it has been polled so often.
    async fn ask_and_cut(inbox: Inbox, list: &str, polls: usize) -> (Inbox, Option<Popped>) {
        let mut waiting = inbox.wait(vec![list.to_owned()]);
        for _ in 0..polls {
            if let Some(answer) = waiting.answer().now_or_never() {
                return answer;
            }
            tokio::task::yield_now().await;
        }
        waiting.cut_short();
        let answer = timeout(PATIENCE / 2, waiting.answer()).await;
        answer.expect("it waits on")
    }

    #[tokio::test]
    async fn a_question_that_is_cut_short_is_answered_whenever_that_is() {
        let queue = TestQueue::start();
        let list = list(&queue);

        // Before it connects, and while it does.
        for polls in 0..20 {
            let inbox = Inbox::new(queue.redis.clone());
            assert_eq!(ask_and_cut(inbox, &list, polls).await.1, None);
        }
        // Before Redis has the question, and while it waits there.
        let mut inbox = connected(queue.redis.clone(), &queue, &list).await;
        for polls in (0..20).chain([100, 1000]) {
            let (rested, popped) = ask_and_cut(inbox, &list, polls).await;
            assert_eq!(popped, None);
            assert!(rested.connection.is_some(), "it is the same connection");
            inbox = rested;
        }
    }

    #[tokio::test]
    async fn a_question_is_cut_short_though_the_other_connection_died_unused() {
        let queue = TestQueue::start();
        let list = list(&queue);
        let own = Redis::new(&queue.url).unwrap();
        let mut connection = own.connection().await.unwrap();
        let inbox = connected(own, &queue, &list).await;
        let mut client_id = redis::cmd("CLIENT");
        client_id.arg("ID");
        let id: u64 = client_id.query_async(&mut connection).await.unwrap();
        let id = id.to_string();
        let _: usize = queue.command(&["CLIENT", "KILL", "ID", &id]).await;

        let (_, popped) = ask_and_cut(inbox, &list, 100).await;

        assert_eq!(popped, None);
    }

    #[tokio::test]
    async fn what_was_popped_when_a_question_is_given_up_is_not_lost() {
        let queue = TestQueue::start();
        let list = list(&queue);
        let inbox = connected(queue.redis.clone(), &queue, &list).await;
        let waiting = inbox.wait(vec![list.clone()]);
        let _: usize = queue.command(&["LPUSH", &list, "second"]).await;
        while queue.command::<usize>(&["LLEN", &list]).await > 0 {}
        // It is popped, and so the answer is there before one that is asked for now.
        let _: String = queue.command(&["PING"]).await;

        let (inbox, popped) = waiting.abandon();

        assert_eq!(popped, Some((list.clone(), b"second".to_vec())));
        let (_, nothing) = ask_and_cut(inbox, &list, 1000).await;
        assert_eq!(nothing, None);
    }

    #[tokio::test]
    async fn what_comes_while_a_question_is_cut_short_is_in_its_answer_or_waits() {
        let queue = TestQueue::start();
        let list = list(&queue);
        let own = Redis::new(&queue.url).unwrap();
        let mut inbox = connected(own, &queue, &list).await;
        for n in 0..50 {
            let element = n.to_string();
            let pushed = async {
                for _ in 0..n % 7 {
                    tokio::task::yield_now().await;
                }
                let _: usize = queue.command(&["LPUSH", &list, &element]).await;
            };
            let ((rested, popped), ()) = tokio::join!(ask_and_cut(inbox, &list, n), pushed);
            inbox = rested;
            let listed: Option<String> = queue.command(&["RPOP", &list]).await;
            let popped = popped.map(|(_, element)| String::from_utf8(element).unwrap());
            assert_eq!(popped.or(listed), Some(element));
        }
    }
}
