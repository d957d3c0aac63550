//! A schema of a test's own on the shared Postgres, and a Postgres server that it may stop.

use std::{
    fs::File,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};

use super::{PATIENCE, required, unique};
use crate::pg;

/// A schema with Rhubarb's tables, on the Postgres of `DATABASE_URL` or on another; dropped at the end.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    schema: String,
    url: String,
}

impl TestDatabase {
    /// A fresh schema on the Postgres of `DATABASE_URL`, with all migrations.
    pub async fn start() -> Self {
        Self::on(&required("DATABASE_URL")).await
    }

    /// A fresh schema on the Postgres at `server`, with all migrations.
    ///
    /// # Panics
    /// If the migrations fail.
    pub async fn on(server: &str) -> Self {
        let database = Self::empty_on(server).await;
        pg::migrate(&database.url)
            .await
            .expect("migrations that succeed");
        database
    }

    /// A fresh schema on the Postgres of `DATABASE_URL`, without tables.
    pub async fn empty() -> Self {
        Self::empty_on(&required("DATABASE_URL")).await
    }

    async fn empty_on(server: &str) -> Self {
        let schema = unique("test_");
        let parameters = if server.contains('?') { '&' } else { '?' };
        let database = Self {
            url: format!("{server}{parameters}options=-csearch_path%3D{schema}"),
            server: server.to_owned(),
            schema,
        };
        run(
            &database.server,
            &format!("CREATE SCHEMA {}", database.schema),
        )
        .await
        .expect("a new schema");
        database
    }

    /// Its address: a connection made with it sees this schema only.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The schema's name.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// A connection of the test's own.
    ///
    /// # Panics
    /// If none can be made.
    pub async fn connect(&self) -> AsyncPgConnection {
        pg::connect(&self.url)
            .await
            .expect("a connection to Postgres")
    }

    /// The same, if Postgres is there.
    pub async fn try_connect(&self) -> Option<AsyncPgConnection> {
        pg::connect(&self.url).await.ok()
    }

    /// Runs one or more statements that return nothing.
    ///
    /// # Panics
    /// If one fails.
    pub async fn execute(&self, sql: &str) {
        run(&self.url, sql).await.expect("SQL that succeeds");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Best effort: the Postgres may be the one that the test stopped.
        let (server, sql) = (
            std::mem::take(&mut self.server),
            format!(
                // Connections of killed processes may still hold locks on the tables.
                "SET lock_timeout = '5s'; DROP SCHEMA IF EXISTS {} CASCADE",
                self.schema
            ),
        );
        on_a_thread(async move { run(&server, &sql).await });
    }
}

/// Runs what needs a runtime from where none can be waited for; gives up after some seconds.
fn on_a_thread(work: impl Future<Output = Result<(), String>> + Send + 'static) -> bool {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(10), work)
                .await
                .ok()?
                .ok()
        })
    });
    matches!(thread.join(), Ok(Some(())))
}

async fn run(url: &str, sql: &str) -> Result<(), String> {
    let mut connection = pg::connect(url).await.map_err(|error| error.to_string())?;
    connection
        .batch_execute(sql)
        .await
        .map_err(|error| error.to_string())
}

/// A Postgres server in a child process, with data in a folder of its own.
#[derive(Debug)]
pub struct TestPostgres {
    port: u16,
    folder: PathBuf,
    programs: PathBuf,
    owner: Option<(u32, u32)>,
    process: Option<Child>,
}

impl TestPostgres {
    /// Starts one on a free port. Takes a second or two: its files are made first.
    ///
    /// # Panics
    /// If Postgres is not installed or does not start.
    pub fn start() -> Self {
        let folder = std::env::temp_dir().join(unique("rhubarb-postgres-"));
        std::fs::create_dir_all(&folder).expect("a folder for Postgres");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let owner = other_than_root();
        if let Some((user, group)) = owner {
            chown(&folder, Some(user), Some(group)).expect("a folder that Postgres may write to");
        }
        let mut server = Self {
            port,
            folder,
            programs: programs(),
            owner,
            process: None,
        };
        let made = server
            .program("initdb")
            .args(["--username=rhubarb", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "-D"])
            .arg(server.data())
            .output()
            .expect("initdb starts");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        server.restart();
        server
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("postgres://rhubarb@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it again on the same port with the same data, and waits until it answers.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.stop();
        let process = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(File::create(self.log()).expect("a file for Postgres's words"))
            .spawn()
            .expect("postgres starts");
        self.process = Some(process);
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            assert!(
                Instant::now() < deadline,
                "Postgres on port {} does not answer: {}",
                self.port,
                std::fs::read_to_string(self.log()).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it at once, with all its connections, as a crash does.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        // SIGKILL would leave its children and their shared memory behind.
        let asked = Command::new("kill")
            .args(["-QUIT", &process.id().to_string()])
            .status();
        if asked.is_err() {
            let _ = process.kill();
        }
        let _ = process.wait();
    }

    /// From now on it has this certificate, and takes nobody who speaks no TLS.
    ///
    /// # Panics
    /// If it does not start with it.
    pub fn use_tls(&mut self, certificate: &Path, key: &Path) {
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.data().join(name);
            std::fs::copy(from, &to).expect("a copy of a certificate");
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).expect("a mode");
            if let Some((user, group)) = self.owner {
                chown(&to, Some(user), Some(group)).expect("a file that Postgres may read");
            }
        }
        let settings = self.data().join("postgresql.auto.conf");
        std::fs::write(settings, "ssl = on\n").expect("Postgres's settings");
        let who = "hostssl all all 127.0.0.1/32 trust\n";
        std::fs::write(self.data().join("pg_hba.conf"), who).expect("who may connect");
        self.restart();
    }

    /// Runs one of Postgres's own programs, such as `pg_dump`, to its end.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, program: &str, arguments: &[&str]) {
        // Beside `initdb` itself, to which there may be no more than a link on PATH.
        let initdb = std::fs::canonicalize(self.programs.join("initdb")).expect("initdb");
        let ran = Command::new(initdb.with_file_name(program))
            .args(arguments)
            .output();
        let ran = ran.expect("a program of Postgres starts");
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{program}: {told}");
    }

    fn answers(&self) -> bool {
        let url = self.url();
        on_a_thread(async move {
            let connected = pg::connect(&url).await;
            connected.map(|_| ()).map_err(|error| error.to_string())
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir("/");
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Postgres refuses to run as root: the user and group to run it as instead, if we are root.
fn other_than_root() -> Option<(u32, u32)> {
    let id = |args: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(args).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let ids = |user: &str| Some((id(&["-u", user])?, id(&["-g", user])?));
    ids("postgres").or_else(|| ids("nobody"))
}

/// The folder of Postgres's programs. Debian keeps it off PATH.
fn programs() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql");
    let mut newest_first: Vec<PathBuf> = debian
        .into_iter()
        .flatten()
        .filter_map(|folder| Some(folder.ok()?.path().join("bin")))
        .collect();
    newest_first.sort();
    newest_first.reverse();
    std::env::split_paths(&on_path)
        .chain(newest_first)
        .find(|folder| is_program(&folder.join("initdb")) && is_program(&folder.join("postgres")))
        .expect("Postgres's programs; bin/test installs them")
}

fn is_program(path: &Path) -> bool {
    path.is_file()
}
