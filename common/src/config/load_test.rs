//! Where a value comes from, what a file may not say, and that secrets stay secret.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser};

use super::{super::Secret, *};
use crate::testing::unique;

/// Settings of a server as far as these tests go; `hot-window` and the others are on the page, too.
#[derive(Debug, Parser)]
struct Args {
    #[arg(long, env = "RHUBARB_CONFIG")]
    config: Option<PathBuf>,
    #[arg(long, env = "TEST_REDIS_URL", hide_env_values = true)]
    redis_url: Secret,
    #[arg(long, env = "TEST_HOT_WINDOW", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    hot_window: u32,
    #[arg(long, env = "TEST_GUESTS", action = clap::ArgAction::SetTrue)]
    guests: bool,
    #[arg(
        long,
        env = "TEST_GUEST_ROOMS",
        default_value = "*",
        value_delimiter = ','
    )]
    guest_rooms: Vec<String>,
    #[arg(long, env = "TEST_FORMAT", value_enum, default_value = "human")]
    log_format: crate::telemetry::LogFormat,
    /// Cargo sets this one for every test.
    #[arg(long, env = "CARGO_PKG_NAME", default_value = "nobody")]
    jwt_issuer: String,
}

/// A file of a test's own.
struct TestFile(PathBuf);

impl TestFile {
    fn new(text: &str, mode: u32) -> Self {
        let path = std::env::temp_dir().join(unique("rhubarb-config-"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const ADDRESS: &str = "redis-url = 'redis://:s3cret@h:1/0'\n";

fn load_with(words: &[&str], environment: &[(&str, &str)]) -> Result<(Args, Given), clap::Error> {
    let words = std::iter::once("server")
        .chain(words.iter().copied())
        .map(Into::into);
    let variable = |name: &str| {
        let found = environment.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| (*value).into())
            .or_else(|| std::env::var_os(name))
    };
    let given = load(Process::Server, Args::command(), words, variable)?;
    Ok((Args::from_arg_matches(&given.matches)?, given))
}

/// What a file with this text gives, or the complaint.
fn load_text(text: &str) -> Result<(Args, Given), String> {
    let file = TestFile::new(&format!("{ADDRESS}{text}"), 0o600);
    load_with(&["--config", file.name()], &[])
        .map_err(|error| error.to_string().replace(file.name(), "FILE"))
}

fn source<'a>(given: &'a Given, key: &str) -> &'a str {
    &given
        .values
        .iter()
        .find(|value| value.key == key)
        .unwrap()
        .source
}

#[test]
fn a_flag_counts_more_than_the_environment_that_more_than_a_file_and_that_more_than_a_default() {
    let text = "hot-window = 5\njwt-issuer = 'file'\nguest-rooms = ['a', 'b.*']\n[server]\nhot-window = 1_006\nguests = true\n";
    let file = TestFile::new(&format!("{ADDRESS}{text}"), 0o600);
    let config = format!("--config={}", file.name());

    let (args, given) = load_with(&[&config, "--guest-rooms", "c"], &[]).unwrap();
    assert_eq!((args.hot_window, args.guests), (1006, true));
    assert_eq!(args.jwt_issuer, "common", "the environment");
    assert_eq!(args.guest_rooms, ["c"]);
    assert_eq!(source(&given, "hot-window"), format!("{}:6", file.name()));
    assert_eq!(source(&given, "jwt-issuer"), "environment (CARGO_PKG_NAME)");
    assert_eq!(source(&given, "guest-rooms"), "flag (--guest-rooms)");
    assert_eq!(source(&given, "log-format"), "default");

    // The file by the environment, and a list of its own.
    let (args, _) = load_with(&["--hot-window=7"], &[("RHUBARB_CONFIG", file.name())]).unwrap();
    assert_eq!((args.hot_window, args.guest_rooms.len()), (7, 2));
    assert!(args.config.is_none() && &*args.redis_url == "redis://:s3cret@h:1/0");
}

#[test]
fn what_is_empty_in_the_environment_may_still_be_set_by_a_file() {
    let file = TestFile::new(&format!("{ADDRESS}hot-window = 5\n"), 0o600);
    let secret = TestFile::new("redis://:s3cret@other:1/0\n", 0o600);
    let empty = [("TEST_REDIS_URL", ""), ("TEST_HOT_WINDOW", "")];

    let (args, given) = load_with(&["--config", file.name()], &empty).unwrap();
    assert_eq!(args.hot_window, 5);
    assert_eq!(source(&given, "hot-window"), format!("{}:2", file.name()));
    let by_file = [empty[0], ("TEST_REDIS_URL_FILE", secret.name())];
    let (args, _) = load_with(&["--config", file.name()], &by_file).unwrap();
    assert_eq!(&*args.redis_url, "redis://:s3cret@other:1/0");
}

#[test]
fn what_a_file_may_not_say_is_refused_with_its_place_and_what_is_allowed() {
    for (text, words) in [
        (
            "hot-window = 'many'",
            &["FILE:2: hot-window = many: ", "invalid digit"][..],
        ),
        (
            "\nhot-window = 0",
            &["FILE:3: hot-window = 0: ", "not in 1.."],
        ),
        (
            "hot-window = true",
            &["FILE:2: hot-window is one text or number"],
        ),
        (
            "hot-window = [1]",
            &["FILE:2: hot-window is one text or number"],
        ),
        ("guests = 'yes'", &["FILE:2: guests is true or false"]),
        (
            "guest-rooms = 2020-01-01",
            &["FILE:2: guest-rooms is a text, or a list of texts"],
        ),
        (
            "log-format = 'xml'",
            &["FILE:2: log-format = xml: one of human, json is expected"],
        ),
        (
            "hot_window = 5",
            &["FILE:2: hot_window is no setting; write hot-window"],
        ),
        (
            "colour = 'red'",
            &["FILE:2: colour is no setting", "docs/settings.md"],
        ),
        ("config = 'x'", &["FILE:2: config is no setting"]),
        (
            "[server]\nqueues = 'low=1'",
            &["FILE:3: [server] queues is no setting of this section; it is one of worker"],
        ),
        (
            "[worker]\ncolour = 1",
            &["FILE:3: [worker] colour is no setting"],
        ),
        ("[client]\nx = 1", &["FILE:2: [client] is no section"]),
        ("hot-window = 5\nhot-window = 6", &["FILE:3: duplicate key"]),
        ("hot-window =", &["FILE:2: "]),
    ] {
        let error = load_text(text).map(|_| ()).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(!error.contains("s3cret"), "{error}");
    }
    let missing = load_with(&["--config", "/no/such/file"], &[]).unwrap_err();
    assert!(missing.to_string().contains("/no/such/file: No such file"));
}

#[test]
fn one_file_serves_all_processes() {
    // `queues` is the worker's, by docs/settings.md.
    let (args, _) =
        load_text("queues = 'low=1'\n[worker]\nhot-window = 3\n[queuectl]\nnamespace = 'x'\n")
            .unwrap();
    assert_eq!(args.hot_window, 1000);
}

#[test]
fn a_secret_may_be_in_a_file_of_its_own() {
    let file = TestFile::new("redis://:s3cret@own:1/0\n", 0o600);
    let variable = ("TEST_REDIS_URL_FILE", file.name());

    let (args, given) = load_with(&[], &[variable]).unwrap();
    assert_eq!(&*args.redis_url, "redis://:s3cret@own:1/0");
    assert_eq!(
        source(&given, "redis-url"),
        "environment (TEST_REDIS_URL_FILE)"
    );

    let both = load_with(&[], &[variable, ("TEST_REDIS_URL", "redis://h")]).unwrap_err();
    assert!(both.to_string().contains("both set"));
    let missing = load_with(&[], &[("TEST_REDIS_URL_FILE", "/no/such")]).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("TEST_REDIS_URL_FILE: read /no/such")
    );
}

#[test]
fn a_variable_without_a_value_is_not_set() {
    let (args, _) = load_with(&["--redis-url=redis://h"], &[("CARGO_PKG_NAME", "")]).unwrap();
    assert_eq!(args.jwt_issuer, "nobody");
}

#[test]
fn a_secret_is_shown_nowhere() {
    let file = TestFile::new(ADDRESS, 0o644);
    let config = ["--config", file.name()];

    let (args, given) = load_with(&config, &[]).unwrap();
    let help = load_with(&[config[0], config[1], "--help"], &[]).unwrap_err();
    let mistake = load_with(&[config[0], config[1], "--hot-window", "x"], &[]).unwrap_err();

    for text in [
        format!("{args:?}"),
        format!("{:?}", given.values),
        help.to_string(),
        mistake.to_string(),
    ] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    let shown = given
        .values
        .iter()
        .find(|value| value.key == "redis-url")
        .unwrap();
    assert_eq!(shown.shown, "redis://:***@h:1/0");
    let warning = &given.warnings[0];
    assert!(
        warning.contains("everybody may read it") && warning.contains("chmod 600"),
        "{warning}"
    );
    let private = load_text("").unwrap().1;
    assert!(private.warnings.is_empty());
}
