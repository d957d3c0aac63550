//! Which flow, and where in it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::IdError;

/// A flow that was started: its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(u64);

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for FlowId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let number = text.parse().ok().filter(|_| !text.starts_with('+'));
        number
            .map(Self)
            .ok_or_else(|| IdError::new(text, "the number of a flow"))
    }
}

crate::id_as_text!(FlowId);

/// A job's place in a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlow {
    /// The flow.
    pub id: FlowId,
    /// Which step of it the job is.
    pub step: u32,
    /// The step whose end started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u32>,
    /// Whether a later step may want what it gives back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output: bool,
}

impl InFlow {
    /// As the scripts read it.
    pub(in crate::queue) fn write(self) -> String {
        serde_json::to_string(&self).unwrap_or_default()
    }
}
