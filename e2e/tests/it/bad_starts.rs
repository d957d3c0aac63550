//! A start that cannot succeed ends at once, with one clear line and without a backtrace.

use common::testing::{RedisServer, TestDatabase, eventually, required};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::harness::{Process, process::binary, server::reserve_port};

/// How one process is started that is to fail.
struct Attempt {
    program: &'static str,
    arguments: Vec<String>,
    redis: Option<String>,
    postgres: Option<String>,
    guests: bool,
}

impl Attempt {
    /// One that would succeed.
    async fn of(program: &'static str) -> (Self, TestDatabase) {
        let database = TestDatabase::start().await;
        let attempt = Self {
            program,
            arguments: Vec::new(),
            redis: Some(required("REDIS_URL")),
            postgres: Some(database.url().to_owned()),
            guests: true,
        };
        (attempt, database)
    }

    fn argued(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&text| text.to_owned()).collect();
        self
    }

    fn redis(mut self, url: impl Into<String>) -> Self {
        self.redis = Some(url.into());
        self
    }

    fn postgres(mut self, url: impl Into<String>) -> Self {
        self.postgres = Some(url.into());
        self
    }

    /// Asserts that it ends with this exit code and says all of `words` in one line.
    async fn fails(self, code: i32, words: &[&str]) {
        let mut environment = vec![("RUST_LOG", "error".to_owned())];
        environment.extend(self.redis.map(|url| ("REDIS_URL", url)));
        environment.extend(self.postgres.map(|url| ("DATABASE_URL", url)));
        let (_reservation, port) = reserve_port();
        if self.program == "server" {
            environment.push(("PORT", port.to_string()));
            environment.push(("GUESTS", self.guests.to_string()));
        }
        let arguments: Vec<_> = self.arguments.iter().map(|text| &**text).collect();
        let path = binary(self.program);
        let mut process = Process::start(self.program, &path, &arguments, &environment);

        let ended = process.exit_code().await;

        let output = process.output();
        assert_eq!(ended, Some(code), "{output}");
        let has_all = |line: &str| words.iter().all(|word| line.contains(word));
        assert!(
            output.lines().any(has_all),
            "no line says {words:?}:\n{output}"
        );
        if code == 1 {
            let prefix = format!("{}: ", self.program);
            assert!(output.starts_with(&prefix), "{output}");
            assert_eq!(output.lines().count(), 1, "more than one line:\n{output}");
        }
        assert!(
            !output.contains("panicked") && !output.contains("backtrace"),
            "{output}"
        );
    }
}

#[tokio::test]
async fn wrong_flags() {
    let (server, _database) = Attempt::of("server").await;
    server
        .argued(&["--port", "many"])
        .fails(2, &["--port", "many"])
        .await;
    for (program, arguments, words) in [
        ("server", ["--hot-window", "-1"], ["unexpected", "-1"]),
        (
            "server",
            ["--flush-chunk", "0"],
            ["--flush-chunk", "1 to 5000"],
        ),
        (
            "server",
            ["--flush-age", "soon"],
            ["--flush-age", "number of seconds"],
        ),
        ("server", ["--colour", "red"], ["unexpected", "--colour"]),
        ("server", ["--namespace", "a b"], ["--namespace", "letters"]),
        (
            "server",
            ["--host", "no.such.host.invalid"],
            ["server: ", "no.such.host.invalid"],
        ),
        ("worker", ["--queues", "medium=3"], ["--queues", "medium"]),
        ("worker", ["--queues", "high=0"], ["--queues", "high"]),
        ("worker", ["--queues", "high"], ["--queues", "high"]),
        ("worker", ["--concurrency", "0"], ["--concurrency", "0"]),
    ] {
        let (attempt, _database) = Attempt::of(program).await;
        let code = if arguments[0] == "--host" { 1 } else { 2 };
        attempt.argued(&arguments).fails(code, &words).await;
    }
}

#[tokio::test]
async fn a_server_that_nobody_could_connect_to() {
    let (mut attempt, _database) = Attempt::of("server").await;
    attempt.guests = false;
    attempt
        .fails(
            1,
            &[
                "--jwt-secret",
                "--jwt-key",
                "--jwks",
                "--guests",
                "GUESTS=true",
            ],
        )
        .await;
    for (flag, value, words) in [
        ("--jwt-secret", "short", ["32", "bytes"]),
        ("--jwt-key", "/no/such/file", ["keys", "/no/such/file"]),
        ("--jwks", "/no/such/file", ["keys", "/no/such/file"]),
        ("--origin", "chat.example", ["chat.example", "origin"]),
    ] {
        let (attempt, _database) = Attempt::of("server").await;
        attempt.argued(&[flag, value]).fails(1, &words).await;
    }
    let (attempt, _database) = Attempt::of("server").await;
    let argued = attempt.argued(&["--message-rate", "many"]);
    argued.fails(2, &["--message-rate", "a second"]).await;
}

#[tokio::test]
async fn addresses_that_are_missing_or_unreadable() {
    for program in ["server", "worker"] {
        let (mut attempt, _database) = Attempt::of(program).await;
        attempt.redis = None;
        attempt.fails(2, &["--redis-url"]).await;
        let (mut attempt, _database) = Attempt::of(program).await;
        attempt.postgres = None;
        attempt.fails(2, &["--database-url"]).await;
        let (attempt, _database) = Attempt::of(program).await;
        attempt
            .redis("localhost")
            .fails(1, &["Redis address", "redis://"])
            .await;
        let (attempt, _database) = Attempt::of(program).await;
        attempt
            .postgres("localhost")
            .fails(1, &["should look like postgres://"])
            .await;
    }
}

#[tokio::test]
async fn servers_that_cannot_be_reached() {
    let (_reservation, port) = reserve_port();
    for program in ["server", "worker"] {
        let (attempt, _database) = Attempt::of(program).await;
        let nobody = format!("redis://127.0.0.1:{port}/0");
        attempt
            .redis(nobody)
            .fails(1, &["connect to Redis", "refused"])
            .await;
        let (attempt, _database) = Attempt::of(program).await;
        let nobody = format!("postgres://rhubarb@127.0.0.1:{port}/rhubarb");
        attempt
            .postgres(nobody)
            .fails(
                1,
                &["connect to Postgres at 127.0.0.1:", "error connecting"],
            )
            .await;
    }
}

#[tokio::test]
async fn servers_that_are_something_else() {
    let http = HttpServer::start().await;
    let (redis, postgres) = (required("REDIS_URL"), required("DATABASE_URL"));
    let (redis, postgres) = (place(&redis), place(&postgres));

    for program in ["server", "worker"] {
        let (attempt, _database) = Attempt::of(program).await;
        let url = format!("redis://{}/0", http.address);
        attempt
            .redis(url)
            .fails(1, &["does not answer as Redis does"])
            .await;
        let (attempt, _database) = Attempt::of(program).await;
        let url = format!("redis://{postgres}/0");
        attempt
            .redis(url)
            .fails(1, &["does not answer as Redis does"])
            .await;
        let (attempt, _database) = Attempt::of(program).await;
        let url = format!("postgres://rhubarb@{redis}/rhubarb");
        attempt
            .postgres(url)
            .fails(1, &["connect to Postgres"])
            .await;
        let (attempt, _database) = Attempt::of(program).await;
        let url = format!("postgres://rhubarb@{}/rhubarb", http.address);
        attempt
            .postgres(url)
            .fails(1, &["connect to Postgres"])
            .await;
    }
}

/// Host and port of an address.
fn place(url: &str) -> &str {
    let (_, rest) = url.split_once("://").expect("an address");
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    authority.rsplit('@').next().unwrap_or(authority)
}

/// Answers 400 to everything, as web servers do.
struct HttpServer {
    address: String,
    serving: tokio::task::JoinHandle<()>,
}

impl HttpServer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let serving = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let _ = socket.read(&mut [0; 1024]).await;
                    let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
                    let _ = socket.write_all(answer).await;
                });
            }
        });
        Self { address, serving }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn a_database_that_is_newer_or_lacks_migrations() {
    for program in ["server", "worker"] {
        let (attempt, database) = Attempt::of(program).await;
        let newer = "INSERT INTO schema_floor (version) VALUES ('29990101000000')";
        database.execute(newer).await;
        attempt
            .fails(1, &["newer than this binary", "29990101000000"])
            .await;

        let empty = TestDatabase::empty().await;
        let (attempt, _database) = Attempt::of(program).await;
        attempt
            .postgres(empty.url())
            .fails(1, &["lacks", "queuectl migrate"])
            .await;
    }
}

#[tokio::test]
async fn a_redis_that_would_lose_data() {
    let evicts = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let master = RedisServer::start(&[]);
    let port = master.url();
    let port = port
        .trim_end_matches("/0")
        .rsplit(':')
        .next()
        .expect("a port");
    let replica = RedisServer::start(&["--replicaof", &format!("127.0.0.1 {port}")]);

    for program in ["server", "worker"] {
        let (attempt, _database) = Attempt::of(program).await;
        let words = ["allkeys-lru", "CONFIG SET maxmemory-policy noeviction"];
        attempt.redis(evicts.url()).fails(1, &words).await;
        let (attempt, _database) = Attempt::of(program).await;
        attempt
            .redis(replica.url())
            .fails(1, &["replica", "127.0.0.1"])
            .await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();

    let (attempt, _database) = Attempt::of("server").await;
    attempt
        .argued(&["--port", &port])
        .fails(1, &["listen on", &port, "--port"])
        .await;
}

#[tokio::test]
async fn a_redis_without_a_log_is_warned_of() {
    let forgetful = RedisServer::start(&["--appendonly", "no"]);
    let (attempt, _database) = Attempt::of("worker").await;
    let environment = [
        ("REDIS_URL", forgetful.url()),
        ("DATABASE_URL", attempt.postgres.expect("an address")),
    ];
    let path = binary("worker");
    let mut worker = Process::start("worker", &path, &[], &environment);

    worker.writes("WARN").await;

    eventually("a warning", async || {
        worker.output().contains("appendonly yes").then_some(())
    })
    .await;
}
