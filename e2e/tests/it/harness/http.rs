//! One HTTP request over a socket of its own.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Reply {
    fn read(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Self {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    /// Whether nothing is missing of the length that it announces.
    fn is_whole(&self) -> bool {
        let length = self.header("content-length");
        let length = length.and_then(|length| length.parse().ok());
        length.is_some_and(|length: usize| self.body.len() >= length)
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in this body: {}", self.body))
    }
}

/// `GET`s a path.
pub(crate) async fn get(port: u16, path: &str) -> io::Result<Reply> {
    send(port, &format!("GET {path} HTTP/1.1\r\n")).await
}

/// Asks for a WebSocket in a way that is to be refused.
pub(crate) async fn refused_upgrade(port: u16, query: &str, headers: &str) -> Reply {
    let head = format!(
        "GET /ws?{query} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{headers}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    send(port, &head).await.expect("an answer to an upgrade")
}

/// `POST`s JSON.
pub(crate) async fn post(port: u16, path: &str, body: &serde_json::Value) -> io::Result<Reply> {
    post_raw(port, path, "", &body.to_string()).await
}

/// `POST`s anything, with headers if there are any.
pub(crate) async fn post_raw(
    port: u16,
    path: &str,
    headers: &str,
    body: &str,
) -> io::Result<Reply> {
    with_body(port, &format!("POST {path}"), headers, body).await
}

/// Asks with a body; `what` is the method and the path.
pub(crate) async fn with_body(
    port: u16,
    what: &str,
    headers: &str,
    body: &str,
) -> io::Result<Reply> {
    let length = body.len();
    let head = format!("{what} HTTP/1.1\r\nContent-Length: {length}\r\n{headers}");
    exchange(port, &head, body).await
}

/// Sends a request line and headers, and reads the whole answer.
pub(crate) async fn send(port: u16, head: &str) -> io::Result<Reply> {
    exchange(port, head, "").await
}

async fn exchange(port: u16, head: &str, body: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("{head}Host: 127.0.0.1\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await?;
    // Not to the end of the connection: some servers keep it open all the same.
    let mut answer = Vec::new();
    while stream.read_buf(&mut answer).await? > 0 {
        if let Some(reply) = Reply::read(&answer).filter(Reply::is_whole) {
            return Ok(reply);
        }
    }
    let unreadable = || io::Error::other(format!("no HTTP: {}", String::from_utf8_lossy(&answer)));
    Reply::read(&answer).ok_or_else(unreadable)
}
