//! Queries: a way to Postgres that counts what is asked on it.

use std::{
    net::{SocketAddr, TcpListener as StdListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_postgres::config::{Config, Host};

/// A counting way, on a thread of its own so that it is not late when the generator is busy. Dropping it
/// closes it.
#[derive(Debug)]
pub(super) struct Queries {
    url: String,
    asked: Arc<AtomicU64>,
    /// Held until the end.
    _open: oneshot::Sender<()>,
}

impl Queries {
    /// Opens a way to the Postgres at `url`.
    pub(super) fn count(url: &str) -> Result<Self> {
        let to = address(url)?;
        let listener = StdListener::bind("127.0.0.1:0").context("listen before Postgres")?;
        listener.set_nonblocking(true)?;
        let here = listener.local_addr()?;
        let asked = Arc::<AtomicU64>::default();
        let (open, closed) = oneshot::channel::<()>();
        let counting = Arc::clone(&asked);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start a runtime")?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, to, counting) => drop(served),
                    _ = closed => {}
                }
            });
        });
        Ok(Self {
            url: redirected(url, here)?,
            asked,
            _open: open,
        })
    }

    /// The address of this way.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How many queries have passed.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }
}

async fn serve(listener: StdListener, to: SocketAddr, asked: Arc<AtomicU64>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let asked = Arc::clone(&asked);
        // A connection that breaks is seen at both ends.
        tokio::spawn(async move { pass(stream, to, &asked).await });
    }
}

async fn pass(mut client: TcpStream, to: SocketAddr, asked: &AtomicU64) -> Result<()> {
    let mut postgres = TcpStream::connect(to).await?;
    client.set_nodelay(true)?;
    postgres.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_postgres, mut to_postgres) = postgres.split();
    let there = async {
        let (mut messages, mut buffer) = (Messages::default(), vec![0; 64 * 1024]);
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return anyhow::Ok(());
            }
            asked.fetch_add(messages.queries(&buffer[..read]), Relaxed);
            to_postgres.write_all(&buffer[..read]).await?;
        }
    };
    tokio::select! {
        there = there => there,
        back = copy(&mut from_postgres, &mut to_client) => Ok(back.map(drop)?),
    }
}

/// What a client of Postgres sends: messages without a type, the question whether it speaks TLS and the
/// start; then `<type> <length> …`.
#[derive(Debug, Default)]
struct Messages {
    head: Vec<u8>,
    /// Bytes of the message that have not come.
    left: usize,
    has_started: bool,
}

/// Length of `SSLRequest`, which no start has.
const SSL_REQUEST: usize = 8;

impl Messages {
    /// How many queries begin in these bytes: simple ones and executions of prepared ones.
    fn queries(&mut self, mut bytes: &[u8]) -> u64 {
        let mut queries = 0;
        while !bytes.is_empty() {
            let skipped = self.left.min(bytes.len());
            bytes = &bytes[skipped..];
            self.left -= skipped;
            let Some((byte, rest)) = bytes.split_first().filter(|_| self.left == 0) else {
                break;
            };
            self.head.push(*byte);
            bytes = rest;
            let typed = usize::from(self.has_started);
            if self.head.len() == typed + 4 {
                let length = self.head[typed..]
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte));
                // The length counts itself.
                self.left = length.saturating_sub(4);
                queries += u64::from(typed == 1 && matches!(self.head[0], b'Q' | b'E'));
                self.head.clear();
                self.has_started |= length != SSL_REQUEST;
            }
        }
        queries
    }
}

fn address(url: &str) -> Result<SocketAddr> {
    let config: Config = url.parse().context("read the address of Postgres")?;
    let [Host::Tcp(host), ..] = config.get_hosts() else {
        bail!("queries are counted on the way to Postgres, which must be reached by TCP for that");
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let mut found = std::net::ToSocketAddrs::to_socket_addrs(&(&**host, port))?;
    found.next().context("find Postgres's host")
}

/// The address with another host and port.
fn redirected(url: &str, to: SocketAddr) -> Result<String> {
    let (scheme, rest) = url.split_once("://").context("an address with ://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
    Ok(format!("{scheme}://{user}{to}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_host_and_port_change_nothing_else_of_an_address() {
        let to = "127.0.0.1:7".parse().unwrap();
        let new = |url| redirected(url, to).unwrap();

        assert_eq!(
            new("postgres://a:b%40@db:5432/c?options=-c"),
            "postgres://a:b%40@127.0.0.1:7/c?options=-c"
        );
        assert_eq!(new("postgres://db/c"), "postgres://127.0.0.1:7/c");
    }

    #[test]
    fn queries_are_counted_however_they_are_cut() {
        let message = |kind: u8, body: &[u8]| {
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            [&[kind][..], &length, body].concat()
        };
        let untyped = |body: &[u8]| message(0, body)[1..].to_vec();
        let mut sent = untyped(&80_877_103_u32.to_be_bytes());
        sent.extend(untyped(b"startup, with a Q in it"));
        for (kind, body) in [
            (b'Q', &b"SELECT 1"[..]),
            (b'P', b"EQEQ"),
            (b'B', b""),
            (b'E', b"\0\0\0\0\0"),
            (b'S', b""),
        ] {
            sent.extend(message(kind, body));
        }

        for size in [1, 2, 7, 1000] {
            let mut messages = Messages::default();
            let counted: u64 = sent.chunks(size).map(|cut| messages.queries(cut)).sum();
            assert_eq!(counted, 2, "{size}");
        }
    }
}
