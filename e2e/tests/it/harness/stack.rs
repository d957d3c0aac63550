//! Everything that a test starts: servers and workers with a namespace and a schema of their own.

use std::collections::BTreeMap;

use common::testing::{TestDatabase, TestQueue, eventually, required};
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use redis::{FromRedisValue, ToRedisArgs};
use tokio::sync::Mutex;

use super::{Client, Process, Server, process::binary};

/// No flush but one that is asked for: what the tests change is how, not when by itself.
const QUIET: [(&str, &str); 2] = [("FLUSH_AGE", "3600"), ("FLUSH_COUNT", "1000000")];

/// Everybody may, and as much as they like: the tests of who may and of limits set what they are about.
const OPEN: [(&str, &str); 9] = [
    ("GUESTS", "true"),
    ("MESSAGE_RATE", "off"),
    ("USER_MESSAGE_RATE", "off"),
    ("USER_READ_RATE", "off"),
    ("JOIN_RATE", "off"),
    ("FRAME_RATE", "off"),
    ("CONNECT_RATE", "off"),
    ("ADDRESS_REQUEST_RATE", "off"),
    ("ADDRESS_CONNECT_RATE", "off"),
];

/// Where the processes of one test work, and what is looked at there.
pub(crate) struct Stack {
    pub(crate) queue: TestQueue,
    pub(crate) database: TestDatabase,
    settings: BTreeMap<String, String>,
    /// Addresses of Redis that only one program is given.
    redis_urls: BTreeMap<&'static str, String>,
    /// For looking at Postgres; made when first used.
    eye: Mutex<Option<AsyncPgConnection>>,
}

/// A message in the archive.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
pub(crate) struct Row {
    #[diesel(sql_type = BigInt)]
    pub(crate) id: i64,
    #[diesel(sql_type = Text)]
    pub(crate) body: String,
}

#[derive(diesel::QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

impl Stack {
    /// On the Redis and the Postgres of this run.
    pub(crate) async fn start() -> Self {
        Self::on(&required("REDIS_URL"), &required("DATABASE_URL")).await
    }

    /// On other servers.
    pub(crate) async fn on(redis_url: &str, database_url: &str) -> Self {
        let stack = Self {
            queue: TestQueue::on(redis_url),
            database: TestDatabase::on(database_url).await,
            settings: BTreeMap::new(),
            redis_urls: BTreeMap::new(),
            eye: Mutex::default(),
        };
        QUIET
            .into_iter()
            .chain(OPEN)
            .fold(stack, |stack, (name, value)| stack.with(name, value))
    }

    /// Sets an environment variable of all processes that are started from now on.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Gives a program another address of Redis than the test itself has.
    pub(crate) fn with_redis_url(mut self, program: &'static str, url: String) -> Self {
        self.redis_urls.insert(program, url);
        self
    }

    // --- Processes ----------------------------------------------------------------------------

    /// Starts a server, and waits until it serves.
    pub(crate) async fn server(&self) -> Server {
        Server::start(self).await
    }

    pub(super) fn server_process(&self, port: u16) -> Process {
        self.process("server", "server", &["--port", &port.to_string()])
    }

    /// Starts two servers.
    pub(crate) async fn two_servers(&self) -> (Server, Server) {
        tokio::join!(self.server(), self.server())
    }

    /// Starts a worker for all queues, and waits until it is known to the others.
    pub(crate) async fn worker(&self) -> Process {
        self.worker_for("worker", "high=8,default=8,low=2").await
    }

    /// Starts a worker for some queues.
    pub(crate) async fn worker_for(&self, name: &str, queues: &str) -> Process {
        let mut worker = self.process(name, "worker", &["--queues", queues]);
        let info = self.queue.keys.workers_info();
        let pid = format!(r#""pid":{},"#, worker.pid());
        eventually(&format!("{name} is known"), async || {
            assert!(worker.end().is_none(), "{name} ended instead of working");
            let known: Vec<String> = self.try_redis(&["HVALS", &info]).await?;
            known.iter().any(|info| info.contains(&pid)).then_some(())
        })
        .await;
        worker
    }

    /// Starts the two workers of the Procfile.
    pub(crate) async fn two_workers(&self) -> (Process, Process) {
        tokio::join!(
            self.worker_for("worker-high", "high=16,default=8"),
            self.worker_for("worker-low", "low=4,default=2"),
        )
    }

    /// Runs `queuectl` to its end; gives its exit code and what it wrote.
    pub(crate) async fn queuectl(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut process = self.process("queuectl", "queuectl", arguments);
        let code = process.exit_code().await;
        (code, process.output())
    }

    /// Starts a program with this stack's settings.
    pub(crate) fn process(&self, name: &str, program: &str, arguments: &[&str]) -> Process {
        let redis_url = self.redis_urls.get(program).unwrap_or(&self.queue.url);
        let mut environment: Vec<(&str, String)> = vec![
            ("REDIS_URL", redis_url.clone()),
            ("DATABASE_URL", self.database.url().to_owned()),
            ("RHUBARB_NAMESPACE", self.queue.namespace.clone()),
            ("DATABASE_CONNECTIONS", "4".to_owned()),
        ];
        let settings = &self.settings;
        environment.extend(
            settings
                .iter()
                .map(|(name, value)| (&**name, value.clone())),
        );
        Process::start(name, &binary(program), arguments, &environment)
    }

    // --- Redis --------------------------------------------------------------------------------

    /// Runs one Redis command.
    pub(crate) async fn redis<T: FromRedisValue>(&self, words: &[impl ToRedisArgs]) -> T {
        self.queue.command(words).await
    }

    /// Runs one Redis command, on a Redis that may be away.
    pub(crate) async fn try_redis<T: FromRedisValue>(&self, words: &[&str]) -> Option<T> {
        let mut connection = self.queue.redis.connection().await.ok()?;
        let mut command = redis::Cmd::new();
        command.arg(words);
        let answer = command.query_async(&mut connection).await;
        answer
            .map_err(|error| self.queue.redis.failed("look at Redis", error))
            .ok()
    }

    /// The queue's totals, e.g. `completed:high`.
    pub(crate) async fn total(&self, name: &str) -> u64 {
        let stats = self.queue.keys.stats();
        let total: Option<u64> = self.redis(&["HGET", &stats, name]).await;
        total.unwrap_or_default()
    }

    /// Redis forgets all rooms, as if they had been idle for long. Jobs stay.
    pub(crate) async fn forget_rooms(&self) {
        let prefix = self.queue.keys.prefix();
        let keys: Vec<String> = self.redis(&["KEYS", &format!("{prefix}room:*")]).await;
        for key in keys {
            let _: i64 = self.redis(&["DEL", &key]).await;
        }
    }

    /// Redis forgets everything, workers and servers included.
    pub(crate) async fn empty_redis(&self) {
        let all = format!("{}*", self.queue.keys.prefix());
        let keys: Vec<String> = self.redis(&["KEYS", &all]).await;
        for key in keys {
            let _: i64 = self.redis(&["DEL", &key]).await;
        }
    }

    /// Waits until Redis holds nothing of any room.
    pub(crate) async fn has_no_room_keys(&self) {
        let rooms = format!("{}room:*", self.queue.keys.prefix());
        eventually("all rooms have left Redis", async || {
            let keys: Vec<String> = self.try_redis(&["KEYS", &rooms]).await?;
            keys.is_empty().then_some(())
        })
        .await;
    }

    /// The ids of the workers with a claim, and their processes' numbers.
    pub(crate) async fn claimants(&self) -> Vec<u32> {
        let keys = &self.queue.keys;
        let infos: BTreeMap<String, String> = self.redis(&["HGETALL", &keys.workers_info()]).await;
        let mut pids = Vec::new();
        for (worker, info) in infos {
            let id = worker.parse().expect("a worker's identity");
            let claims: u64 = self.redis(&["HLEN", &keys.claims(id)]).await;
            if claims > 0 {
                let info: serde_json::Value = serde_json::from_str(&info).expect("JSON");
                let pid = info["pid"].as_u64().expect("a worker's pid");
                pids.push(u32::try_from(pid).expect("a process's number"));
            }
        }
        pids
    }

    // --- Postgres -----------------------------------------------------------------------------

    /// The archived messages of a room, in order; none if Postgres is away.
    pub(crate) async fn rows(&self, room: &str) -> Option<Vec<Row>> {
        let query =
            diesel::sql_query("SELECT id, body FROM messages WHERE room_id = $1 ORDER BY id")
                .bind::<Text, _>(room);
        let mut eye = self.eye.lock().await;
        let connection = self.look(&mut eye).await?;
        let rows = query.load(connection).await;
        if rows.is_err() {
            *eye = None;
        }
        rows.ok()
    }

    /// Whether somebody waits for a lock on the archive.
    pub(crate) async fn waiters(&self) -> i64 {
        let query = diesel::sql_query(
            "SELECT count(*) AS count FROM pg_locks \
             WHERE NOT granted AND relation = to_regclass('messages')",
        );
        let mut eye = self.eye.lock().await;
        let connection = self.look(&mut eye).await.expect("a connection to Postgres");
        let count: Count = query.get_result(connection).await.expect("a count");
        count.count
    }

    /// Waits until so many wait for a lock on the archive.
    pub(crate) async fn has_waiters(&self, at_least: i64) {
        eventually(
            &format!("{at_least} wait for the archive's lock"),
            async || (self.waiters().await >= at_least).then_some(()),
        )
        .await;
    }

    /// Locks the archive until the answer is released or dropped: `"SHARE"` keeps writers waiting,
    /// `"ACCESS EXCLUSIVE"` readers too.
    pub(crate) async fn hold_archive(&self, mode: &str) -> Held {
        let mut connection = self.database.connect().await;
        let lock = format!("BEGIN; LOCK TABLE messages IN {mode} MODE");
        connection.batch_execute(&lock).await.expect("a lock");
        Held(connection)
    }

    async fn look<'a>(
        &self,
        eye: &'a mut Option<AsyncPgConnection>,
    ) -> Option<&'a mut AsyncPgConnection> {
        if eye.is_none() {
            *eye = self.database.try_connect().await;
        }
        eye.as_mut()
    }

    // --- Both ---------------------------------------------------------------------------------

    /// Waits until the archive has so many messages of a room, and gives them.
    pub(crate) async fn archived(&self, room: &str, count: usize) -> Vec<Row> {
        let rows = eventually(
            &format!("{count} archived messages of {room}"),
            async || {
                let rows = self.rows(room).await?;
                (rows.len() >= count).then_some(rows)
            },
        )
        .await;
        assert_eq!(rows.len(), count, "archived messages of {room}");
        rows
    }

    /// Waits until the archive has so many messages of a room and Redis counts it as clean; gives the
    /// archive's.
    pub(crate) async fn flushed(&self, room: &str, count: usize) -> Vec<Row> {
        let rows = self.archived(room, count).await;
        let keys = &self.queue.keys;
        let room_id = room.parse().expect("a room's name");
        eventually(&format!("{room} is clean"), async || {
            let dirty: Option<f64> = self.try_redis(&["ZSCORE", &keys.dirty(), room]).await?;
            let meta: BTreeMap<String, i64> =
                self.try_redis(&["HGETALL", &keys.meta(&room_id)]).await?;
            let is_level = meta.get("watermark") == meta.get("top");
            (dirty.is_none() && is_level).then_some(())
        })
        .await;
        rows
    }

    /// Waits until no job is left, whatever became of it.
    pub(crate) async fn idle(&self) {
        let jobs = self.queue.keys.buckets();
        eventually("no job is left", async || {
            let left: Vec<String> = self.try_redis(&["KEYS", &jobs]).await?;
            left.is_empty().then_some(())
        })
        .await;
    }

    /// Asserts that a client has seen exactly what the archive holds, in its order.
    pub(crate) async fn is_what_is_archived(&self, room: &str, client: &Client) {
        let rows = self.rows(room).await.expect("the archive");
        let archived: Vec<_> = rows.iter().map(|row| (row.id, &*row.body)).collect();
        assert_eq!(seen(client, room), archived);
    }
}

/// The ids and texts that a client has seen.
pub(crate) fn seen<'a>(client: &'a Client, room: &str) -> Vec<(i64, &'a str)> {
    let messages = &client.room(room).messages;
    messages
        .iter()
        .map(|message| (message.id, &*message.text))
        .collect()
}

/// A lock on the archive.
pub(crate) struct Held(AsyncPgConnection);

impl Held {
    pub(crate) async fn release(mut self) {
        self.0.batch_execute("COMMIT").await.expect("a commit");
    }
}
