//! The way to Redis, and why there is none.

use std::time::Duration;

use common::{
    chat::inspect::Rooms,
    error::Chain,
    kv::{Keys, KvError, Redis},
    queue::{inspect::Inspector, operate::Operator},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::Failure;

const PATIENCE: Duration = Duration::from_secs(2);

/// The namespace that a command works on.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) redis: Redis,
    pub(crate) keys: Keys,
    /// Who changes what is changed.
    pub(crate) by: String,
}

impl Connection {
    /// Looks.
    pub(crate) fn inspector(&self) -> Inspector {
        Inspector::new(self.redis.clone(), self.keys.clone())
    }

    /// Changes, for somebody.
    pub(crate) fn operator(&self) -> Operator {
        Operator::new(self.redis.clone(), self.keys.clone()).acting_for(&self.by)
    }

    /// Looks at rooms.
    pub(crate) fn rooms(&self) -> Rooms {
        Rooms::new(self.redis.clone(), self.keys.clone())
    }

    /// The time, by Redis's clock.
    pub(crate) async fn now_ms(&self) -> Result<u64, KvError> {
        self.operator().now_ms().await
    }
}

/// Who calls: the user and the machine.
pub(crate) fn caller() -> String {
    let named = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
    let user = named("USER").or_else(|| named("LOGNAME"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.map(|host| host.trim().to_owned());
    let host = host.or_else(|| named("HOSTNAME")).unwrap_or_default();
    format!("{}@{host}", user.as_deref().unwrap_or("somebody"))
}

/// Connects, or says what is wrong in words that help.
pub(crate) async fn connect(url: &str) -> Result<Redis, Failure> {
    if url.is_empty() {
        return Err(Failure::Usage(
            "the address of Redis is missing: set REDIS_URL or give --redis-url, e.g. \
             redis://127.0.0.1:6379/0"
                .to_owned(),
        ));
    }
    let redis = Redis::new(url).map_err(|error| Failure::Usage(Chain(&error).to_string()))?;
    match redis.connection().await {
        Ok(_) => Ok(redis),
        Err(error) => Err(anyhow::anyhow!(explain(&redis, url, &error).await).into()),
    }
}

async fn explain(redis: &Redis, url: &str, error: &KvError) -> String {
    let address = redis.client().get_connection_info().addr().to_string();
    let cause = Chain(error).to_string();
    let reason = if cause.contains("NOAUTH") || cause.contains("WRONGPASS") {
        format!("It asks for a password: redis://USER:PASSWORD@HOST:PORT/DB.\n{cause}")
    } else if url.starts_with("redis://") {
        probe(&address).await.unwrap_or(cause)
    } else {
        cause
    };
    format!(
        "cannot connect to Redis at {address}\n{reason}\nThe address is that of --redis-url or \
         REDIS_URL."
    )
}

/// What listens at an address, if it is not Redis.
async fn probe(address: &str) -> Option<String> {
    let answer = timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = vec![0; 200];
        let n = timeout(PATIENCE / 2, stream.read(&mut answer)).await;
        answer.truncate(n.unwrap_or(Ok(0))?);
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    });
    let told = match answer.await {
        Err(_) => "Nothing answers there: is the address right, is a firewall in the way?",
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "Nothing listens there: is Redis running?"
        }
        Ok(Ok(text)) if text.starts_with("HTTP/") || text.starts_with('<') => {
            "What listens there speaks HTTP and is not Redis."
        }
        Ok(Ok(text)) if !text.starts_with(['+', '-']) => "What listens there is not Redis.",
        _ => return None,
    };
    Some(told.to_owned())
}
