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

/// `POST`s JSON.
pub(crate) async fn post(port: u16, path: &str, body: &serde_json::Value) -> io::Result<Reply> {
    let body = body.to_string();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nContent-Length: {length}\r\n");
    exchange(port, &head, &body).await
}

/// Sends a request line and headers, and reads the whole answer.
pub(crate) async fn send(port: u16, head: &str) -> io::Result<Reply> {
    exchange(port, head, "").await
}

async fn exchange(port: u16, head: &str, body: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("{head}Host: 127.0.0.1\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let unreadable = || io::Error::other(format!("this is no HTTP: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(unreadable)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Reply {
        status: status.ok_or_else(unreadable)?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
