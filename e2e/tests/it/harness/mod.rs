//! What the tests share. Read [`stack`] first: it starts everything else.

pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod stack;
pub(crate) mod transcript;

pub(crate) use browser::Browser;
pub(crate) use client::Client;
pub(crate) use events::Events;
pub(crate) use process::Process;
pub(crate) use server::Server;
pub(crate) use stack::Stack;
