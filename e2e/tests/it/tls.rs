//! TLS to Redis and Postgres: every kind of connection, with authorities of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::testing::{RedisServer, TestPostgres, unique};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::harness::{Stack, stack::seen};

const ROOM: &str = "stage";

/// An authority, and what it has signed: a server's certificate for 127.0.0.1 and a client's, as files.
struct Authority {
    folder: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(unique("rhubarb-ca-"));
        fs::create_dir_all(&folder).expect("a folder for certificates");
        let mut params = CertificateParams::new([]).expect("an authority");
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, own).expect("a certificate");
        let authority = Self { folder };
        authority.write("ca.pem", &issuer.pem());
        for name in ["server", "client"] {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
            params.distinguished_name.push(DnType::CommonName, name);
            let signed = params.signed_by(&key, &issuer).expect("a certificate");
            authority.write(&format!("{name}.pem"), &signed.pem());
            authority.write(&format!("{name}.key"), &key.serialize_pem());
        }
        authority
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("a file");
    }

    fn file(&self, name: &str) -> String {
        self.path(name).to_str().expect("a name of text").to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// How a Redis is told to speak TLS alone on a port, and to want a certificate of clients.
    fn redis(&self, port: u16) -> RedisServer {
        let port = port.to_string();
        RedisServer::start(&[
            "--tls-port",
            &port,
            "--tls-cert-file",
            &self.file("server.pem"),
            "--tls-key-file",
            &self.file("server.key"),
            "--tls-ca-cert-file",
            &self.file("ca.pem"),
        ])
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A Postgres that takes nobody over TCP without TLS, but for this test's own eyes.
fn postgres_with_tls(authority: &Authority) -> TestPostgres {
    let mut postgres = TestPostgres::start();
    postgres.use_tls(
        Path::new(&authority.path("server.pem")),
        Path::new(&authority.path("server.key")),
    );
    postgres
}

#[tokio::test]
async fn the_chat_and_its_jobs_go_over_tls_alone() {
    let authority = Authority::new();
    let port = free_port();
    let redis = authority.redis(port);
    let postgres = postgres_with_tls(&authority);
    let redis_url = format!(
        "rediss://127.0.0.1:{port}/0?cacert={}&cert={}&key={}",
        authority.file("ca.pem"),
        authority.file("client.pem"),
        authority.file("client.key")
    );
    let database_url = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        postgres.url(),
        authority.file("ca.pem")
    );
    let mut stack = Stack::on(&redis.url(), &database_url).await;
    for program in ["server", "worker", "queuectl"] {
        stack = stack.with_redis_url(program, redis_url.clone());
    }

    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post_all(ROOM, &["one", "two"].map(str::to_owned)).await;
    ada.hears(ROOM, "two").await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 2).await;
    stack.forget_rooms().await;
    ada.join(ROOM).await;
    assert_eq!(seen(&ada, ROOM).len(), 2);
    assert_eq!(stack.queuectl(&["status"]).await.0, Some(0));
    let mut check = stack.process("check", "worker", &["--check-config"]);
    assert_eq!(check.exit_code().await, Some(0), "{}", check.output());
    let told = check.output();
    assert!(
        told.contains("noeviction, appendonly yes, TLS") && told.contains("up to date, TLS"),
        "{told}"
    );

    // Whoever is connected to Redis but this test came over TLS: blocking pop, subscriptions, all else.
    let clients: String = stack.redis(&["CLIENT", "LIST"]).await;
    let over_tls = |line: &&str| line.contains(&format!("laddr=127.0.0.1:{port}"));
    let blocked = clients
        .lines()
        .filter(over_tls)
        .filter(|line| line.contains("cmd=brpop"))
        .count();
    let hearing = clients
        .lines()
        .filter(over_tls)
        .filter(|line| line.contains("cmd=subscribe"))
        .count();
    assert!(blocked >= 1 && hearing >= 2, "{clients}");
    let without = clients
        .lines()
        .filter(|line| !over_tls(line))
        .filter(|line| line.contains("cmd=brpop"))
        .count();
    assert_eq!(without, 0, "{clients}");
}

#[tokio::test]
async fn an_authority_that_is_not_the_right_one_is_refused_with_what_to_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    let port = free_port();
    let redis = authority.redis(port);
    let postgres = postgres_with_tls(&authority);
    let (right, wrong) = (authority.file("ca.pem"), other.file("ca.pem"));
    let rediss = format!("rediss://127.0.0.1:{port}/0");
    let with = |ca: &str| format!("{}?sslmode=verify-full&sslrootcert={ca}", postgres.url());
    let stack = Stack::on(&redis.url(), &with(&right)).await;
    let client = format!(
        "&cert={}&key={}",
        authority.file("client.pem"),
        authority.file("client.key")
    );

    for (url, words) in [
        (
            format!("{rediss}?cacert={wrong}{client}"),
            "its certificate is not trusted; name the authority that signed it with ?cacert=FILE",
        ),
        (
            format!("{rediss}?cacert={right}&cert=/no/such&key=/no/such"),
            "/no/such: No such file",
        ),
        (
            format!("redis://127.0.0.1:{port}/0"),
            "does not answer as Redis does",
        ),
    ] {
        let mut worker = stack.process("worker", "worker", &["--redis-url", &url]);
        assert_eq!(worker.exit_code().await, Some(1), "{}", worker.output());
        assert!(
            worker.output().contains(words),
            "{url}: {}",
            worker.output()
        );
        assert_eq!(worker.output().lines().count(), 1, "{}", worker.output());
    }
    for (url, words) in [
        (
            with(&wrong),
            "its certificate is not trusted; name the authority that signed it with sslrootcert=FILE",
        ),
        (
            with(&right).replace("127.0.0.1", "localhost"),
            "and Postgres as the certificate does",
        ),
        (with("/no/such"), "/no/such"),
        (
            format!("{}?sslmode=disable", postgres.url()),
            "no encryption",
        ),
    ] {
        let mut worker = stack.process("worker", "worker", &["--database-url", &url]);
        assert_eq!(worker.exit_code().await, Some(1), "{}", worker.output());
        assert!(
            worker.output().contains(words),
            "{url}: {}",
            worker.output()
        );
    }
    // Less is asked of it with these.
    for url in [
        with(&right)
            .replace("127.0.0.1", "localhost")
            .replace("verify-full", "verify-ca"),
        format!("{}?sslmode=require", postgres.url()),
        postgres.url(),
    ] {
        let mut migrate =
            stack.process("queuectl", "queuectl", &["migrate", "--database-url", &url]);
        assert_eq!(
            migrate.exit_code().await,
            Some(0),
            "{url}: {}",
            migrate.output()
        );
    }
}
