//! Redis: the shared connection, the blocking one, all key names, the scripts' form.
//!
//! Everything goes through [`Redis`], one connection each; the blocking pop ([`blocking`]) and what listens
//! ([`subscription`]) have connections of their own.

mod address;
pub mod blocking;
mod check;
pub mod keys;
pub mod rights;
mod script;
pub mod subscription;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use redis::{AsyncConnectionConfig, ErrorKind, RedisError, aio::MultiplexedConnection};
use thiserror::Error;
use tokio::time::timeout;

pub use check::Facts;
pub use keys::Keys;
pub use script::{Call, Script};

/// How long a connection attempt may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer may take before the connection counts as dead. redis-rs 1.x takes 500 ms, which
/// a Redis that forks for a snapshot can exceed; a longer time would delay recovery (design, Q6).
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What can go wrong with Redis.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum KvError {
    /// The address cannot be read.
    #[error("read the Redis address; it should look like redis://127.0.0.1:6379/0")]
    Address(#[source] RedisError),
    /// No connection could be made.
    #[error("connect to Redis")]
    Connect(#[source] RedisError),
    /// What is at the address is something else.
    #[error(
        "connect to Redis: what is at this address does not answer as Redis does (one that wants TLS has an address with rediss://, one that does not with redis://)"
    )]
    Stranger(#[source] RedisError),
    /// Its certificate is not one to trust.
    #[error(
        "connect to Redis: its certificate is not trusted; name the authority that signed it with ?cacert=FILE, and Redis as the certificate does"
    )]
    Untrusted(#[source] RedisError),
    /// The certificates that the address names cannot be used.
    #[error("read the certificates that the Redis address names: {0}")]
    Certificate(String),
    /// The user may not do what is needed.
    #[error("this Redis user may not run {command}; give it the rights of docs/deploy.md")]
    Forbidden {
        /// What it may not.
        command: String,
    },
    /// The keys are elsewhere.
    #[error(
        "this Redis is a node of a cluster and does not hold Rhubarb's keys; give the address of the one that does"
    )]
    Elsewhere(#[source] RedisError),
    /// No connection could be made in time.
    #[error("connect to Redis: no answer within {CONNECT_TIMEOUT:?}")]
    ConnectTimeout,
    /// A command failed.
    #[error("{doing}")]
    Command {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: RedisError,
    },
    /// The server's settings would lose data.
    #[error(
        "Redis has `maxmemory-policy {policy}` and so may throw jobs and messages away; set it: redis-cli CONFIG SET maxmemory-policy noeviction"
    )]
    Evicts {
        /// The setting that was found.
        policy: String,
    },
    /// The server is too old.
    #[error("Redis {version} is too old: 7.0 or newer is needed")]
    TooOld {
        /// The version that was found.
        version: String,
    },
    /// The server does not accept writes.
    #[error(
        "this Redis is a replica of {master} and accepts no writes; give the address of its master"
    )]
    Replica {
        /// Whose replica it is.
        master: String,
    },
}

impl KvError {
    /// Whether Redis refused because its memory is full.
    pub fn is_out_of_memory(&self) -> bool {
        self.has_code("OOM")
    }

    /// Whether the connection was lost while a command was under way: it may have been carried out.
    pub fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Command { source, .. }
            if !source.is_timeout() && (source.is_io_error() || source.is_unrecoverable_error()))
    }

    /// Whether Redis could not be reached or did not answer in time, so that others cannot reach it either.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Stranger(_) | Self::Untrusted(_) | Self::ConnectTimeout => {
                true
            }
            Self::Command { source, .. } => {
                source.is_timeout() || source.is_io_error() || source.is_unrecoverable_error()
            }
            _ => false,
        }
    }

    /// Whether what Redis answered is not of the form that it should have.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, Self::Command { source, .. }
            if matches!(source.kind(), ErrorKind::UnexpectedReturnType | ErrorKind::Parse))
    }

    /// Whether Redis, or a script, answered with an error of this code.
    pub(crate) fn has_code(&self, code: &str) -> bool {
        matches!(self, Self::Command { source, .. } if source.code() == Some(code))
    }
}

/// Redis, for everything but blocking pops. Clones share one connection, on which commands of
/// concurrent callers are pipelined; it comes from a pool and is replaced when it fails.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    client: redis::Client,
    shared: Mutex<Option<Shared>>,
    /// Held by whoever connects, so that all who wait share what it makes.
    connecting: tokio::sync::Mutex<()>,
}

/// The shared connection, and since when it is there.
struct Shared {
    connection: MultiplexedConnection,
    since: Instant,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl Redis {
    /// Prepares to use the Redis at `url`; connects when first used.
    ///
    /// # Errors
    /// If `url` cannot be read.
    pub fn new(url: &str) -> Result<Self, KvError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_pipeline_buffer_size(1024);
        let client = address::client(url)?;
        let info = client.get_connection_info().clone();
        let manager = Manager::new_with_config(info, config).map_err(KvError::Address)?;
        let pool = Pool::builder(manager)
            .max_size(4)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|_| KvError::ConnectTimeout)?;
        let shared = Mutex::new(None);
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                client,
                shared,
                connecting: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// The client, for connections of other kinds: blocking pops and subscriptions.
    pub fn client(&self) -> &redis::Client {
        &self.inner.client
    }

    /// The shared connection.
    ///
    /// # Errors
    /// If there is none and none can be made within [`CONNECT_TIMEOUT`].
    pub async fn connection(&self) -> Result<MultiplexedConnection, KvError> {
        if let Some(shared) = &*self.shared() {
            return Ok(shared.connection.clone());
        }
        // In a task of its own, for whoever connects holds a lock, and who asked may not be polled for a while.
        let redis = self.clone();
        let connected = tokio::spawn(async move { redis.connect().await }).await;
        connected.unwrap_or(Err(KvError::ConnectTimeout))
    }

    async fn connect(&self) -> Result<MultiplexedConnection, KvError> {
        let _alone = timeout(CONNECT_TIMEOUT * 2, self.inner.connecting.lock())
            .await
            .map_err(|_| KvError::ConnectTimeout)?;
        if let Some(shared) = &*self.shared() {
            return Ok(shared.connection.clone());
        }
        let fresh = timeout(CONNECT_TIMEOUT * 2, self.inner.pool.get())
            .await
            .map_err(|_| KvError::ConnectTimeout)?
            .map_err(|error| match error {
                PoolError::Backend(source) => address::failed(source),
                _ => KvError::ConnectTimeout,
            })?;
        metrics::counter!("rhubarb_redis_connections_total").increment(1);
        // Taken out of the pool: what the pool hands out it pings each time, two commands for nothing.
        let mut fresh = Connection::take(fresh);
        // Whoever answers is Redis, or what it says cannot be read. A Redis that still loads is there all the same.
        let answer: Result<redis::Value, _> = redis::cmd("PING").query_async(&mut fresh).await;
        if let Err(error) = answer
            && error.code().is_none_or(|code| code == "NOAUTH")
        {
            return Err(address::failed(error));
        }
        let fresh = Shared {
            connection: fresh,
            since: Instant::now(),
        };
        Ok(self.shared().get_or_insert(fresh).connection.clone())
    }

    /// Runs a command that may run twice; again on a new connection, once, if the old one turns out to be
    /// lost.
    ///
    /// # Errors
    /// If Redis cannot be reached, does not answer in time or refuses.
    pub async fn read<T: redis::FromRedisValue>(
        &self,
        doing: &'static str,
        command: &redis::Cmd,
    ) -> Result<T, KvError> {
        let mut pipeline = redis::pipe();
        pipeline.add_command(command.clone());
        let (answer,) = self.read_all(doing, &pipeline).await?;
        Ok(answer)
    }

    /// As [`Self::read`], for several commands.
    ///
    /// # Errors
    /// If Redis cannot be reached, does not answer in time or refuses.
    pub async fn read_all<T: redis::FromRedisValue>(
        &self,
        doing: &'static str,
        commands: &redis::Pipeline,
    ) -> Result<T, KvError> {
        let once = async || {
            let mut connection = self.connection().await?;
            commands
                .query_async(&mut connection)
                .await
                .map_err(|source| self.failed(doing, source))
        };
        match once().await {
            Err(error) if error.is_lost_connection() => once().await,
            done => done,
        }
    }

    /// Names what failed and gives a broken connection up, so that the next use makes a new one.
    pub fn failed(&self, doing: &'static str, source: RedisError) -> KvError {
        // A server that has become a replica must be looked up anew: its name may lead to another now.
        let demoted = matches!(source.code(), Some("READONLY" | "MASTERDOWN"));
        let kind = if source.is_timeout() {
            "timeout"
        } else if source.is_io_error() || source.is_unrecoverable_error() {
            "lost"
        } else {
            "refused"
        };
        metrics::counter!("rhubarb_redis_errors_total", "kind" => kind).increment(1);
        let broken = source.is_io_error() || source.is_timeout() || source.is_unrecoverable_error();
        if broken || demoted {
            // After a stall many calls fail one after another: a late one must not give up the
            // connection that was made meanwhile, and that is too young to have kept it waiting.
            let late = source.is_timeout();
            self.shared()
                .take_if(|shared| !late || shared.since.elapsed() >= RESPONSE_TIMEOUT);
        }
        KvError::Command { doing, source }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Option<Shared>> {
        self.inner
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
