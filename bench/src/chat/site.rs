//! A site: the servers of one side, ours or another's, with the same crowd before them.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::{
    server::{Process, await_ready, free_port},
    stack::Place,
};
use crate::{
    machine::{cpu_time, resident_memory},
    number::float,
    redis_side::Account,
};

/// Whose servers they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Ours.
    Rhubarb,
    /// A bare server that sends ready frames: see [`super::bound`].
    Bound,
    /// What is usually built with Node: `bench/peers/ws`.
    Node,
}

impl Side {
    /// A figure's name on this side.
    pub(super) fn figure(self, name: &str) -> String {
        match self {
            Self::Rhubarb => format!("chat.{name}"),
            Self::Bound => format!("chat.{name}.bound"),
            Self::Node => format!("chat.{name}.node"),
        }
    }

    /// How many servers it has.
    const fn servers(self) -> usize {
        match self {
            // With nothing between its servers it has one room in each, so it is one.
            Self::Bound => 1,
            Self::Rhubarb | Self::Node => 2,
        }
    }

    /// Whether a sender gets an answer.
    pub(super) fn answers(self) -> bool {
        self == Self::Rhubarb
    }

    /// Whether a message that was taken must arrive. What Redis cannot hand to a server of Node's in time is lost.
    pub(super) fn keeps(self) -> bool {
        self != Self::Node
    }

    /// Whether all members see one order, and each message tells the one before it.
    pub(super) fn orders(self) -> bool {
        self != Self::Node
    }
}

/// Servers. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Site {
    side: Side,
    servers: Vec<Process>,
    ports: Vec<u16>,
    place: Rc<Place>,
    environment: Vec<(String, String)>,
    /// Where other sides' programs are.
    peers: PathBuf,
}

/// CPU time that was used up to a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuUse {
    servers: Duration,
    generator: Duration,
    redis: Account,
}

/// CPU time that was used between two moments.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuSpent {
    /// By the servers.
    pub(super) servers: Duration,
    /// By Redis.
    pub(super) redis: Duration,
    /// By this process.
    pub(super) generator: Duration,
}

impl CpuSpent {
    /// By the servers and Redis.
    pub(super) fn system(&self) -> Duration {
        self.servers + self.redis
    }

    /// Microseconds by each for one of so many things.
    pub(super) fn micros_each(&self, things: u64) -> [(&'static str, f64); 3] {
        [
            ("servers", self.servers),
            ("redis", self.redis),
            ("generator", self.generator),
        ]
        .map(|(who, cpu)| (who, cpu.as_secs_f64() * 1e6 / float(things)))
    }
}

impl Site {
    /// Starts the servers of a side, with these settings as environment variables.
    pub(super) async fn start(
        side: Side,
        place: &Rc<Place>,
        environment: &[(&str, &str)],
        peers: &Path,
    ) -> Result<Self> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut all = Self {
            side,
            servers: Vec::new(),
            ports: Vec::new(),
            place: Rc::clone(place),
            environment: environment.iter().map(owned).collect(),
            peers: peers.to_owned(),
        };
        for _ in 0..side.servers() {
            let port = free_port()?;
            all.servers.push(all.server_on(port)?);
            all.ports.push(port);
        }
        for (server, port) in all.servers.iter_mut().zip(&all.ports) {
            await_ready(server, *port)
                .await
                .with_context(|| format!("start {side:?}"))?;
        }
        Ok(all)
    }

    /// Starts a server on a port.
    fn server_on(&self, port: u16) -> Result<Process> {
        let mut command = match self.side {
            Side::Rhubarb => Process::beside("server")?,
            Side::Bound => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("chat-bound");
                command
            }
            Side::Node => {
                let mut command = Command::new("node");
                command.arg(self.peers.join("ws/server.js"));
                command
            }
        };
        if self.side == Side::Rhubarb {
            command.arg("--host").arg(Ipv4Addr::LOCALHOST.to_string());
        }
        command.arg("--port").arg(port.to_string());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::start(command, self.place.folder())
    }

    /// Starts a fresh server in the place of one, on the same port, and gives the old one, which runs still.
    pub(super) fn replace(&mut self, number: usize) -> Result<Process> {
        let new = self.server_on(self.ports[number])?;
        Ok(std::mem::replace(&mut self.servers[number], new))
    }

    /// A server.
    pub(super) fn server(&self, number: usize) -> &Process {
        &self.servers[number]
    }

    /// Whose it is.
    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// The servers' ports.
    pub(super) fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// The memory of all servers that is in RAM, in bytes.
    pub(super) fn memory(&self) -> Result<u64> {
        let memories = self
            .servers
            .iter()
            .map(|server| resident_memory(server.pid()?));
        memories.sum()
    }

    /// CPU time used so far.
    pub(super) async fn cpu(&self) -> Result<CpuUse> {
        let servers = self.servers.iter().map(|server| cpu_time(server.pid()?));
        Ok(CpuUse {
            servers: servers.sum::<Result<Duration>>()?,
            generator: cpu_time(std::process::id())?,
            redis: self.place.redis.account().await?,
        })
    }
}

impl CpuUse {
    /// What was used from `before` to now.
    pub(super) fn since(&self, before: &Self) -> CpuSpent {
        CpuSpent {
            servers: self.servers.saturating_sub(before.servers),
            redis: self.redis.cpu_since(&before.redis),
            generator: self.generator.saturating_sub(before.generator),
        }
    }
}
