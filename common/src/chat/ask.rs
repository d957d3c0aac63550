//! Asking: a room's flush or rehydration is enqueued when it is needed and not under way.

use std::{sync::LazyLock, time::Duration};

use super::{Chat, RoomLog, flush::FlushRoom, inspect::Rooms, rehydrate::RehydrateRoom};
use crate::{
    id::RoomId,
    kv::{Keys, KvError, Redis, Script},
    queue::{
        EnqueueError, JobId, Producer, Task,
        enqueue::millis,
        makes_jobs,
        operate::Operator,
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
const NOT_NEEDED: u8 = 0;
const ENQUEUED: u8 = 1;
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
        let (redis, keys) = (&self.log.redis, &self.log.keys);
        ask::<T>(redis, keys, room, what, meanwhile, body).await?;
        Ok(())
    }
}

async fn ask<T: Task>(
    redis: &Redis,
    keys: &Keys,
    room: &RoomId,
    what: Ask,
    meanwhile: Meanwhile,
    body: String,
) -> Result<Asked, AskError> {
    let mut call = ASK.on(keys.prefix());
    call.arg(room)
        .arg(match what {
            Ask::Flush => "flushing",
            Ask::Rehydrate => "hydrating",
        })
        .arg(millis(AGAIN))
        .arg(body)
        .arg(u8::from(meanwhile == Meanwhile::Again));
    match call.run::<(u8, Option<JobId>)>(redis).await {
        Ok((ENQUEUED, Some(job))) => Ok(Asked::Enqueued(job)),
        Ok((NOT_NEEDED, _)) => Ok(Asked::NotNeeded),
        Ok(_) => Ok(Asked::UnderWay),
        Err(error) if error.is_out_of_memory() || error.has_code("DRAINING") => {
            Err(EnqueueError::refused(T::QUEUE, error).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// What became of an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// This job was enqueued.
    Enqueued(JobId),
    /// One is under way. If what came after it had begun is to be flushed, another follows.
    UnderWay,
    /// There is nothing to do: the room is clean, or warm.
    NotNeeded,
}

impl Rooms {
    /// Asks for a flush by hand, as servers and the sweep do: what they ask for is not asked for twice. Who asked is
    /// written down.
    ///
    /// # Errors
    /// If Redis fails or is full, or the queue drains.
    pub async fn ask_flush(&self, operator: &Operator, room: &RoomId) -> Result<Asked, AskError> {
        operator
            .write_down("flush", &format!("room {room}"))
            .await?;
        let job = FlushRoom { room: room.clone() };
        self.ask(room, Ask::Flush, Meanwhile::Again, &job).await
    }

    /// Asks for a rehydration by hand, as servers do.
    ///
    /// # Errors
    /// If Redis fails or is full, or the queue drains.
    pub async fn ask_rehydrate(
        &self,
        operator: &Operator,
        room: &RoomId,
    ) -> Result<Asked, AskError> {
        operator
            .write_down("rehydrate", &format!("room {room}"))
            .await?;
        let job = RehydrateRoom { room: room.clone() };
        self.ask(room, Ask::Rehydrate, Meanwhile::Enough, &job)
            .await
    }

    async fn ask<T: Task>(
        &self,
        room: &RoomId,
        what: Ask,
        meanwhile: Meanwhile,
        job: &T,
    ) -> Result<Asked, AskError> {
        let (redis, keys) = (&self.redis, &self.keys);
        let body = Producer::new(redis.clone(), keys.clone()).body_of(job)?;
        ask::<T>(redis, keys, room, what, meanwhile, body).await
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
