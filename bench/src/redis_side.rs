//! Redis as it is measured: where it is, and what it has done so far by its own account.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::{
    kv::{Keys, Redis},
    testing::{self, RedisServer},
};
use futures_util::StreamExt;

use crate::number::float;

/// A Redis to measure with: one of our own, or one that was named.
#[derive(Debug)]
pub(crate) struct RedisSide {
    url: String,
    redis: Redis,
    /// Ends with this value.
    _own: Option<RedisServer>,
}

/// What Redis had done and held at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// Commands, those inside scripts included, without those that ask for this.
    commands: u64,
    /// CPU time of its process, without children that rewrite the append-only file.
    cpu: Duration,
    /// Bytes that its data takes.
    memory: u64,
    /// Things whose memory it is giving free.
    is_freeing: u64,
}

/// A namespace of its own in Redis. Dropping it removes its keys.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// Its name.
    pub(crate) name: String,
    /// Its keys.
    pub(crate) keys: Keys,
    client: redis::Client,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Best effort: where it fails, Redis is gone, or somebody else's and full of `bench-` keys.
        let Ok(mut connection) = self
            .client
            .get_connection_with_timeout(Duration::from_secs(1))
        else {
            return;
        };
        let pattern = format!("{}*", self.keys.prefix());
        let names: Vec<String> =
            redis::Commands::keys(&mut connection, pattern).unwrap_or_default();
        for names in names.chunks(500) {
            let _: Result<(), _> = redis::Commands::unlink(&mut connection, names);
        }
    }
}

impl RedisSide {
    /// Uses the Redis at `url`, or starts one with an append-only file that is synced every second.
    pub(crate) async fn start(url: Option<&str>) -> Result<Self> {
        let (url, own) = if let Some(url) = url {
            (url.to_owned(), None)
        } else {
            std::process::Command::new("redis-server")
                .arg("--version")
                .output()
                .context("run redis-server; install it, or name a running one with --redis-url")?;
            let server = RedisServer::start(&["--appendfsync", "everysec"]);
            (server.url(), Some(server))
        };
        let redis = Redis::new(&url)?;
        redis
            .check()
            .await
            .context("use this Redis for a measurement")?;
        Ok(Self {
            url,
            redis,
            _own: own,
        })
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<redis::aio::MultiplexedConnection> {
        let config = redis::AsyncConnectionConfig::new()
            .set_response_timeout(Some(Duration::from_secs(30)))
            .set_pipeline_buffer_size(1024);
        self.redis
            .client()
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .context("connect to Redis")
    }

    /// A namespace that nobody has.
    pub(crate) fn namespace(&self) -> Result<Namespace> {
        let name = testing::unique("bench-");
        Ok(Namespace {
            keys: Keys::new(&name),
            name,
            client: redis::Client::open(self.url.as_str()).context("read the address of Redis")?,
        })
    }

    /// What it has done so far and holds now, when all that was removed is really gone.
    pub(crate) async fn account(&self) -> Result<Account> {
        let mut connection = self.redis.connection().await?;
        loop {
            let text: String = redis::cmd("INFO")
                .arg(&["commandstats", "cpu", "memory"])
                .query_async(&mut connection)
                .await
                .context("ask Redis for its account")?;
            let account = Account::read(&text).context("read Redis's account")?;
            if account.is_freeing == 0 {
                return Ok(account);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many commands others send within some time, and how many their scripts run.
    pub(crate) async fn commands_within(&self, time: Duration) -> Result<(u64, u64)> {
        let monitor = self.redis.client().get_async_monitor().await?;
        let mut lines = monitor.into_on_message::<String>();
        let (mut sent, mut inside) = (0, 0);
        let end = tokio::time::sleep(time);
        tokio::pin!(end);
        loop {
            tokio::select! {
                line = lines.next() => {
                    let line = line.context("watch Redis's commands")?;
                    // `1790000000.000000 [0 127.0.0.1:12345] "brpop" …`, or `[0 lua]` inside a script.
                    let is_inside = line.split(']').next().is_some_and(|head| head.ends_with(" lua"));
                    *(if is_inside { &mut inside } else { &mut sent }) += 1;
                }
                () = &mut end => return Ok((sent, inside)),
            }
        }
    }

    /// Waits while a child of it rewrites the append-only file, which takes a core and memory.
    pub(crate) async fn until_written(&self) -> Result<()> {
        let mut connection = self.redis.connection().await?;
        loop {
            let text: String = redis::cmd("INFO")
                .arg("persistence")
                .query_async(&mut connection)
                .await
                .context("ask Redis whether it rewrites its file")?;
            let is_idle = ["aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"];
            if is_idle.iter().all(|line| text.contains(line)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fails if there is any key with one of these names, or like one of these patterns: `what` says what that would be.
    pub(crate) async fn expect_none(&self, what: &str, keys: &[String]) -> Result<()> {
        let mut connection = self.redis.connection().await?;
        for pattern in keys {
            let left: Vec<String> = redis::cmd("KEYS")
                .arg(pattern)
                .query_async(&mut connection)
                .await
                .with_context(|| format!("look for {what}"))?;
            ensure!(
                left.is_empty(),
                "there are {what} left: see {}",
                left.join(", ")
            );
        }
        Ok(())
    }
}

impl Account {
    fn read(text: &str) -> Option<Self> {
        let mut account = Self {
            commands: 0,
            cpu: Duration::ZERO,
            memory: 0,
            is_freeing: 0,
        };
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            match name {
                "cmdstat_info" => {}
                "lazyfree_pending_objects" => account.is_freeing = value.parse().ok()?,
                "used_memory" => account.memory = value.parse().ok()?,
                "used_cpu_sys" | "used_cpu_user" => {
                    account.cpu += Duration::from_secs_f64(value.parse().ok()?);
                }
                _ if name.starts_with("cmdstat_") => {
                    let calls = value.strip_prefix("calls=")?.split(',').next()?;
                    account.commands += calls.parse::<u64>().ok()?;
                }
                _ => {}
            }
        }
        Some(account)
    }

    /// Commands from `before` to now, per thing.
    pub(crate) fn commands_each(&self, before: &Self, things: u64) -> f64 {
        float(self.commands.saturating_sub(before.commands)) / float(things)
    }

    /// CPU time from `before` to now.
    pub(crate) fn cpu_since(&self, before: &Self) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }

    /// Bytes from `before` to now, per thing.
    pub(crate) fn memory_each(&self, before: &Self, things: u64) -> f64 {
        float(self.memory.saturating_sub(before.memory)) / float(things)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_counts_all_commands_but_the_asking() {
        let text = "# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:0.5\r\nused_cpu_sys_children:9\r\n# Memory\r\nused_memory:1000\r\n\
                    # Commandstats\r\ncmdstat_info:calls=7,usec=1\r\ncmdstat_lpush:calls=40,usec=2\r\ncmdstat_client|id:calls=2,usec=1\r\n";
        let account = Account::read(text).unwrap();

        assert_eq!((account.commands, account.memory), (42, 1000));
        assert_eq!(account.cpu, Duration::from_secs(2));
    }
}
