//! The lanes: how many of their jobs wait and run, how wide and how fast they are.

use std::sync::LazyLock;

use serde::Serialize;

use super::{Inspector, ONLY_LOOKS, list::FARTHEST, score};
use crate::{
    kv::{KvError, Script},
    queue::{
        JobId, Lane,
        lane::{Rate, limits},
    },
};

static LANE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look at lanes",
        &[
            ONLY_LOOKS,
            crate::queue::LIB,
            include_str!("../lua/lane.lua"),
        ],
    )
});

/// One lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneStatus {
    /// Its name.
    pub lane: String,
    /// Jobs in its line.
    pub waiting: u64,
    /// Jobs that were let go: they wait in their queue, or run.
    pub in_flight: u64,
    /// How many of these there may be.
    pub width: u32,
    /// How fast they may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// When its rate lets the next one go, if the rate is what holds it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
}

/// The lane of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneOfJob {
    /// The lane.
    #[serde(flatten)]
    pub status: LaneStatus,
    /// How many are before the job in the lane's line, if it is there.
    pub ahead: Option<u64>,
}

type Reply = (String, u64, u64, String, String, i64);

impl Inspector {
    /// Some lanes, after as many others: those that their rate holds up first, then by name. There are none but
    /// those with jobs in line or in flight.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn lanes(&self, after: usize, limit: usize) -> Result<Vec<LaneStatus>, KvError> {
        let names = self.lane_names(after, limit).await?;
        let lanes = self.look_at_lanes(None, &names).await?;
        Ok(lanes
            .into_iter()
            .filter(|reply| !reply.4.is_empty()) // ended meanwhile
            .map(|reply| status(reply, None))
            .collect())
    }

    /// The lane of one job.
    pub(super) async fn lane_of(&self, id: JobId, lane: &Lane) -> Result<LaneOfJob, KvError> {
        let mut lanes = self
            .look_at_lanes(Some(id), &[lane.name().to_owned()])
            .await?;
        let reply = lanes.pop().unwrap_or_default();
        let ahead = u64::try_from(reply.5).ok();
        let status = status(reply, Some(lane));
        Ok(LaneOfJob { status, ahead })
    }

    pub(super) async fn lane_names(
        &self,
        after: usize,
        limit: usize,
    ) -> Result<Vec<String>, KvError> {
        let after = after.min(FARTHEST); // Redis refuses greater places
        let mut connection = self.redis.connection().await?;
        redis::cmd("ZRANGE")
            .arg(self.keys.lanes())
            .arg(after)
            .arg(after + limit.max(1) - 1)
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("list the lanes", source))
    }

    async fn look_at_lanes(
        &self,
        id: Option<JobId>,
        names: &[String],
    ) -> Result<Vec<Reply>, KvError> {
        let mut call = LANE.on(self.keys.prefix());
        call.arg(id.map(|id| id.to_string()).unwrap_or_default());
        for name in names {
            call.arg(name);
        }
        call.run(&self.redis).await
    }
}

/// A lane without a record has the limits of the job that asks for it.
fn status((lane, waiting, in_flight, on_record, look, _): Reply, own: Option<&Lane>) -> LaneStatus {
    let (width, rate) = match own {
        Some(own) if on_record.is_empty() => own.limits(),
        _ => limits(&on_record),
    };
    LaneStatus {
        lane,
        waiting,
        in_flight,
        width,
        rate,
        next_ms: score(&look),
    }
}
