//! The crew: servers and workers, each in a place of its own, and the Postgres that they share.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use common::testing::TestPostgres;
use tokio::{process::Command, time::Instant};

use super::{event::Event, notes::Notes};
use crate::{
    chaos::{
        ledger::{Role, Who},
        process::Slot,
        target::Target,
    },
    chat::free_port,
};

/// After a process has ended, before its place is taken again.
const PAUSE: Duration = Duration::from_millis(250);

/// How the chat is set up here: so that rooms leave Redis and come back all the time, in many pieces.
pub(super) const SETTINGS: [(&str, &str); 19] = [
    ("HOT_WINDOW", "60"),
    ("FLUSH_CHUNK", "7"),
    ("FLUSH_COUNT", "40"),
    ("FLUSH_AGE", "0.7"),
    ("ROOM_TTL", "0.6"),
    ("RESEND_WINDOW", "600"),
    ("SERVER_LEASE", "2"),
    ("OUTBOX_BYTES", "65536"),
    ("DRAIN_SECONDS", "2"),
    ("GUESTS", "true"),
    ("MESSAGE_RATE", "off"),
    ("USER_MESSAGE_RATE", "off"),
    ("USER_READ_RATE", "off"),
    ("JOIN_RATE", "off"),
    ("FRAME_RATE", "off"),
    ("CONNECT_RATE", "off"),
    ("ADDRESS_REQUEST_RATE", "off"),
    ("ADDRESS_CONNECT_RATE", "off"),
    ("RUST_LOG", "info"),
];
/// As [`SETTINGS`] has it.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// A Postgres of our own. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Database {
    server: Arc<Mutex<TestPostgres>>,
    pub(super) url: String,
}

impl Database {
    /// Starts it, with all tables.
    pub(super) async fn start() -> Result<Self> {
        let server = tokio::task::spawn_blocking(TestPostgres::start);
        let server = server.await.context("start Postgres; is it installed?")?;
        let url = server.url();
        common::pg::migrate(&url).await?;
        Ok(Self {
            server: Arc::new(Mutex::new(server)),
            url,
        })
    }

    /// Ends it at once, as a crash does, and starts it again after a while.
    pub(super) async fn be_away(&self, time: Duration) -> Result<()> {
        let server = Arc::clone(&self.server);
        let work = tokio::task::spawn_blocking(move || {
            let mut server = server.lock().unwrap_or_else(PoisonError::into_inner);
            server.stop();
            std::thread::sleep(time);
            server.restart();
        });
        work.await.context("start Postgres again")
    }
}

/// The processes.
#[derive(Debug, Clone)]
pub(super) struct Crew {
    pub(super) servers: Vec<Arc<Slot>>,
    pub(super) workers: Vec<Arc<Slot>>,
    /// Where the servers listen.
    pub(super) ports: Arc<[u16]>,
}

impl Crew {
    /// Starts a process in each place.
    pub(super) fn start(
        (servers, workers): (u16, u16),
        redis: &Target,
        database: &Database,
        notes: &Arc<Notes>,
        folder: &Path,
    ) -> Result<Self> {
        let ports: Result<Arc<[u16]>> = (0..servers).map(|_| free_port()).collect();
        let places = |role, number| (0..number).map(move |n| Arc::new(Slot::new(role, n)));
        let crew = Self {
            servers: places(Role::Server, servers).collect(),
            workers: places(Role::Worker, workers).collect(),
            ports: ports?,
        };
        let base = Base {
            environment: vec![
                ("REDIS_URL", redis.url()),
                ("DATABASE_URL", database.url.clone()),
                ("RHUBARB_NAMESPACE", redis.namespace.clone()),
            ],
            folder: folder.to_owned(),
        };
        for (slot, port) in crew.servers.iter().zip(&*crew.ports) {
            base.fill(
                slot,
                "server",
                vec!["--port".into(), port.to_string()],
                notes,
            )?;
        }
        for slot in &crew.workers {
            base.fill(slot, "worker", Vec::new(), notes)?;
        }
        Ok(crew)
    }

    /// All places.
    pub(super) fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.servers.iter().chain(&self.workers)
    }

    /// Stops all in order, and starts none again.
    pub(super) async fn end(&self, notes: &Notes, patience: Duration) -> Result<()> {
        use nix::sys::signal::Signal;
        for slot in self.slots() {
            slot.close();
            let (who, fault) = (slot.who(), super::faults::Fault::StopServer { slot: 0 });
            slot.signal(who, Signal::SIGTERM, || {
                notes.note(who, Event::Struck { fault });
            });
        }
        let deadline = Instant::now() + patience;
        while let Some(slot) = self.slots().find(|slot| slot.is_busy()) {
            if Instant::now() > deadline {
                bail!("{} does not stop", slot.who());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

struct Base {
    environment: Vec<(&'static str, String)>,
    folder: PathBuf,
}

impl Base {
    fn fill(
        &self,
        slot: &Arc<Slot>,
        program: &str,
        arguments: Vec<String>,
        notes: &Arc<Notes>,
    ) -> Result<()> {
        let path = std::env::current_exe()
            .context("find this program")?
            .with_file_name(program);
        ensure!(
            path.exists(),
            "{} is not built: run bin/bench, or `cargo build` with the profile of this program",
            path.display()
        );
        let (environment, folder) = (self.environment.clone(), self.folder.clone());
        let booting = Arc::clone(notes);
        let command = move |who: Who| {
            booting.note(who, Event::Booted);
            let mut command = Command::new(&path);
            command
                .args(&arguments)
                .envs(SETTINGS)
                .envs(environment.iter().map(|(name, value)| (name, value)));
            if let Ok(log) = std::fs::File::create(folder.join(format!("{who}.log"))) {
                let same = log.try_clone();
                command.stderr(log);
                if let Ok(same) = same {
                    command.stdout(same);
                }
            }
            command
        };
        let ending = Arc::clone(notes);
        let ended = move |who: Who, _pid: u32, status: ExitStatus| {
            let (signal, code) = (status.signal(), status.code());
            ending.note(who, Event::Exited { signal, code });
        };
        let slot = Arc::clone(slot);
        tokio::spawn(async move {
            if let Err(error) = slot.fill(command, ended, PAUSE).await {
                eprintln!("a place stays empty: {error:#}");
            }
        });
        Ok(())
    }
}
