//! The Redis under test, which is stopped in all the ways there are.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use common::{
    kv::{Keys, Redis},
    testing::{RedisServer, unique},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long a question is asked again and again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis of our own. Where its append-only file is synced before each answer, what it has told anybody
/// must be there after `kill -9`.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    server: Arc<Mutex<RedisServer>>,
    redis: Redis,
    /// Its port.
    pub(crate) port: u16,
    /// The prefix of all keys.
    pub(crate) namespace: String,
    /// The keys.
    pub(crate) keys: Keys,
}

impl Target {
    /// Starts it.
    pub(crate) async fn start() -> Result<Self> {
        Self::synced("always").await
    }

    /// Starts one that syncs its file as `appendfsync` says.
    pub(crate) async fn synced(appendfsync: &'static str) -> Result<Self> {
        let server = tokio::task::spawn_blocking(move || {
            // One file for the whole run, so that its end can be cut off.
            let settings = ["--auto-aof-rewrite-percentage", "0", "--save", ""];
            RedisServer::start(&[&["--appendfsync", appendfsync][..], &settings].concat())
        });
        let server = server
            .await
            .context("start redis-server; is it installed?")?;
        let namespace = unique("chaos-");
        let port = server
            .url()
            .split(':')
            .nth(2)
            .and_then(|rest| rest.split('/').next()?.parse().ok());
        Ok(Self {
            port: port.context("the port of Redis")?,
            redis: Redis::new(&server.url())?,
            server: Arc::new(Mutex::new(server)),
            keys: Keys::new(&namespace),
            namespace,
        })
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.server().url()
    }

    /// The direct way to it, for the driver.
    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Stops it in order, as an operator would, and waits until it has ended.
    pub(crate) async fn shut_down(&self) -> Result<()> {
        let mut connection = self
            .redis
            .client()
            .get_multiplexed_async_connection()
            .await?;
        // Its answer is that the connection ends.
        let _: Result<(), _> = redis::cmd("SHUTDOWN").query_async(&mut connection).await;
        while self
            .redis
            .client()
            .get_multiplexed_async_connection()
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Kills it with signal 9.
    pub(crate) fn kill(&self) {
        self.server().kill();
    }

    /// The file to which it appends, and how long that is.
    pub(crate) fn file(&self) -> Result<(std::path::PathBuf, u64)> {
        let folder = self.server().folder().join("appendonlydir");
        for entry in std::fs::read_dir(&folder).context("look for the append-only file")? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(".incr.aof") {
                let size = path
                    .metadata()
                    .context("look at the append-only file")?
                    .len();
                return Ok((path, size));
            }
        }
        anyhow::bail!("{} has no append-only file", folder.display())
    }

    /// Starts it again and waits until it answers.
    pub(crate) async fn restart(&self) -> Result<()> {
        let server = Arc::clone(&self.server);
        tokio::task::spawn_blocking(move || {
            server
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .restart();
        })
        .await
        .context("start Redis again")
    }

    /// Stops it where it is, or lets it go on.
    pub(crate) fn freeze(&self, signal: Signal) -> Result<()> {
        let pid = self.server().pid().context("Redis runs")?;
        kill(Pid::from_raw(i32::try_from(pid)?), signal).context("stall Redis")
    }

    /// Asks it something that may be asked twice: the driver's own connection suffers with the others.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Result<T> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let asked = async {
                let mut connection = self.redis.connection().await?;
                let answer = command.query_async(&mut connection).await;
                answer.map_err(|source| self.redis.failed("ask Redis", source))
            };
            match asked.await {
                Ok(answer) => return Ok(answer),
                Err(error) if tokio::time::Instant::now() > deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Cuts every socket but the driver's.
    pub(crate) async fn cut_all(&self) -> Result<()> {
        let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
        let _: u64 = self.ask(redis::cmd("CLIENT").arg(&kill)).await?;
        Ok(())
    }

    /// Cuts every subscriber.
    pub(crate) async fn cut_subscribers(&self) -> Result<()> {
        let kill = ["KILL", "TYPE", "pubsub"];
        let _: u64 = self.ask(redis::cmd("CLIENT").arg(&kill)).await?;
        Ok(())
    }

    /// All keys of the run.
    pub(crate) async fn all_keys(&self) -> Result<Vec<String>> {
        let pattern = format!("{}*", self.keys.prefix());
        let mut names: Vec<String> = self.ask(redis::cmd("KEYS").arg(pattern)).await?;
        names.sort();
        Ok(names)
    }

    /// How many jobs are not settled.
    pub(crate) async fn bodies(&self) -> Result<u64> {
        let mut bodies = 0;
        let buckets = redis::cmd("KEYS").arg(self.keys.buckets()).to_owned();
        for bucket in self.ask::<Vec<String>>(&buckets).await? {
            bodies += self.ask::<u64>(redis::cmd("HLEN").arg(bucket)).await?;
        }
        Ok(bodies)
    }

    fn server(&self) -> std::sync::MutexGuard<'_, RedisServer> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
