//! The library against real servers. Run with `bin/test`, which starts them.

mod chat;
mod inspect;
mod journey;
mod queue;
mod shape;
