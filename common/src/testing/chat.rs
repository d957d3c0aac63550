//! A chat of a test's own: fresh namespace, fresh schema, both dropped at the end.

use std::sync::Arc;

use super::{RunningWorker, TestDatabase, TestQueue};
use crate::{
    chat::{
        Chat, Settings,
        flush::{FlushChunk, FlushDone, FlushRoom},
        rehydrate::{RehydrateChunk, RehydrateDone, RehydrateRoom},
    },
    kv::Redis,
    queue::Registry,
};

/// Connections to Postgres that one chat opens at most; the tests of a machine share one server.
const CONNECTIONS: usize = 4;

/// A chat on the servers of `REDIS_URL` and `DATABASE_URL`, or on others.
#[derive(Debug)]
pub struct TestChat {
    /// The chat.
    pub chat: Chat,
    /// Its queues, and the way to its keys.
    pub queue: TestQueue,
    /// Its archive's schema.
    pub database: TestDatabase,
}

impl TestChat {
    /// A fresh chat that behaves as by default.
    pub async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// A fresh chat that behaves as `settings` say.
    pub async fn with(settings: Settings) -> Self {
        Self::on(TestQueue::start(), TestDatabase::start().await, settings)
    }

    /// A chat under these keys and in this schema.
    pub fn on(queue: TestQueue, database: TestDatabase, settings: Settings) -> Self {
        Self {
            chat: connect(&queue, &database, settings),
            queue,
            database,
        }
    }

    /// The same chat as another process has it: over connections of its own.
    pub fn elsewhere(&self) -> Chat {
        self.elsewhere_with(self.chat.settings.clone())
    }

    /// As [`Self::elsewhere`], but it behaves as `settings` say.
    pub fn elsewhere_with(&self, settings: Settings) -> Chat {
        connect(&self.queue, &self.database, settings)
    }

    /// Starts a worker in this process that knows the chat's tasks.
    pub fn worker(&self) -> RunningWorker {
        let chat = Arc::new(self.elsewhere());
        let registry = Registry::new()
            .with::<FlushRoom>(&chat)
            .with::<FlushChunk>(&chat)
            .with::<FlushDone>(&chat)
            .with::<RehydrateRoom>(&chat)
            .with::<RehydrateChunk>(&chat)
            .with::<RehydrateDone>(&chat);
        self.queue
            .worker(registry, TestQueue::options("high=8,default=8,low=2"))
    }
}

fn connect(queue: &TestQueue, database: &TestDatabase, settings: Settings) -> Chat {
    let redis = Redis::new(&queue.url).expect("a readable REDIS_URL");
    let keys = queue.keys.clone();
    Chat::new(redis, keys, database.url(), CONNECTIONS, settings).expect("a pool of connections")
}
