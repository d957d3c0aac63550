//! Asking: a room's flush or rehydration is enqueued when it is needed and not under way.

use std::{sync::LazyLock, time::Duration};

use super::{Chat, RoomLog, flush::FlushRoom, rehydrate::RehydrateRoom};
use crate::{
    id::RoomId,
    kv::{KvError, Script},
    queue::{
        EnqueueError, Task,
        enqueue::millis,
        makes_jobs,
        span::{enqueuing, spanned},
    },
};

static ASK: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "ask for a room's job",
        &[makes_jobs(), super::LIB, include_str!("lua/ask.lua")],
    )
    .repeatable()
});
/// How long an ask keeps others from asking, unless the job says that it goes on.
pub(super) const AGAIN: Duration = Duration::from_secs(60);

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
    /// Asks for a flush of a room, unless it is clean. If one is under way, which may have begun before
    /// the newest messages came, another follows it at once.
    ///
    /// # Errors
    /// If Redis fails or is full; the sweep asks again later.
    pub async fn ask_flush(&self, room: &RoomId) -> Result<(), AskError> {
        let job = FlushRoom { room: room.clone() };
        self.ask(room, Ask::Flush, Meanwhile::Again, &job).await
    }

    /// Asks for a flush of a room, unless it is clean or one is under way.
    pub(super) async fn ask_flush_once(&self, room: &RoomId) -> Result<(), AskError> {
        let job = FlushRoom { room: room.clone() };
        self.ask(room, Ask::Flush, Meanwhile::Enough, &job).await
    }

    /// Asks for the rehydration of a room, unless it is warm or one is under way.
    ///
    /// # Errors
    /// If Redis fails or is full.
    pub async fn ask_rehydrate(&self, room: &RoomId) -> Result<(), AskError> {
        let job = RehydrateRoom { room: room.clone() };
        self.ask(room, Ask::Rehydrate, Meanwhile::Enough, &job)
            .await
    }

    /// Enqueues the job if it is needed and nobody else asked lately, in one step.
    async fn ask<T: Task>(
        &self,
        room: &RoomId,
        what: Ask,
        meanwhile: Meanwhile,
        job: &T,
    ) -> Result<(), AskError> {
        spanned(enqueuing(T::NAME), self.ask_so(room, what, meanwhile, job)).await
    }

    async fn ask_so<T: Task>(
        &self,
        room: &RoomId,
        what: Ask,
        meanwhile: Meanwhile,
        job: &T,
    ) -> Result<(), AskError> {
        let body = self.producer.body_of(job)?;
        let mut call = ASK.on(self.log.keys.prefix());
        call.arg(room)
            .arg(match what {
                Ask::Flush => "flushing",
                Ask::Rehydrate => "hydrating",
            })
            .arg(millis(AGAIN))
            .arg(body)
            .arg(u8::from(meanwhile == Meanwhile::Again));
        match ASK.run::<bool>(&self.log.redis, &call).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_out_of_memory() || error.has_code("DRAINING") => {
                Err(EnqueueError::refused(T::QUEUE, error).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What an ask wants if such a job is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// Another one after it.
    Again,
    /// No more.
    Enough,
}

impl RoomLog {
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

    fn asked(&self, room: &RoomId, what: Ask) -> String {
        match what {
            Ask::Flush => self.keys.flushing(room),
            Ask::Rehydrate => self.keys.hydrating(room),
        }
    }
}
