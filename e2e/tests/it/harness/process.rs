//! A child process: one of our binaries, with its output kept and shown if the test fails.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use common::testing::{eventually, unique};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Lines of a process's output that a failed test shows, at most.
const SHOWN: usize = 60;

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `program` with nothing in its environment but `PATH` and `environment`.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, String)],
    ) -> Self {
        let output = std::env::temp_dir().join(unique("rhubarb-output-"));
        let file = File::create(&output).expect("a file for a process's output");
        let same_file = file.try_clone().expect("a second handle of a file");
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUST_BACKTRACE", "1") // what must not show a backtrace does not, even so
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(same_file)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        Self {
            name: name.to_owned(),
            child,
            output,
        }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written.
    pub(crate) fn output(&self) -> String {
        let bytes = std::fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process's number");
        kill(Pid::from_raw(pid), signal)
            .unwrap_or_else(|error| panic!("send {signal} to {}: {error}", self.name));
    }

    /// Kills it at once, as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended, if it has.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Waits for its end; gives its exit code.
    pub(crate) async fn exit_code(&mut self) -> Option<i32> {
        let what = format!("the end of {}", self.name);
        let status = eventually(&what, async || self.end()).await;
        status.code()
    }

    /// The port at which a worker says that it answers.
    pub(crate) async fn listens(&mut self) -> u16 {
        const SAYS: &str = "health and metrics are at http://127.0.0.1:";
        self.writes(SAYS).await;
        let output = self.output();
        let (_, rest) = output.split_once(SAYS).expect("an address");
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a port")
    }

    /// Waits until it has written `text`.
    ///
    /// # Panics
    /// If it ends before.
    pub(crate) async fn writes(&mut self, text: &str) {
        let what = format!("{} writes: {text}", self.name);
        eventually(&what, async || {
            // In this order: what it wrote before it ended is seen.
            let end = self.end();
            let written = self.output().contains(text);
            assert!(
                written || end.is_none(),
                "{} ended ({end:?}) without writing: {text}",
                self.name
            );
            written.then_some(())
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let end = self.end();
        self.kill();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            let from = lines.len().saturating_sub(SHOWN);
            let end = end.map_or("running".to_owned(), |status| status.to_string());
            println!("\n--- output of {} ({end}) ---", self.name);
            for line in &lines[from..] {
                println!("{line}");
            }
        }
        let _ = std::fs::remove_file(&self.output);
    }
}

/// The path of one of the workspace's binaries, built with the same profile as this test.
///
/// # Panics
/// If it was not built.
pub(crate) fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.parent().and_then(Path::parent);
    let path = profile.expect("target/<profile>/deps").join(name);
    assert!(
        path.is_file(),
        "{} is missing; build the binaries first: cargo build --workspace --bins",
        path.display()
    );
    path
}
