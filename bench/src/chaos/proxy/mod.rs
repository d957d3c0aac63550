//! The proxy: every process under test reaches Redis through one, which sees each command and each answer
//! pass. So a process can be killed, and a socket cut, at exactly the step that is meant, and the product
//! needs no code for it.

pub(crate) mod resp;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use resp::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::ledger::Who;

/// What becomes of a command or an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It goes on.
    Pass,
    /// It does not, and the connection ends on both sides.
    Cut,
    /// It goes on so much later, and what follows it on this connection too.
    Late(Duration),
}

/// Sees what passes and decides.
pub(crate) trait Watch: Send + Sync + 'static {
    /// What is remembered of a command until its answer comes.
    type Asked: Send;

    /// A command is on its way to Redis.
    fn asked(&self, who: Who, command: &Value<'_>) -> (Self::Asked, Deed);

    /// Its answer is on its way back.
    fn answered(&self, who: Who, asked: Self::Asked, answer: &Value<'_>) -> Deed;
}

/// Whether the way to Redis is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is.
    Open,
    /// A black hole: connections stand, new ones are made, and nothing comes through any more.
    BlackHole,
}

/// A way to Redis for one process and its successors.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// Opens a way to the Redis on port `redis` of this machine. `who` tells which process connects now.
    pub(crate) async fn start<W: Watch>(
        redis: u16,
        who: impl Fn() -> Who + Send + Sync + 'static,
        watcher: Arc<W>,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("open a port")?;
        let port = listener.local_addr()?.port();
        let (way, is_open) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let pipe = Pipe {
                    who: who(),
                    watcher: Arc::clone(&watcher),
                    waiting: VecDeque::new(),
                };
                // Whatever goes wrong, the connection ends: that is all there is to say.
                tokio::spawn(pipe.carry(client, redis, is_open.clone()));
            }
        });
        Ok(Self { port, way })
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Opens the way or turns it into a black hole. What was in a black hole is cut when it ends.
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

/// How long the answers to a client that is gone are listened to.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// One connection.
struct Pipe<W: Watch> {
    who: Who,
    watcher: Arc<W>,
    /// Commands whose answers have not come yet: Redis answers in order.
    waiting: VecDeque<W::Asked>,
}

impl<W: Watch> Pipe<W> {
    async fn carry(
        mut self,
        mut client: TcpStream,
        redis: u16,
        mut way: watch::Receiver<Way>,
    ) -> Result<()> {
        if *way.borrow_and_update() == Way::BlackHole {
            way.wait_for(|way| *way == Way::Open).await?;
            return Ok(());
        }
        let mut server = TcpStream::connect(("127.0.0.1", redis)).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (mut commands, mut answers) = (Vec::new(), Vec::new());
        loop {
            tokio::select! {
                biased;
                changed = way.changed() => {
                    changed?;
                    if *way.borrow_and_update() == Way::BlackHole {
                        way.wait_for(|way| *way == Way::Open).await?;
                        return Ok(());
                    }
                }
                read = client.read_buf(&mut commands) => {
                    if !matches!(read, Ok(1..)) {
                        return self.hear_out(server, answers).await;
                    }
                    if !self.ask(&mut commands, &mut server).await? {
                        return Ok(());
                    }
                }
                read = server.read_buf(&mut answers) => {
                    if read? == 0 || !self.answer(&mut answers, &mut client).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The client is gone. What it asked for last is carried out all the same, and whoever checks must
    /// know of it.
    async fn hear_out(mut self, mut server: TcpStream, mut answers: Vec<u8>) -> Result<()> {
        let hear = async {
            while !self.waiting.is_empty() && server.read_buf(&mut answers).await? > 0 {
                while let Some((answer, size)) = resp::first(&answers)? {
                    let asked = self.waiting.pop_front().context("an answer to nothing")?;
                    self.watcher.answered(self.who, asked, &answer);
                    answers.drain(..size);
                }
            }
            Ok(())
        };
        tokio::time::timeout(LAST_WORDS, hear)
            .await
            .unwrap_or(Ok(()))
    }

    /// Hands whole commands on; returns whether the connection goes on.
    async fn ask(&mut self, bytes: &mut Vec<u8>, server: &mut TcpStream) -> Result<bool> {
        while let Some((command, size)) = resp::first(bytes)? {
            let (asked, deed) = self.watcher.asked(self.who, &command);
            self.waiting.push_back(asked);
            if !hand_on(deed, &bytes[..size], server).await? {
                return Ok(false);
            }
            bytes.drain(..size);
        }
        Ok(true)
    }

    /// Hands whole answers back; returns whether the connection goes on.
    async fn answer(&mut self, bytes: &mut Vec<u8>, client: &mut TcpStream) -> Result<bool> {
        while let Some((answer, size)) = resp::first(bytes)? {
            let asked = self.waiting.pop_front().context("an answer to nothing")?;
            let deed = self.watcher.answered(self.who, asked, &answer);
            if !hand_on(deed, &bytes[..size], client).await? {
                return Ok(false);
            }
            bytes.drain(..size);
        }
        Ok(true)
    }
}

async fn hand_on(deed: Deed, bytes: &[u8], to: &mut TcpStream) -> Result<bool> {
    match deed {
        Deed::Cut => return Ok(false),
        Deed::Late(time) => tokio::time::sleep(time).await,
        Deed::Pass => {}
    }
    to.write_all(bytes).await?;
    Ok(true)
}
