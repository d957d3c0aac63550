//! One job at once, without lane and key: the shortest way into a queue, and the most used.

use std::sync::LazyLock;

use redis::{FromRedisValue, ParsingError, Value};

use super::{EnqueueError, Enqueued, JobId, NUMBERS, Producer, Queue, asked::Asked, clock::Clock};
use crate::kv::Script;

static ENQUEUE_ONE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "push a job",
        &[NUMBERS, include_str!("lua/enqueue_one.lua")],
    )
});

/// What the script answers.
struct Pushed {
    id: JobId,
    /// If it was asked for.
    now_ms: Option<u64>,
}

impl FromRedisValue for Pushed {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        if let Value::Array(_) = value {
            let (id, now_ms) = FromRedisValue::from_redis_value(value)?;
            return Ok(Self { id, now_ms });
        }
        let id = FromRedisValue::from_redis_value(value)?;
        Ok(Self { id, now_ms: None })
    }
}

impl Producer {
    /// Pushes a job that has neither lane nor key. It bears its time if an answer of Redis told the time just now: to
    /// have the script write it takes Redis a quarter longer.
    pub(super) async fn push_plain(
        &self,
        queue: Queue,
        asked: &Asked,
    ) -> Result<Enqueued, EnqueueError> {
        let stamped = asked.stamped(self.clock.fresh());
        let mut call = ENQUEUE_ONE.on(self.keys.prefix());
        call.arg(queue).arg(u8::from(stamped.is_some()));
        call.arg(stamped.as_ref().unwrap_or(&asked.body));
        let pushed = call.run(&self.redis).await;
        let Pushed { id, now_ms } =
            pushed.map_err(|source| EnqueueError::refused(queue, source))?;
        if let Some(now_ms) = now_ms {
            self.clock.shows(Clock::shows(now_ms));
        }
        Ok(Enqueued::new(id))
    }
}
