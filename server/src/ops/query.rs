//! What stands behind the `?`, and what filters of jobs are made of.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use common::queue::dead::Filter;
use serde::Deserialize;

use crate::error::ApiError;

/// The parts of a query, by name. What is empty is not there.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(crate) struct Query(BTreeMap<String, String>);

/// Times, places and counts go through scripts, whose numbers are exact up to here.
const MOST: u64 = 1 << 53;

impl Query {
    /// Refuses what has another name than these: what was meant as a filter would be none.
    pub(super) fn has_only(&self, names: &[&str]) -> Result<(), ApiError> {
        let unknown = self.0.keys().find(|name| !names.contains(&name.as_str()));
        unknown.map_or(Ok(()), |_| {
            let known = if names.is_empty() {
                "nothing".to_owned()
            } else {
                names.join(", ")
            };
            Err(ApiError::BadRequest(format!(
                "behind the `?` of this call stands {known}, and nothing else"
            )))
        })
    }

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

    /// A part that is a time, a place or a count.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let number = self.read(name)?;
        if number.is_some_and(|number| number > MOST) {
            return Err(ApiError::BadRequest(format!("`{name}` is {MOST} at most")));
        }
        Ok(number)
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
            since_ms: self.number("since_ms")?,
            before_ms: self.number("before_ms")?,
        })
    }
}
