//! Chaos: the public proof that nothing is lost. Real processes, a real Redis, and everything that can
//! go wrong with either, over and over; then each promise is held against what really happened.
//!
//! What is general is here: chance from a seed ([`seed`]), the ledger that processes keep outside Redis
//! ([`ledger`]), the way to Redis that sees every step ([`proxy`]), processes that are started again when
//! they end ([`process`]), a Redis to break ([`target`]), faults dealt out over a time ([`schedule`]), and a suite from its
//! seed to its verdict ([`attempt`]). [`queue`] is the suite for the queue, [`chat`] that for
//! the chat.

mod attempt;
pub(crate) mod chat;
mod ledger;
mod process;
mod proxy;
pub(crate) mod queue;
mod schedule;
pub(crate) mod seed;
mod spread;
mod target;
