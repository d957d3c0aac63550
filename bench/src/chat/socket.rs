//! A WebSocket of the load generator. It does as little a frame as can be, so that the generator takes
//! little of the machine that it shares with what it measures: reads go into one buffer of the thread,
//! frames are looked at where they lie, and what is sent is masked with zeros.

use std::{
    cell::RefCell,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::net::{TcpSocket, TcpStream};

/// What one system call reads at most.
const READ: usize = 256 * 1024;

thread_local! {
    /// Where all sockets of a thread read.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Text = 1,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// A connected socket, to be read.
#[derive(Debug)]
pub(super) struct Socket {
    writer: Writer,
    /// A frame of which some has arrived.
    rest: Vec<u8>,
}

/// The same, to be written. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    stream: Arc<TcpStream>,
}

impl Socket {
    /// Connects to `path` of the server on `port`.
    pub(super) async fn connect(port: u16, path: &str) -> Result<Self> {
        Self::connect_from(Ipv4Addr::LOCALHOST, port, path).await
    }

    /// The same, from an address of this machine: each has 28,000 ports to connect from.
    pub(super) async fn connect_from(from: Ipv4Addr, port: u16, path: &str) -> Result<Self> {
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = if from == Ipv4Addr::LOCALHOST {
            TcpStream::connect(server).await?
        } else {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((from, 0)))?;
            socket.connect(server).await?
        };
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut socket = Self {
            writer: Writer {
                stream: Arc::new(stream),
            },
            rest: Vec::new(),
        };
        socket.writer.write(request.as_bytes()).await?;
        loop {
            ensure!(
                socket.read_more().await?,
                "the server closed the connection"
            );
            if let Some(end) = socket.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&socket.rest[..end]).into_owned();
                ensure!(
                    head.starts_with("HTTP/1.1 101"),
                    "the server answered: {head}"
                );
                socket.rest.drain(..end + 4);
                return Ok(socket);
            }
        }
    }

    /// What is sent goes here.
    pub(super) fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// The next text.
    pub(super) async fn text(&mut self) -> Result<String> {
        loop {
            if let Some((opcode, begin, end)) = frame(&self.rest)? {
                let text = String::from_utf8_lossy(&self.rest[begin..end]).into_owned();
                self.rest.drain(..end);
                match opcode {
                    Opcode::Text => return Ok(text),
                    Opcode::Close => bail!("the server closed the connection"),
                    Opcode::Ping | Opcode::Pong => continue,
                }
            }
            ensure!(self.read_more().await?, "the server closed the connection");
        }
    }

    async fn read_more(&mut self) -> Result<bool> {
        loop {
            self.writer.stream.readable().await?;
            let read = BUFFER.with_borrow_mut(|buffer| {
                let read = self.writer.stream.try_read(buffer)?;
                self.rest.extend_from_slice(&buffer[..read]);
                Ok::<_, std::io::Error>(read)
            });
            match read {
                Ok(read) => return Ok(read > 0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads until the connection ends, and has `hear` take note of all frames that a read brings, one
    /// after another in one call.
    pub(super) async fn listen(mut self, mut hear: impl FnMut(&mut Frames<'_>)) -> Result<()> {
        let mut is_first = !self.rest.is_empty();
        loop {
            let mut pinged = false;
            if !std::mem::take(&mut is_first) {
                self.writer.stream.readable().await?;
                let read = BUFFER.with_borrow_mut(|buffer| {
                    let read = self.writer.stream.try_read(buffer)?;
                    if self.rest.is_empty() {
                        let mut frames = Frames::new(&buffer[..read]);
                        hear(&mut frames);
                        pinged = frames.pinged;
                        self.rest.extend_from_slice(frames.bytes);
                    } else {
                        self.rest.extend_from_slice(&buffer[..read]);
                    }
                    Ok::<_, std::io::Error>(read)
                });
                match read {
                    Ok(0) => bail!("the connection ended"),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error).context("the connection broke"),
                }
            }
            if !self.rest.is_empty() {
                let mut frames = Frames::new(&self.rest);
                hear(&mut frames);
                pinged |= frames.pinged;
                let left = frames.bytes.len();
                self.rest.drain(..self.rest.len() - left);
            }
            if pinged {
                self.writer.send(Opcode::Pong, "").await?;
            }
        }
    }
}

impl Writer {
    /// Sends a text.
    pub(super) async fn text(&self, text: &str) -> Result<()> {
        self.send(Opcode::Text, text).await
    }

    async fn send(&self, opcode: Opcode, text: &str) -> Result<()> {
        let mut frame = Vec::with_capacity(text.len() + 8);
        frame.push(0x80 | opcode as u8);
        match u8::try_from(text.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                let length = u16::try_from(text.len()).context("a frame is too long")?;
                frame.push(0xfe); // masked, and the length comes in two bytes
                frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.write(&frame).await
    }

    /// Writes all or nothing at a time, so that two may write.
    async fn write(&self, bytes: &[u8]) -> Result<()> {
        loop {
            match self.stream.try_write(bytes) {
                Ok(written) => {
                    ensure!(written == bytes.len(), "the server reads too slowly");
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The frames that a read has brought.
#[derive(Debug)]
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    pinged: bool,
    /// Why the server closes the connection, if it does.
    pub(super) closed: Option<String>,
}

impl<'a> Frames<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            pinged: false,
            closed: None,
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    /// The next text.
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (opcode, begin, end) = match frame(self.bytes) {
                Ok(frame) => frame?,
                Err(error) => {
                    self.closed.get_or_insert(error.to_string());
                    return None;
                }
            };
            let payload = &self.bytes[begin..end];
            self.bytes = &self.bytes[end..];
            match opcode {
                Opcode::Text => return Some(payload),
                Opcode::Ping => self.pinged = true,
                Opcode::Pong => {}
                Opcode::Close => {
                    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                    self.closed = Some(reason.into_owned());
                }
            }
        }
    }
}

/// The frame at the front, if all of it is there: what it is, and where its payload begins and ends.
fn frame(bytes: &[u8]) -> Result<Option<(Opcode, usize, usize)>> {
    let &[first, length, ..] = bytes else {
        return Ok(None);
    };
    let (begin, length) = match length {
        126 => match bytes.get(2..4) {
            Some(&[high, low]) => (4, usize::from(u16::from_be_bytes([high, low]))),
            _ => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|eight| eight.try_into().ok()) {
            Some(eight) => (10, crate::number::length(u64::from_be_bytes(eight))),
            None => return Ok(None),
        },
        length => (2, usize::from(length)),
    };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8a => Opcode::Pong,
        other => bail!("the server sent a frame that begins with {other:#x}"),
    };
    let end = begin + length;
    Ok((end <= bytes.len()).then_some((opcode, begin, end)))
}
