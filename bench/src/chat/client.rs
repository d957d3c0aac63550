//! One WebSocket of the chat, as a browser would open it.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::time::timeout;

use super::socket::Socket;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A client that speaks with one server.
#[derive(Debug)]
pub(super) struct Client {
    socket: Socket,
}

/// The answer to a join, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Joined {
    /// Whether the history is all there is.
    pub(super) complete: bool,
    /// The newest id.
    pub(super) top: i64,
    /// The newest messages, oldest first.
    pub(super) messages: Vec<Shown>,
    /// How long the first part took.
    #[serde(skip)]
    pub(super) first_part: Duration,
}

/// A history as it came.
#[derive(Debug)]
pub(super) struct History {
    frames: Vec<String>,
    /// How long the first part took.
    first_part: Duration,
}

/// The end of a frame after which more of a history comes.
const CONTINUES: &str = r#""continues":true}}"#;

impl History {
    /// Its messages, oldest first.
    pub(super) fn read(&self) -> Result<Vec<Shown>> {
        let mut messages = Vec::new();
        for frame in &self.frames {
            let frame: Frame<Part> = serde_json::from_str(frame).context("read a history")?;
            messages.extend(frame.payload.messages);
        }
        Ok(messages)
    }
}

/// A part of a history.
#[derive(Deserialize)]
struct Part {
    messages: Vec<Shown>,
}

/// A message of a room's history.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    /// Its id.
    pub(super) message_id: i64,
    /// The one before it.
    pub(super) prev: i64,
}

#[derive(Deserialize)]
struct Frame<T> {
    payload: T,
}

impl Client {
    /// Connects to the server on `port`.
    pub(super) async fn connect(port: u16, user: &str) -> Result<Self> {
        Self::connect_from(Ipv4Addr::LOCALHOST, port, user).await
    }

    /// The same, from an address of this machine.
    pub(super) async fn connect_from(from: Ipv4Addr, port: u16, user: &str) -> Result<Self> {
        let path = format!("/ws?userId={user}&username={user}");
        let socket = timeout(PATIENCE, Socket::connect_from(from, port, &path))
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")))
            .with_context(|| format!("open a WebSocket to port {port}"))?;
        Ok(Self { socket })
    }

    /// Joins a room, and takes up to `limit` of its newest messages, in all parts that they come in.
    pub(super) async fn join(&mut self, room: &str, limit: usize) -> Result<Joined> {
        let history = self.join_unread(room, limit).await?;
        let first: Frame<Joined> =
            serde_json::from_str(&history.frames[0]).context("read the answer to a join")?;
        Ok(Joined {
            messages: history.read()?,
            first_part: history.first_part,
            ..first.payload
        })
    }

    /// As [`Self::join`], but leaves it to the caller to read what has come.
    pub(super) async fn join_unread(&mut self, room: &str, limit: usize) -> Result<History> {
        let join =
            format!(r#"{{"type":"join","id":1,"payload":{{"roomId":"{room}","limit":{limit}}}}}"#);
        let begun = Instant::now();
        let joined = self
            .ask(join, "joined")
            .await
            .with_context(|| format!("join {room}"))?;
        let first_part = begun.elapsed();
        let mut frames = vec![joined];
        // Its end tells, and reading all of it would delay what comes next.
        while frames
            .last()
            .is_some_and(|frame| frame.ends_with(CONTINUES))
        {
            frames.push(
                self.await_frame("history")
                    .await
                    .context("read a history")?,
            );
        }
        Ok(History { frames, first_part })
    }

    /// Leaves a room.
    pub(super) async fn leave(&mut self, room: &str) -> Result<()> {
        let leave = format!(r#"{{"type":"leave","id":2,"payload":{{"roomId":"{room}"}}}}"#);
        let left = self.socket.writer().text(&leave).await;
        left.context("leave a room")
    }

    /// Sends a frame and waits for the answer of this type; passes over others.
    async fn ask(&mut self, frame: String, kind: &str) -> Result<String> {
        self.socket.writer().text(&frame).await?;
        self.await_frame(kind).await
    }

    /// Waits for the next frame of a type; passes over others.
    async fn await_frame(&mut self, kind: &str) -> Result<String> {
        let wanted = format!(r#"{{"type":"{kind}""#);
        let answer = async {
            loop {
                let text = self.socket.text().await?;
                if text.starts_with(&wanted) {
                    return Ok(text);
                }
                if text.starts_with(r#"{"type":"error""#) {
                    bail!("the server answered: {text}");
                }
            }
        };
        timeout(PATIENCE, answer)
            .await
            .context("no answer in time")?
    }

    /// A client that goes on with a socket.
    pub(super) fn from_socket(socket: Socket) -> Self {
        Self { socket }
    }

    /// The socket, to be read and written by others.
    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }
}
