//! The bell: a channel on which scripts tell all workers that there is something to look at. It carries no
//! state, and nothing depends on it: what it announces is in Redis and is found a moment later without it.
//! So a lost ring costs a second or two, and no job, and there is no [`crate::kv::subscription`] here: that one
//! asks each second whether its connection lives, more than an idle worker may send.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::{
    error::Chain,
    kv::{Keys, Redis},
    shutdown::Shutdown,
};

/// Between two attempts to subscribe.
const RETRY: Duration = Duration::from_millis(500);

/// What a worker hears.
#[derive(Debug, Clone, Default)]
pub(super) struct Bell {
    /// A job is due earlier than all before, or something else for [`super::care`] to look at: `look`.
    pub(super) look: Arc<Notify>,
    /// Something was decided about queues or jobs that a worker must know at once: `beat`. Its next
    /// heartbeat tells what.
    pub(super) beat: Arc<Notify>,
}

impl Bell {
    /// Listens until the shutdown. Whenever it begins to hear, both are to look: rings before were missed.
    pub(super) async fn listen(self, redis: Redis, keys: Keys, shutdown: Shutdown) {
        let mut well = true;
        loop {
            let heard = tokio::select! {
                heard = self.hear(&redis, &keys) => heard,
                () = shutdown.asked() => return,
            };
            if let Err(error) = heard
                && std::mem::replace(&mut well, false)
            {
                tracing::debug!(error = %Chain(&error), "the bell is out of order; looking by the clock");
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = shutdown.asked() => return,
            }
        }
    }

    async fn hear(&self, redis: &Redis, keys: &Keys) -> redis::RedisResult<()> {
        let mut subscription = redis.client().get_async_pubsub().await?;
        subscription.subscribe(keys.bell()).await?;
        self.look.notify_one();
        self.beat.notify_one();
        let mut rings = subscription.into_on_message();
        while let Some(ring) = rings.next().await {
            match ring.get_payload_bytes() {
                b"look" => self.look.notify_one(),
                b"beat" => self.beat.notify_one(),
                other => {
                    tracing::debug!(ring = %String::from_utf8_lossy(other), "an unknown ring");
                }
            }
        }
        Ok(())
    }
}
