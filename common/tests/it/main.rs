//! The library against real servers. Run with `bin/test`, which starts them.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic; clippy.toml knows only #[test] functions"
)]

mod chat;
mod inspect;
mod journey;
mod queue;
mod rights;
mod shape;
