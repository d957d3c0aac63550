//! Presence: who is in a room, counted per server and leased, so that a server that dies takes its
//! members with it.

use std::sync::LazyLock;

use super::{Chat, ask::AskError};
use crate::{
    id::{BootId, RoomId},
    kv::{KvError, Script},
    queue::enqueue::millis,
};

static PRESENCE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "tell a room's members",
        &[super::LIB, include_str!("lua/presence.lua")],
    )
    .repeatable()
});
static LEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "renew this server's lease",
        &[super::LIB, include_str!("lua/lease.lua")],
    )
    .repeatable()
});
static FADE: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "take a dead server's members out",
        &[super::LIB, include_str!("lua/fade.lua")],
    )
});

/// Rooms a script call at most.
const FADE_ROOMS: usize = 100;

impl Chat {
    /// Says how many members of a room are connected to `server`, and tells all servers the sum. Asks
    /// for a flush when nobody is left.
    ///
    /// # Errors
    /// If Redis fails; the lease makes it right in time.
    pub async fn tell_members(
        &self,
        server: BootId,
        room: &RoomId,
        here: usize,
    ) -> Result<u64, AskError> {
        let mut call = PRESENCE.on(self.log.keys().prefix());
        call.arg(server)
            .arg(millis(self.settings.server_lease))
            .arg(room)
            .arg(here);
        let total: u64 = call.run(self.log.redis()).await?;
        if total == 0 {
            self.ask_flush(room).await?;
        }
        Ok(total)
    }

    /// Renews the lease of `server`. False if it had ended: its members were taken out of their rooms
    /// and are to be told again. Members of servers whose lease has ended are taken out.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn renew_lease(&self, server: BootId) -> Result<bool, AskError> {
        let mut call = LEASE.on(self.log.keys().prefix());
        call.arg(server).arg(millis(self.settings.server_lease));
        let (running, ended): (bool, Vec<BootId>) = call.run(self.log.redis()).await?;
        for dead in ended {
            self.fade(dead).await?;
        }
        Ok(running)
    }

    /// Ends the lease of `server`: it has no members any more.
    ///
    /// # Errors
    /// If Redis fails; the lease then runs out.
    pub async fn end_lease(&self, server: BootId) -> Result<(), AskError> {
        let redis = self.log.redis();
        let mut connection = redis.connection().await?;
        let _: i64 = redis::cmd("ZADD")
            .arg(self.log.keys().servers())
            .arg(0)
            .arg(server)
            .query_async(&mut connection)
            .await
            .map_err(|source| AskError::Redis(redis.failed("end this server's lease", source)))?;
        self.fade(server).await
    }

    async fn fade(&self, server: BootId) -> Result<(), AskError> {
        loop {
            let mut call = FADE.on(self.log.keys().prefix());
            call.arg(server).arg(FADE_ROOMS);
            let (looked_at, empty): (usize, Vec<RoomId>) = call.run(self.log.redis()).await?;
            for room in empty {
                self.ask_flush(&room).await?;
            }
            if looked_at < FADE_ROOMS {
                return Ok(());
            }
        }
    }
}

impl Chat {
    /// Tells all members of a room that somebody types, with a ready frame. It is not kept.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn tell_typing(&self, room: &RoomId, frame: &str) -> Result<(), KvError> {
        let redis = self.log.redis();
        let mut connection = redis.connection().await?;
        redis::cmd("PUBLISH")
            .arg(self.log.keys().live(room))
            .arg(format!("t {frame}"))
            .query_async(&mut connection)
            .await
            .map_err(|source| redis.failed("tell that somebody types", source))
    }

    /// Asks whether Redis answers.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping_redis(&self) -> Result<(), KvError> {
        let redis = self.log.redis();
        let mut connection = redis.connection().await?;
        redis::cmd("PING")
            .query_async(&mut connection)
            .await
            .map_err(|source| redis.failed("ask Redis whether it is there", source))
    }
}
