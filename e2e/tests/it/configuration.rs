//! Settings of real processes: from a file, shown by `--check-config`, and never with a secret.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use common::testing::{RedisServer, TestDatabase, required, unique};

use crate::harness::{Process, process::binary};

/// A file of a test's own.
struct TestFile(PathBuf);

impl TestFile {
    fn new(text: &str, mode: u32) -> Self {
        let path = std::env::temp_dir().join(unique("rhubarb-settings-"));
        fs::write(&path, text).expect("a file for settings");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a name of text")
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Runs a program to its end; gives its exit code and what it wrote.
async fn run(
    program: &str,
    arguments: &[&str],
    environment: &[(&str, String)],
) -> (Option<i32>, String) {
    let mut process = Process::start(program, &binary(program), arguments, environment);
    let code = process.exit_code().await;
    (code, process.output())
}

#[tokio::test]
async fn one_file_serves_all_three_and_says_where_each_value_comes_from() {
    let database = TestDatabase::empty().await;
    let token = TestFile::new("a-token-of-s3cret-words\n", 0o600);
    let file = TestFile::new(
        &format!(
            "redis-url = '{}'\ndatabase-url = '{}'\nhot-window = 77\nqueues = 'low=1'\n[server]\nguests = true\n",
            required("REDIS_URL"),
            database.url()
        ),
        0o644,
    );
    let config = ("RHUBARB_CONFIG", file.name().to_owned());

    let (code, output) = run("queuectl", &["migrate"], std::slice::from_ref(&config)).await;
    assert_eq!(code, Some(0), "{output}");
    let given = [
        config.clone(),
        ("JOBS_TOKEN_FILE", token.name().to_owned()),
        ("FLUSH_AGE", "3".to_owned()),
    ];
    let (code, output) = run("server", &["--check-config", "--port=9"], &given).await;

    assert_eq!(code, Some(0), "{output}");
    let says = |key: &str, words: &[&str]| {
        let line = output
            .lines()
            .find(|line| line.split_whitespace().next() == Some(key));
        let line = line.unwrap_or_else(|| panic!("no line of {key}: {output}"));
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    };
    says("hot-window", &["77", &format!("{}:3", file.name())]);
    says("guests", &["true", &format!("{}:6", file.name())]);
    says("flush-age", &["3", "environment (FLUSH_AGE)"]);
    says("port", &["9", "flag (--port)"]);
    says("room-ttl", &["600", "default"]);
    says("jobs-token", &["***", "environment (JOBS_TOKEN_FILE)"]);
    says("warn", &["settings", "everybody may read it"]);
    assert!(!output.contains("s3cret"), "{output}");

    let (code, output) = run("worker", &["--check-config"], &[config]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("low=1"), "{output}");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_what_to_do() {
    let evicts = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let empty = TestDatabase::empty().await;
    let file = TestFile::new("hot-window = 0\n", 0o600);
    let address = evicts.url().replace("redis://", "redis://default:s3cret@");
    let given = [
        ("REDIS_URL", address),
        ("DATABASE_URL", empty.url().to_owned()),
    ];

    let (code, output) = run("server", &["--check-config"], &given).await;
    assert_eq!(code, Some(1));
    for words in [
        "no    redis ",
        "no    postgres   the database lacks",
        "queuectl migrate",
        "no    who may    nobody could connect",
    ] {
        assert!(output.contains(words), "{words}: {output}");
    }
    assert!(!output.contains("s3cret"), "{output}");

    for program in ["server", "worker", "queuectl"] {
        let arguments = ["--config", file.name(), "status"];
        let arguments = if program == "queuectl" {
            &arguments[..]
        } else {
            &arguments[..2]
        };
        let (code, output) = run(program, arguments, &given).await;
        if program == "queuectl" {
            // It reads this file, too, and has nothing to do with the key.
            assert!(!output.contains("hot-window"), "{output}");
        } else {
            assert_eq!(code, Some(2), "{program}: {output}");
            let place = format!(
                "{}:1: hot-window = 0: a number from 1 on is expected",
                file.name()
            );
            assert!(output.contains(&place), "{output}");
        }
    }
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_refused() {
    let database = TestDatabase::start().await;
    let url = format!("{}%20-cdefault_transaction_read_only%3Don", database.url());
    let given = [("REDIS_URL", required("REDIS_URL")), ("DATABASE_URL", url)];

    let (code, output) = run("worker", &[], &given).await;

    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("default_transaction_read_only"), "{output}");
}
