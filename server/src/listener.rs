//! The listener: where connections come in. Several servers listen on one port (`SO_REUSEPORT`), so that a
//! new one is there before an old one goes; and an old one goes without turning away who is half in.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs},
    time::Duration,
};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, time::sleep};

/// Connections that wait to be accepted, at most.
const QUEUE: i32 = 4096;
/// A peer that acknowledges nothing for so long, or has no room for what it is sent, is gone.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a handshake takes. It is less than the second after which a SYN is sent again, so that those
/// that are dropped find this listener closed and another one in its place.
const HANDSHAKE: Duration = Duration::from_millis(500);

/// A listening socket, with a second handle by which it is closed.
#[derive(Debug)]
pub(crate) struct Listener {
    handle: Socket,
}

impl Listener {
    /// Listens; tells at which address, as the port may be any.
    pub(crate) fn on(host: &str, port: u16) -> anyhow::Result<(TcpListener, Self, SocketAddr)> {
        let address = resolve(host, port)?;
        let (incoming, listener) = Self::bind(address).with_context(|| {
            format!("listen on {address}; if the port is taken, choose another with --port")
        })?;
        let address = incoming
            .local_addr()
            .context("read the address that is listened on")?;
        Ok((incoming, listener, address))
    }

    /// Listens, and shares the port with other servers. Accepted sockets inherit the options.
    fn bind(address: SocketAddr) -> io::Result<(TcpListener, Self)> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(SILENCE))?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(QUEUE)?;
        let handle = socket.try_clone()?;
        let listener = TcpListener::from_std(StdListener::from(socket))?;
        Ok((listener, Self { handle }))
    }

    /// Lets no new connection in, and waits until those whose handshake had begun were accepted: Linux resets
    /// what waits at a listener when it closes. The listener goes on accepting until this returns; then it
    /// is to be dropped.
    pub(crate) async fn close(self) {
        if let Err(error) = drop_syns(&self.handle) {
            tracing::debug!(%error, "new connections cannot be kept out; some may be reset");
            return;
        }
        sleep(HANDSHAKE).await;
    }
}

/// The address of a host's port.
pub(crate) fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    (host, port)
        .to_socket_addrs()
        .with_context(|| format!("resolve the host {host}"))?
        .next()
        .with_context(|| format!("the host {host} has no address"))
}

/// Makes the kernel drop each SYN without an answer, so that it comes again: to whoever listens then.
#[cfg(target_os = "linux")]
fn drop_syns(socket: &Socket) -> io::Result<()> {
    use socket2::SockFilter;
    socket.attach_filter(&[
        SockFilter::new(0x30, 0, 0, 13),       // load the TCP header's flags
        SockFilter::new(0x54, 0, 0, 0x12),     // of these, SYN and ACK
        SockFilter::new(0x15, 0, 1, 0x02),     // if it is SYN alone,
        SockFilter::new(0x06, 0, 0, 0),        // take none of the packet,
        SockFilter::new(0x06, 0, 0, u32::MAX), // else all
    ])
}

#[cfg(not(target_os = "linux"))]
fn drop_syns(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::{JoinHandle, JoinSet},
    };

    use super::*;

    /// Answers each connection with a byte and ends it, until it is aborted.
    fn answer(listener: TcpListener) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(async move {
                    let _ = stream.write_all(b"x").await;
                    let _ = stream.read(&mut [0]).await;
                });
            }
        })
    }

    #[tokio::test]
    async fn a_listener_is_replaced_by_another_and_no_connection_is_reset() {
        let (tokio_listener, mut listener) = Listener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = tokio_listener.local_addr().unwrap();
        let mut answering = answer(tokio_listener);
        let connections = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let connections = Arc::clone(&connections);
            callers.spawn(async move {
                loop {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    let mut byte = [0];
                    stream.read_exact(&mut byte).await.unwrap();
                    connections.fetch_add(1, Ordering::Relaxed);
                }
            });
        }

        for _ in 0..3 {
            let (next, next_listener) = Listener::bind(address).unwrap();
            let next_answering = answer(next);
            listener.close().await;
            answering.abort();
            (listener, answering) = (next_listener, next_answering);
            let before = connections.load(Ordering::Relaxed);
            while connections.load(Ordering::Relaxed) < before + 100 {
                tokio::task::yield_now().await;
                assert!(callers.try_join_next().is_none(), "a caller failed");
            }
        }
    }
}
