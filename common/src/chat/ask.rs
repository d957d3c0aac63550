//! Asking: a room's flush or rehydration is enqueued when it is needed and not under way.

use std::{sync::LazyLock, time::Duration};

use super::{Chat, RoomLog, flush::FlushRoom, rehydrate::RehydrateRoom};
use crate::{
    id::RoomId,
    kv::{KvError, Script},
    queue::{EnqueueError, Options, Queue, Task, enqueue::millis},
};

static ASK: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "ask for a room's job",
        &[super::LIB, include_str!("lua/ask.lua")],
    )
});
/// How long an ask keeps others from asking, unless the job says that it goes on.
const AGAIN: Duration = Duration::from_secs(60);

/// Why a job for a room was not enqueued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] KvError),
    /// The queue did not take it.
    #[error(transparent)]
    Enqueue(#[from] EnqueueError),
}

/// Which job is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Flush,
    Rehydrate,
}

impl Chat {
    /// Asks for a flush of a room, unless it is clean or one is under way.
    ///
    /// # Errors
    /// If Redis fails or is full; the sweep asks again later.
    pub async fn ask_flush(&self, room: &RoomId) -> Result<(), AskError> {
        let job = FlushRoom { room: room.clone() };
        self.ask(room, Ask::Flush, &job).await
    }

    /// Asks for the rehydration of a room, unless it is warm or one is under way.
    ///
    /// # Errors
    /// If Redis fails or is full.
    pub async fn ask_rehydrate(&self, room: &RoomId) -> Result<(), AskError> {
        let job = RehydrateRoom { room: room.clone() };
        self.ask(room, Ask::Rehydrate, &job).await
    }

    async fn ask<T: Task>(&self, room: &RoomId, what: Ask, job: &T) -> Result<(), AskError> {
        let Some(queue) = self.log.ask(room, what).await? else {
            return Ok(());
        };
        let options = Options {
            queue: Some(queue),
            ..Options::default()
        };
        if let Err(error) = self.producer.enqueue_with(job, &options).await {
            // Nothing is under way, so the next one to ask is not to be kept from it.
            let _ = self.log.take_back(room, what).await;
            return Err(error.into());
        }
        Ok(())
    }
}

impl RoomLog {
    /// Where the caller is to enqueue the job, if it is needed and nobody else asked lately.
    async fn ask(&self, room: &RoomId, what: Ask) -> Result<Option<Queue>, KvError> {
        let mut call = ASK.on(self.keys.prefix());
        call.arg(room).arg(match what {
            Ask::Flush => "flushing",
            Ask::Rehydrate => "hydrating",
        });
        call.arg(millis(AGAIN));
        ASK.run(&self.redis, &call).await
    }

    /// Keeps others from asking for the same job while it goes on. A job that runs late, when another has
    /// ended what was asked for, keeps nobody from asking.
    pub(super) async fn still_under_way(&self, room: &RoomId, what: Ask) -> Result<(), KvError> {
        let mut connection = self.redis.connection().await?;
        // Not SET, which a full Redis refuses.
        redis::cmd("PEXPIRE")
            .arg(self.asked(room, what))
            .arg(millis(AGAIN))
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("keep a room's job single", source))
    }

    /// Lets others ask again.
    async fn take_back(&self, room: &RoomId, what: Ask) -> Result<(), KvError> {
        let mut connection = self.redis.connection().await?;
        redis::cmd("DEL")
            .arg(self.asked(room, what))
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("take an ask back", source))
    }

    fn asked(&self, room: &RoomId, what: Ask) -> String {
        match what {
            Ask::Flush => self.keys.flushing(room),
            Ask::Rehydrate => self.keys.hydrating(room),
        }
    }
}
