//! One WebSocket of the chat, as a browser would open it.

use std::time::Duration;

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
struct JoinedFrame {
    payload: Joined,
}

impl Client {
    /// Connects to the server on `port`.
    pub(super) async fn connect(port: u16, user: &str) -> Result<Self> {
        let path = format!("/ws?userId={user}&username={user}");
        let socket = timeout(PATIENCE, Socket::connect(port, &path))
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")))
            .with_context(|| format!("open a WebSocket to port {port}"))?;
        Ok(Self { socket })
    }

    /// Joins a room, and takes up to `limit` of its newest messages.
    pub(super) async fn join(&mut self, room: &str, limit: usize) -> Result<Joined> {
        let join =
            format!(r#"{{"type":"join","id":1,"payload":{{"roomId":"{room}","limit":{limit}}}}}"#);
        let answer = self
            .ask(join, "joined")
            .await
            .with_context(|| format!("join {room}"))?;
        let frame: JoinedFrame =
            serde_json::from_str(&answer).context("read the answer to a join")?;
        Ok(frame.payload)
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
