//! One WebSocket of the chat, as a browser would open it, and the few things that a measurement asks
//! before and after.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{
    Address, Connection, Heard,
    frame::{Body, Frame, Joined},
};
use tokio::time::timeout;

pub(super) use client::Socket;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that speaks with one server.
#[derive(Debug)]
pub(super) struct Client {
    connection: Connection,
}

impl Client {
    /// Connects to the server on `port`.
    pub(super) async fn connect(port: u16, user: &str) -> Result<Self> {
        let address = Address::new(format!("ws://127.0.0.1:{port}/ws")).user(user, user);
        let connection = Connection::open(&address)
            .await
            .with_context(|| format!("open a WebSocket to port {port}"))?;
        Ok(Self { connection })
    }

    /// Joins a room, and takes up to `limit` of its newest messages.
    pub(super) async fn join(&mut self, room: &str, limit: usize) -> Result<Joined> {
        let join =
            format!(r#"{{"type":"join","id":1,"payload":{{"roomId":"{room}","limit":{limit}}}}}"#);
        self.connection.send(join).await?;
        let answer = timeout(PATIENCE, self.joined()).await;
        let answer = answer
            .context("no answer in time")
            .and_then(|answer| answer);
        answer.with_context(|| format!("join {room}"))
    }

    /// The answer to a join, with all its parts; passes over other frames.
    async fn joined(&mut self) -> Result<Joined> {
        let mut answer: Option<Joined> = None;
        loop {
            let text = match self.connection.next().await {
                Heard::Text(text) => text,
                Heard::Closed(_) | Heard::Gone => bail!("the server closed the connection"),
            };
            match Frame::read(&text).context("read a frame")?.body {
                Body::Joined(joined) if !joined.continues => return Ok(joined),
                Body::Joined(joined) => answer = Some(joined),
                Body::History(mut history) => {
                    let mut joined = answer.take().context("a join before its history")?;
                    joined.messages.append(&mut history.messages);
                    if !history.continues {
                        return Ok(joined);
                    }
                    answer = Some(joined);
                }
                Body::Error(_) => bail!("the server answered: {text}"),
                _ => {}
            }
        }
    }

    /// Leaves a room.
    pub(super) async fn leave(&mut self, room: &str) -> Result<()> {
        let leave = format!(r#"{{"type":"leave","id":2,"payload":{{"roomId":"{room}"}}}}"#);
        self.connection.send(leave).await.context("leave a room")
    }

    /// A client that goes on with a socket.
    pub(super) fn from_socket(socket: Socket) -> Self {
        let connection = socket.into();
        Self { connection }
    }

    /// The socket, to be read and written by others.
    pub(super) fn into_socket(self) -> Socket {
        self.connection.into_socket()
    }
}
