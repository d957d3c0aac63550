//! A client of Rhubarb's chat, as docs/protocol.md tells it.
//!
//! Three layers, each usable by itself: [`Connection`] is one socket and single frames ([`frame`]);
//! [`Session`] is what a client remembers and decides, without socket and clock; [`Client`] puts both
//! together and reconnects by itself.
//!
//! ```no_run
//! # async fn example() -> Result<(), client::PostError> {
//! use client::{Client, Config, Event};
//!
//! let config = Config::new(["ws://127.0.0.1:8080/ws", "ws://127.0.0.1:8081/ws"]).user("ada", "Ada");
//! let (client, mut events) = Client::start(config);
//! client.join("lobby");
//! tokio::spawn(async move {
//!     while let Some(event) = events.next().await {
//!         match event {
//!             // What was shown of the room is out of date unless it goes on from there.
//!             Event::Joined { resumed: false, messages, .. } => println!("anew: {messages:?}"),
//!             Event::Joined { messages, .. } => println!("and: {messages:?}"),
//!             Event::Message { message, .. } => println!("{}: {}", message.username, message.text),
//!             _ => {}
//!         }
//!     }
//! });
//! // Returns when the message is kept, over as many connections as that takes.
//! let ack = client.post("lobby", "hello").await?;
//! println!("kept as {}", ack.message_id);
//! # Ok(())
//! # }
//! ```

mod ask;
mod client;
mod connection;
mod event;
pub mod frame;
mod room;
mod session;
mod unacked;

pub use ask::{AckLevel, Deed};
pub use client::{Client, Config, Events, PostError};
pub use connection::{Address, Connection, ConnectionError, Heard, READ_BUFFER, Socket};
pub use event::Event;
pub use frame::{Ack, Frame, Message, MessageId};
pub use session::Session;
