//! What is around a job in its flow.

use std::sync::LazyLock;

use serde::Serialize;

use super::{Inspector, ONLY_LOOKS};
use crate::{
    kv::{KvError, Script},
    queue::{
        ENDS,
        flow::{FlowId, InFlow},
    },
};

static VIEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look at a flow",
        &[ONLY_LOOKS, ENDS, include_str!("../lua/flow_view.lua")],
    )
});

/// What is around one step of a flow. What comes next is told by its task, or as `all of 3`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Around {
    /// The flow.
    pub flow: FlowId,
    /// Which step of it this is, from 1.
    pub step: u32,
    /// All its steps.
    pub steps: u64,
    /// Jobs of it that are not gone.
    pub jobs: u64,
    /// What is started when this step ends well.
    pub then: Option<String>,
    /// What is started if it fails.
    pub or_else: Option<String>,
    /// The `all` that it is in.
    pub within: Option<Within>,
}

/// An `all`, as seen from one of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Within {
    /// Which part, from 1.
    pub part: u64,
    /// All its parts.
    pub parts: u64,
    /// Those that have not ended.
    pub left: u64,
    /// Those that failed.
    pub failed: u64,
    /// What is started when it ends well.
    pub then: Option<String>,
    /// What is started if it fails.
    pub or_else: Option<String>,
}

type Reply = Vec<(u64, u64, String, String, u64, u64, u64, u64, String, String)>;

impl Inspector {
    /// Looks at what is around a job in its flow; nothing if the flow is not kept any more.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn around(&self, place: InFlow) -> Result<Option<Around>, KvError> {
        let mut call = VIEW.on(self.keys.prefix());
        call.arg(place.id).arg(place.step);
        let reply: Reply = call.run(&self.redis).await?;
        let named = |name: String| (!name.is_empty()).then_some(name);
        Ok(reply.into_iter().next().map(|around| {
            let (steps, jobs, then, or_else, part, parts, left, failed, all_then, all_or_else) =
                around;
            Around {
                flow: place.id,
                step: place.step,
                steps,
                jobs,
                then: named(then),
                or_else: named(or_else),
                within: (part > 0).then(|| Within {
                    part,
                    parts,
                    left,
                    failed,
                    then: named(all_then),
                    or_else: named(all_or_else),
                }),
            }
        }))
    }
}
