//! The binaries of the worker, as a person or a script calls them. Run with `bin/test`, which starts
//! the servers.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic; clippy.toml knows only #[test] functions"
)]

mod cancel;
mod control;
mod deploy;
mod desk;
mod lanes;
mod operate;
mod outbox;
mod page;
mod queuectl;
mod rooms;
