//! Everything that the chat consists of: two servers, a worker, Redis, a schema in Postgres.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use common::testing;

use super::{
    Database,
    database::Schema,
    server::{Process, await_ready, free_port},
};
use crate::{
    How,
    machine::cpu_time,
    redis_side::{Account, Namespace, RedisSide},
};

/// Servers of a stack.
const SERVERS: usize = 2;

/// A running chat. Dropping it ends its processes and removes its data.
#[derive(Debug)]
pub(super) struct Stack {
    servers: Vec<Process>,
    ports: Vec<u16>,
    /// Held for its process.
    _worker: Process,
    place: std::rc::Rc<Place>,
}

/// Where a stack keeps its data. Fields are dropped in this order: Redis last.
#[derive(Debug)]
pub(super) struct Place {
    /// In Postgres.
    pub(super) schema: Schema,
    /// In Redis.
    pub(super) namespace: Namespace,
    /// Redis.
    pub(super) redis: RedisSide,
    /// What the processes write.
    folder: Folder,
}

/// A folder that is removed at the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
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
    /// By the servers and Redis.
    pub(super) system: Duration,
    /// By this process.
    pub(super) generator: Duration,
}

impl Stack {
    /// Starts one, with these settings as environment variables.
    pub(super) async fn start(
        how: &How,
        database: &Database,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let redis = RedisSide::start(how.redis_url.as_deref()).await?;
        let folder = std::env::temp_dir().join(testing::unique("rhubarb-bench-"));
        std::fs::create_dir_all(&folder).context("make a folder for logs")?;
        let folder = Folder(folder);
        let place = Place {
            schema: Schema::create(&database.database_url).await?,
            namespace: redis.namespace()?,
            redis,
            folder,
        };
        Self::in_place(place.into(), settings).await
    }

    /// Starts fresh processes beside these, on the same data.
    pub(super) async fn again(&self, settings: &[(&str, &str)]) -> Result<Self> {
        Self::in_place(self.place.clone(), settings).await
    }

    async fn in_place(place: std::rc::Rc<Place>, settings: &[(&str, &str)]) -> Result<Self> {
        let database_url = place.schema.url();
        let mut environment = vec![
            ("REDIS_URL", place.redis.url()),
            ("DATABASE_URL", &database_url),
            ("RHUBARB_NAMESPACE", &place.namespace.name),
            ("RUST_LOG", "warn"),
            // Anybody, and as much as the load wants: what is measured is not how a limit holds.
            ("GUESTS", "true"),
            ("MESSAGE_RATE", "off"),
            ("USER_MESSAGE_RATE", "off"),
            ("JOIN_RATE", "off"),
            ("FRAME_RATE", "off"),
            ("CONNECT_RATE", "off"),
            ("CONNECTIONS_PER_USER", "1000000"),
        ];
        environment.extend_from_slice(settings);
        let folder = &place.folder.0;

        let mut worker = Process::start("worker", &[], &environment, folder)?;
        let (mut servers, mut ports) = (Vec::new(), Vec::new());
        for _ in 0..SERVERS {
            let port = free_port()?;
            let arguments = ["--host", "127.0.0.1", "--port", &port.to_string()].map(str::to_owned);
            servers.push(Process::start("server", &arguments, &environment, folder)?);
            ports.push(port);
        }
        for (server, port) in servers.iter_mut().zip(&ports) {
            await_ready(server, *port).await?;
        }
        worker.expect_alive()?;
        Ok(Self {
            servers,
            ports,
            _worker: worker,
            place,
        })
    }

    /// The servers' ports.
    pub(super) fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Where its data is.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The memory of all servers that is in RAM, in bytes.
    pub(super) fn servers_memory(&self) -> Result<u64> {
        let memories = self
            .servers
            .iter()
            .map(|server| crate::machine::resident_memory(server.pid()?));
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
            system: self.servers.saturating_sub(before.servers)
                + self.redis.cpu_since(&before.redis),
            generator: self.generator.saturating_sub(before.generator),
        }
    }
}
