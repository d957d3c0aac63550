//! What stands behind the `?`, and what filters of jobs are made of.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use common::queue::dead::Filter;
use serde::Deserialize;

use crate::error::ApiError;

/// The parts of a query, by name. What is empty is not there.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// A part that is to be read as something.
    pub(super) fn read<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let read = |text: &str| {
            let wrong = |error| ApiError::BadRequest(format!("`{name}`: {error}"));
            text.parse().map_err(wrong)
        };
        self.text(name).map(read).transpose()
    }

    /// How many: so many at most.
    pub(super) fn limit(&self, default: usize, most: usize) -> Result<usize, ApiError> {
        Ok(self.read("limit")?.unwrap_or(default).clamp(1, most))
    }

    /// Which jobs.
    pub(super) fn filter(&self) -> Result<Filter, ApiError> {
        Ok(Filter {
            task: self.text("task").map(str::to_owned),
            queue: self.read("queue")?,
            error: self.text("error").map(str::to_owned),
            group: self.read("group")?,
            since_ms: self.read("since_ms")?,
            before_ms: self.read("before_ms")?,
        })
    }
}
