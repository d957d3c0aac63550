//! One socket, and single frames: for tests, and for [`crate::Client`].

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, Utf8Bytes, protocol::CloseFrame, protocol::WebSocketConfig},
};

use crate::frame::Frame;

/// A connected socket.
pub type Socket = WebSocketStream<TcpStream>;

/// Bytes that are read at once: enough for many frames, little enough for thousands of sockets.
pub const READ_BUFFER: usize = 16 * 1024;
/// A server that has not answered by then is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where to connect, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    url: String,
    token: Option<String>,
    receive_buffer: Option<u32>,
}

/// What a connection brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A frame, as it came.
    Text(Utf8Bytes),
    /// The server closed the connection, with this code and reason.
    Closed(Option<(u16, String)>),
    /// The connection is gone without a word.
    Gone,
}

/// Why there is no connection, or nothing could be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The address is not one of `ws://HOST[:PORT]/PATH`.
    #[error("`{0}` is no address of the form ws://HOST:PORT/ws")]
    Address(String),
    /// The server cannot be reached.
    #[error("connect to {url}")]
    Connect {
        /// Which.
        url: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server did not answer in time.
    #[error("{0} did not answer in time")]
    Late(String),
    /// The server does not let us in, or the connection broke.
    #[error("speak with the server")]
    WebSocket(#[from] tungstenite::Error),
}

impl Address {
    /// A server's `/ws`, e.g. `ws://127.0.0.1:8080/ws`. TLS is for a proxy on the way.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            receive_buffer: None,
        }
    }

    /// As whom, where the server takes guests.
    #[must_use]
    pub fn user(mut self, user_id: &str, username: &str) -> Self {
        let mark = if self.url.contains('?') { '&' } else { '?' };
        let (user_id, username) = (escape(user_id), escape(username));
        self.url = format!("{}{mark}userId={user_id}&username={username}", self.url);
        self
    }

    /// With a token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// With a receive buffer of so many bytes in the kernel. A small one makes a reader that does not read
    /// felt by the server sooner.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: u32) -> Self {
        self.receive_buffer = Some(bytes);
        self
    }

    fn host_and_port(&self) -> Result<String, ConnectionError> {
        let no = || ConnectionError::Address(self.url.clone());
        let rest = self.url.strip_prefix("ws://").ok_or_else(no)?;
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        match authority {
            "" => Err(no()),
            with_port if with_port.rsplit(']').next().unwrap_or("").contains(':') => {
                Ok(with_port.to_owned())
            }
            host => Ok(format!("{host}:80")),
        }
    }

    async fn stream(&self) -> Result<TcpStream, ConnectionError> {
        let host_and_port = self.host_and_port()?;
        let connect = async {
            let mut last = std::io::Error::other("the host has no address");
            for address in lookup_host(host_and_port).await? {
                let socket = if address.is_ipv4() {
                    TcpSocket::new_v4()?
                } else {
                    TcpSocket::new_v6()?
                };
                if let Some(bytes) = self.receive_buffer {
                    socket.set_recv_buffer_size(bytes)?;
                }
                match socket.connect(address).await {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        return Ok(stream);
                    }
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        connect.await.map_err(|source| ConnectionError::Connect {
            url: self.url.clone(),
            source,
        })
    }
}

/// A connection to one server.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    heard: Instant,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If the server cannot be reached, does not answer in time, or lets us not in.
    pub async fn open(address: &Address) -> Result<Self, ConnectionError> {
        let connect = async {
            let stream = address.stream().await?;
            let mut request =
                tungstenite::client::IntoClientRequest::into_client_request(&*address.url)?;
            if let Some(token) = &address.token
                && let Ok(value) = format!("Bearer {token}").parse()
            {
                request.headers_mut().insert("Authorization", value);
            }
            let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
            let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
            Ok(Self::from(socket))
        };
        timeout(PATIENCE, connect)
            .await
            .unwrap_or_else(|_| Err(ConnectionError::Late(address.url.clone())))
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), ConnectionError> {
        Ok(self.socket.send(Message::Text(text.into())).await?)
    }

    /// The next frame, or the end. May be dropped while it waits: nothing is lost by that.
    pub async fn next(&mut self) -> Heard {
        loop {
            let message = self.socket.next().await;
            self.heard = Instant::now();
            match message {
                Some(Ok(Message::Text(text))) => return Heard::Text(text),
                Some(Ok(Message::Close(frame))) => {
                    return Heard::Closed(frame.as_ref().map(reason));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Heard::Gone,
            }
        }
    }

    /// The next frame that can be read; none at the end.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            let Heard::Text(text) = self.next().await else {
                return None;
            };
            if let Ok(frame) = Frame::read(&text) {
                return Some(frame);
            }
        }
    }

    /// When [`Self::next`] heard anything last, also a ping, which is no frame. A server pings every 25
    /// seconds.
    pub fn last_heard(&self) -> Instant {
        self.heard
    }

    /// Closes it in order.
    pub async fn close(mut self) {
        // One that is gone is closed.
        let _ = timeout(Duration::from_secs(1), self.socket.close(None)).await;
    }

    /// The socket, to be read and written by others.
    pub fn into_socket(self) -> Socket {
        self.socket
    }
}

/// A socket that somebody else has connected.
impl From<Socket> for Connection {
    fn from(socket: Socket) -> Self {
        Self {
            socket,
            heard: Instant::now(),
        }
    }
}

fn reason(frame: &CloseFrame) -> (u16, String) {
    (frame.code.into(), frame.reason.to_string())
}

/// A text as part of a query.
fn escape(text: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_host_and_a_port() {
        let of = |url: &str| Address::new(url).host_and_port().ok();

        assert_eq!(of("ws://chat:81/ws").as_deref(), Some("chat:81"));
        assert_eq!(of("ws://chat/ws?x=1:2").as_deref(), Some("chat:80"));
        assert_eq!(of("ws://[::1]/ws").as_deref(), Some("[::1]:80"));
        assert_eq!(of("http://chat/ws"), None);
    }

    #[test]
    fn names_are_escaped() {
        let address = Address::new("ws://h/ws").user("a&b", "Ä d");

        assert_eq!(address.url, "ws://h/ws?userId=a%26b&username=%C3%84%20d");
    }
}
