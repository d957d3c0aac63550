//! The whole of Rhubarb: real server and worker processes on a real Redis and Postgres, clients on real
//! sockets, a real browser. Each test has a namespace and a schema of its own, so they run side by side.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic; clippy.toml knows only #[test] functions"
)]

mod harness;
mod history;

mod alerts;
mod bad_frames;
mod bad_starts;
mod browser;
mod children;
mod client_crate;
mod client_library;
mod configuration;
mod edits;
mod events;
mod journey;
mod limits;
mod logs;
mod metrics;
mod ops;
mod outages;
mod packaging;
mod page;
mod page_for_everybody;
mod readiness;
mod redis_users;
mod rehydration;
mod restore;
mod resume;
mod rolling;
mod rooms_over_http;
mod rows;
mod server_death;
mod shutdown;
mod slow_readers;
mod tls;
mod traces;
mod who_may;
mod worker_death;
