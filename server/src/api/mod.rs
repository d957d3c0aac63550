//! The HTTP handlers. They know no warp filter.

pub(crate) mod health;
pub(crate) mod history;
pub(crate) mod jobs;
#[cfg(test)]
mod jobs_test;
pub(crate) mod page;
