//! The producer of either side: enqueues jobs one at a time or many at once.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Result, bail};
use common::queue::{self, Queue, When};

use super::{Side, bound, tally::Noop};
use crate::redis_side::{Namespace, RedisSide};

/// Jobs that are made and then handed over at once.
const SLICE: u64 = 10_000;

/// Enqueues jobs.
#[derive(Debug)]
pub(super) enum Producer {
    /// Onto the queue.
    Queue(queue::Producer),
    /// Onto a bare list.
    Bound(bound::Producer),
}

impl Producer {
    /// A producer over a connection of its own.
    pub(super) async fn connect(
        side: Side,
        redis: &RedisSide,
        namespace: &Namespace,
    ) -> Result<Self> {
        Ok(match side {
            Side::Queue => {
                let redis = common::kv::Redis::new(redis.url())?;
                redis.connection().await?;
                Self::Queue(queue::Producer::new(redis, namespace.keys.clone()))
            }
            Side::Bound | Side::BoundWithIds => {
                let list = namespace.keys.queue(Queue::Default);
                let with_ids = side == Side::BoundWithIds;
                let connection = redis.connect().await?;
                Self::Bound(bound::Producer::new(connection, list, with_ids))
            }
        })
    }

    /// Enqueues one job and waits until Redis has it.
    pub(super) async fn one(&mut self, job: &Noop) -> Result<()> {
        match self {
            Self::Queue(producer) => producer.enqueue(job).await.map(drop).map_err(Into::into),
            Self::Bound(producer) => producer.enqueue(job).await,
        }
    }

    /// What can call jobs of the queue.
    pub(super) fn caller(&self) -> Result<queue::Producer> {
        match self {
            Self::Queue(producer) => Ok(producer.clone()),
            Self::Bound(_) => bail!("a bare list gives nothing back"),
        }
    }

    /// Schedules one job for a time since 1970; a bare list knows none.
    pub(super) async fn scheduled(&mut self, job: &Noop, since_1970: Duration) -> Result<()> {
        let Self::Queue(producer) = self else {
            bail!("a bare list has no schedule");
        };
        let options = queue::Options {
            when: When::At(UNIX_EPOCH + since_1970),
            ..queue::Options::default()
        };
        producer.enqueue_with(job, &options).await?;
        Ok(())
    }

    /// Enqueues the jobs with numbers below `jobs`, as fast as it can.
    pub(super) async fn all(&mut self, jobs: u64) -> Result<()> {
        for from in (0..jobs).step_by(usize::try_from(SLICE)?) {
            let to = jobs.min(from + SLICE);
            let slice: Vec<_> = (from..to).map(|n| Noop::new(n, None)).collect();
            match self {
                Self::Queue(producer) => {
                    let options = queue::Options::default();
                    producer.enqueue_all(&slice, &options).await?;
                }
                Self::Bound(producer) => producer.enqueue_all(&slice).await?,
            }
        }
        Ok(())
    }
}
