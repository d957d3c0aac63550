//! Premium: a room's jobs go to the high queue while somebody premium has been in it lately, otherwise to the
//! default one. Which rooms are premium, and until when, lies in Redis beside the rooms: it holds when the
//! server that said so is gone, when the room's own keys are, and for the sweep, which knows no servers.

use std::sync::LazyLock;

use super::Chat;
use crate::{
    id::RoomId,
    kv::{KvError, Script},
    queue::enqueue::millis,
};

static PREMIUM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "mark a room as premium",
        &[super::LIB, include_str!("lua/premium.lua")],
    )
});

impl Chat {
    /// Somebody premium is in a room: for [`Settings::premium_for`] its jobs go before those of others.
    ///
    /// [`Settings::premium_for`]: super::Settings::premium_for
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn mark_premium(&self, room: &RoomId) -> Result<(), KvError> {
        let mut call = PREMIUM.on(self.log.keys().prefix());
        call.arg(room).arg(millis(self.settings.premium_for));
        call.run(self.log.redis()).await
    }
}
