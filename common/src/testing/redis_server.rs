//! A Redis server of a test's own, which it may stop, stall and kill.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{PATIENCE, unique};

/// A Redis server in a child process, with an append-only file in a folder of its own.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    folder: PathBuf,
    settings: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts one on a free port. `settings` are added to its command line, e.g.
    /// `["--appendfsync", "always"]`.
    ///
    /// # Panics
    /// If `redis-server` cannot be started.
    pub fn start(settings: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(unique("rhubarb-redis-"));
        std::fs::create_dir_all(&folder).expect("a folder for Redis");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let settings = settings.iter().map(|text| (*text).to_owned()).collect();
        let mut server = Self {
            port,
            folder,
            settings,
            process: None,
        };
        server.restart();
        server
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process's number, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts it again on the same port with the same data, and waits until it answers.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args([
                "--dir",
                path_text(&self.folder),
                "--save",
                "",
                "--appendonly",
                "yes",
            ])
            .args(["--maxmemory-policy", "noeviction"])
            .args(&self.settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server on the PATH; bin/test installs it");
        self.process = Some(process);
        let client = redis::Client::open(self.url()).expect("a readable address");
        let deadline = Instant::now() + PATIENCE;
        let answers = || {
            let mut connection = client
                .get_connection_with_timeout(Duration::from_secs(1))
                .ok()?;
            redis::cmd("PING").query::<String>(&mut connection).ok()
        };
        while answers().is_none() {
            assert!(
                Instant::now() < deadline,
                "redis-server on port {} does not answer",
                self.port
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it at once, and all that it knew goes with its disk.
    ///
    /// # Panics
    /// If its folder cannot be emptied.
    pub fn lose(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.folder).expect("a folder that can be removed");
        std::fs::create_dir_all(&self.folder).expect("a folder for Redis");
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends it a signal by name, e.g. `STOP` and `CONT`.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().expect("a running redis-server").to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "send SIG{name} to redis-server {pid}"
        );
    }
}

fn path_text(path: &Path) -> &str {
    path.to_str().unwrap_or(".")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
