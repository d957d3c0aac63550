//! Rhubarb's queue and chat, as a library for its processes.
//!
//! Layers, each importing only from those before it: ids, configuration, telemetry and shutdown;
//! [`kv`] (Redis) and [`pg`] (Postgres); [`preflight`]; [`queue`]; [`chat`]; the binaries.
//!
//! Read [`queue`] for the journey of a job and [`chat`] for the journey of a message.
#![deny(missing_docs)]

pub mod chat;
pub mod config;
pub mod error;
pub mod id;
pub mod kv;
pub mod pg;
pub mod preflight;
pub mod queue;
pub mod shutdown;
pub mod telemetry;
pub mod testing;
