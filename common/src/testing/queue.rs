//! A queue of a test's own: fresh namespace, dropped at the end.

use std::{collections::BTreeMap, time::Duration};

use redis::{Commands, FromRedisValue, ToRedisArgs};
use tokio::task::JoinHandle;

use super::{eventually, required, unique};
use crate::{
    id::BootId,
    kv::{Keys, KvError, Redis, blocking::BlockingHealth},
    queue::{JobId, Producer, Registry, Worker, WorkerError, WorkerOptions},
    shutdown::{Shutdown, Stop},
};

/// What is kept for operators.
const RECORDS: [&str; 3] = ["actions", "samples", "tasks"];

/// The queues under a fresh namespace, on the Redis of `REDIS_URL` or on another.
#[derive(Debug)]
pub struct TestQueue {
    /// The address of Redis.
    pub url: String,
    /// The connection.
    pub redis: Redis,
    /// The namespace's name.
    pub namespace: String,
    /// Its keys.
    pub keys: Keys,
}

impl TestQueue {
    /// A fresh namespace on the Redis of `REDIS_URL`.
    pub fn start() -> Self {
        Self::on(&required("REDIS_URL"))
    }

    /// A fresh namespace on the Redis at `url`.
    ///
    /// # Panics
    /// If `url` cannot be read.
    pub fn on(url: &str) -> Self {
        let namespace = unique("test-");
        let redis = Redis::new(url).expect("a readable REDIS_URL");
        Self {
            url: url.to_owned(),
            redis,
            keys: Keys::new(&namespace),
            namespace,
        }
    }

    /// Enqueues here.
    pub fn producer(&self) -> Producer {
        Producer::new(self.redis.clone(), self.keys.clone())
    }

    /// Default ways of a worker, for `limits`, but with quick recovery.
    ///
    /// # Panics
    /// If `limits` cannot be read.
    pub fn options(limits: &str) -> WorkerOptions {
        WorkerOptions {
            beat: Duration::from_millis(200),
            time_to_live: Duration::from_secs(2),
            claim_grace: Duration::from_millis(300),
            ..WorkerOptions::new(limits.parse().expect("readable limits"))
        }
    }

    /// Starts a worker in this process.
    ///
    /// # Panics
    /// If the address of Redis cannot be read.
    pub fn worker(&self, registry: Registry, options: WorkerOptions) -> RunningWorker {
        let worker = Worker::new(&self.url, self.keys.clone(), registry, options)
            .expect("a readable REDIS_URL");
        let (id, blocking) = (worker.id(), worker.blocking_health());
        let (stop, shutdown) = Shutdown::manual();
        RunningWorker {
            id,
            blocking,
            stop,
            running: tokio::spawn(worker.run(shutdown)),
        }
    }

    /// What a worker holds, each job with its lease.
    ///
    /// # Panics
    /// If something else stands there.
    pub async fn held(&self, worker: BootId) -> BTreeMap<JobId, String> {
        let by_lease: BTreeMap<String, String> =
            self.command(&["HGETALL", &self.keys.claims(worker)]).await;
        let claims = by_lease.iter().flat_map(|(lease, ids)| {
            let ids = ids.split_whitespace();
            ids.map(move |id| (id.parse().expect("the id of a job"), lease.clone()))
        });
        claims.collect()
    }

    /// As if a worker had been given up: it holds this job no more, as nobody does.
    ///
    /// # Panics
    /// If it does not hold it.
    pub async fn take_away(&self, worker: BootId, job: JobId) {
        let key = self.keys.claims(worker);
        let lease = &self.held(worker).await[&job];
        let ids: String = self.command(&["HGET", &key, lease]).await;
        let rest = ids.replace(&format!("{job} "), "");
        let _: usize = if rest.is_empty() {
            self.command(&["HDEL", &key, lease]).await
        } else {
            self.command(&["HSET", &key, lease, &rest]).await
        };
    }

    /// Runs one Redis command, e.g. `["LLEN", "…"]`; a second time if the connection was broken.
    ///
    /// # Panics
    /// If it fails.
    pub async fn command<T: FromRedisValue>(&self, words: &[impl ToRedisArgs]) -> T {
        match self.try_command(words).await {
            Err(KvError::Command { source, .. }) if source.is_io_error() => {
                self.try_command(words).await
            }
            answer => answer,
        }
        .expect("a Redis command that succeeds")
    }

    async fn try_command<T: FromRedisValue>(
        &self,
        words: &[impl ToRedisArgs],
    ) -> Result<T, KvError> {
        let mut connection = self.redis.connection().await?;
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word);
        }
        command
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("run a test's command", source))
    }

    /// Whether every job that was enqueued is settled and forgotten.
    ///
    /// # Panics
    /// If Redis cannot be asked.
    pub async fn is_drained(&self) -> bool {
        self.buckets().await.is_empty()
    }

    /// Waits until every job is settled and forgotten.
    ///
    /// # Panics
    /// If Redis cannot be asked, or it takes too long.
    pub async fn until_drained(&self) {
        let drained = async || self.is_drained().await.then_some(());
        eventually("no job is left", drained).await;
    }

    /// The bodies of all jobs that are not settled, by id, as far as they can be read.
    ///
    /// # Panics
    /// If Redis cannot be asked.
    pub async fn bodies(&self) -> BTreeMap<JobId, String> {
        let mut bodies = BTreeMap::new();
        for bucket in self.buckets().await {
            let some: BTreeMap<JobId, Vec<u8>> = self.command(&["HGETALL", &bucket]).await;
            let text = |body: Vec<u8>| String::from_utf8_lossy(&body).into_owned();
            bodies.extend(some.into_iter().map(|(id, body)| (id, text(body))));
        }
        bodies
    }

    async fn buckets(&self) -> Vec<String> {
        self.command(&["KEYS", &self.keys.buckets()]).await
    }

    /// The body of a job, if it is not settled.
    ///
    /// # Panics
    /// If Redis cannot be asked.
    pub async fn body(&self, job: JobId) -> Option<String> {
        let (bucket, id) = (self.keys.bucket(job), job.to_string());
        self.command(&["HGET", &bucket, &id]).await
    }

    /// Gives a job another body, as an operator may.
    ///
    /// # Panics
    /// If Redis cannot be asked.
    pub async fn set_body(&self, job: JobId, body: &[u8]) {
        let (bucket, id) = (self.keys.bucket(job), job.to_string());
        let words = [b"HSET", bucket.as_bytes(), id.as_bytes(), body];
        let _: usize = self.command(&words).await;
    }

    /// The names of all keys of this namespace, without its prefix, sorted; but for the records that are kept for
    /// operators.
    pub async fn key_names(&self) -> Vec<String> {
        let prefix = self.keys.prefix();
        let mut names: Vec<String> = self.command(&["KEYS", &format!("{prefix}*")]).await;
        for name in &mut names {
            name.drain(..prefix.len());
        }
        names.retain(|name| !RECORDS.contains(&name.as_str()));
        names.sort();
        names
    }
}

impl Drop for TestQueue {
    fn drop(&mut self) {
        // Best effort: the Redis may be the one that the test killed.
        let Ok(mut connection) = self
            .redis
            .client()
            .get_connection_with_timeout(Duration::from_secs(1))
        else {
            return;
        };
        let names: Vec<String> = connection
            .keys(format!("{}*", self.keys.prefix()))
            .unwrap_or_default();
        for chunk in names.chunks(500) {
            let _: Result<(), _> = connection.unlink(chunk);
        }
    }
}

/// A worker that runs in this process. Dropping it is like kill -9: no job of it is settled.
#[derive(Debug)]
pub struct RunningWorker {
    /// Its identity.
    pub id: BootId,
    /// Tells whether its blocking connection works.
    pub blocking: BlockingHealth,
    stop: Stop,
    running: JoinHandle<Result<(), WorkerError>>,
}

impl RunningWorker {
    /// Stops it as SIGTERM does, and waits for its end.
    ///
    /// # Panics
    /// If it failed.
    pub async fn stop(mut self) {
        self.stop.now();
        (&mut self.running)
            .await
            .expect("a worker that does not panic")
            .expect("a worker that starts");
    }

    /// Ends it at once, as kill -9 does: nothing is settled, given back or signed off.
    pub async fn vanish(mut self) {
        self.running.abort();
        let _ = (&mut self.running).await;
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        self.running.abort();
    }
}
