//! What the worker's binaries share: the list of tasks.
#![deny(missing_docs)]

pub mod tasks;
