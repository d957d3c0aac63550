//! Rhubarb's queue and chat, as a library for its processes.
//!
//! Layers, each importing only from those before it: ids, words, leads, configuration, telemetry and shutdown;
//! [`kv`] (Redis) and [`pg`] (Postgres); [`preflight`]; [`queue`]; [`chat`]; [`health`]; the binaries.
//!
//! Read [`queue`] for the journey of a job and [`chat`] for the journey of a message.
#![deny(missing_docs)]

mod begun;
pub mod chat;
pub mod config;
pub mod error;
pub mod health;
pub mod id;
pub mod kv;
pub mod lead;
pub mod pg;
pub mod preflight;
pub mod queue;
pub mod shutdown;
pub mod telemetry;
pub mod testing;
pub mod words;
