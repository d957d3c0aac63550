//! What Rhubarb is run with elsewhere: Dockerfile, compose.yaml, systemd units. No engine is needed for this; what they
//! name is there, and what they set is read.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_yaml_ng::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The variables that docs/settings.md lists, and those that name files with secrets.
fn variables() -> BTreeSet<String> {
    let page = read("docs/settings.md");
    let rows = page.lines().filter(|line| line.starts_with("| `--"));
    let names = rows
        .filter_map(|row| row.split('`').nth(3))
        .map(str::to_owned);
    let mut names: BTreeSet<String> = names.collect();
    for secret in [
        "REDIS_URL",
        "DATABASE_URL",
        "JWT_SECRET",
        "JOBS_TOKEN",
        "OPS_TOKENS",
    ] {
        assert!(names.contains(secret));
        names.insert(format!("{secret}_FILE"));
    }
    names
}

/// What processes take to go, by their settings' defaults, in seconds.
fn patience_of(process: &str) -> u64 {
    let page = read("docs/settings.md");
    let default = |flag: &str| {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `--{flag}`")))
            .expect("a setting");
        row.split('`')
            .nth(7)
            .and_then(|text| text.parse::<u64>().ok())
            .expect("a default")
    };
    match process {
        "server" => default("drain") + default("unready"),
        _ => default("shutdown"),
    }
}

#[test]
fn compose_sets_what_is_read_and_waits_for_what_is_needed() {
    let mut compose: Value = serde_yaml_ng::from_str(&read("compose.yaml")).expect("YAML");
    // Once for each level: a server is a process of Rhubarb, and one of them is a server.
    for _ in 0..3 {
        compose.apply_merge().expect("merges");
    }
    let services = compose["services"].as_mapping().expect("services");
    let variables = variables();
    let mut seen = BTreeSet::new();
    for (name, service) in services {
        let name = name.as_str().expect("a name");
        let command = service["command"][0].as_str().unwrap_or_default();
        seen.insert(command.to_owned());
        for after in service["depends_on"]
            .as_mapping()
            .into_iter()
            .flat_map(|after| after.keys())
        {
            assert!(services.contains_key(after), "{name} waits for {after:?}");
        }
        if service["image"] != "rhubarb" {
            assert!(
                !service["healthcheck"].is_null(),
                "{name} has no health check"
            );
            continue;
        }
        for variable in service["environment"]
            .as_mapping()
            .expect("settings")
            .keys()
        {
            let variable = variable.as_str().expect("a name");
            assert!(
                variables.contains(variable),
                "{name} sets {variable}, which nobody reads"
            );
        }
        if command == "server" || command == "worker" {
            let grace = service["stop_grace_period"]
                .as_str()
                .and_then(|text| text.strip_suffix('s'));
            let grace: u64 = grace
                .and_then(|text| text.parse().ok())
                .expect("seconds to go");
            assert!(grace > patience_of(command) + 5, "{name}");
            assert_eq!(
                service["depends_on"]["migrate"]["condition"],
                "service_completed_successfully"
            );
            assert_eq!(
                service["depends_on"]["redis"]["condition"],
                "service_healthy"
            );
        }
    }
    for program in ["server", "worker", "queuectl"] {
        assert!(seen.contains(program), "nothing runs {program}");
    }
    let redis = format!("{:?}", services["redis"]["command"]);
    assert!(
        redis.contains("noeviction") && redis.contains("appendonly"),
        "{redis}"
    );
}

#[test]
fn the_image_is_built_of_files_that_exist_and_runs_as_nobody() {
    let dockerfile = read("Dockerfile");
    let mut user = "root";
    let mut stages = BTreeSet::new();
    for line in dockerfile.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["FROM", image, rest @ ..] => {
                assert!(
                    *image == "scratch" || image.contains(':') && !image.ends_with(":latest"),
                    "{line}: name a version"
                );
                if let ["AS", stage] = rest {
                    stages.insert(*stage);
                }
                user = "root";
            }
            ["USER", name] => user = name,
            ["COPY", files @ .., _to] => match files {
                [from, ..] if from.starts_with("--from=") => {
                    assert!(
                        stages.contains(from.trim_start_matches("--from=")),
                        "{line}"
                    );
                }
                files => {
                    let exists = |file: &&str| root().join(file).exists();
                    assert!(files.iter().all(exists), "{line}: a file that is not there");
                }
            },
            ["ENV", pairs @ ..] => {
                for pair in pairs {
                    let name = pair.split('=').next().expect("a name");
                    assert!(variables().contains(name), "{line}: nobody reads {name}");
                }
            }
            _ => {}
        }
    }
    assert!(
        user.starts_with(|c: char| ('1'..='9').contains(&c)),
        "{user}"
    );
    for word in ["HEALTHCHECK", "--locked", "STOPSIGNAL SIGTERM"] {
        assert!(dockerfile.contains(word), "{word}");
    }
    let ignored = read(".dockerignore");
    assert!(
        ["target", ".rhubarb", ".env"]
            .iter()
            .all(|name| ignored.lines().any(|line| line == *name))
    );
}

#[test]
fn units_set_what_is_read_and_leave_time_to_go() {
    for process in ["server", "worker"] {
        let unit = read(&format!("ops/systemd/rhubarb-{process}@.service"));
        let values = |key: &str| {
            let start = format!("{key}=");
            unit.lines()
                .filter_map(|line| line.strip_prefix(&start))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let credentials: Vec<_> = values("LoadCredential")
            .iter()
            .filter_map(|text| Some(text.split_once(':')?.0.to_owned()))
            .collect();
        for pair in values("Environment")
            .iter()
            .flat_map(|line| line.split(' '))
        {
            let (name, value) = pair.split_once('=').expect("a variable");
            assert!(variables().contains(name), "{process}: nobody reads {name}");
            if let Some(credential) = value.strip_prefix("%d/") {
                assert!(
                    credentials.iter().any(|known| known == credential),
                    "{process}: {pair}"
                );
            }
        }
        let stop: u64 = values("TimeoutStopSec")[0].parse().expect("seconds");
        assert!(stop > patience_of(process) + 5, "{process}");
        for line in [
            "Restart=always",
            "StartLimitIntervalSec=0",
            "DynamicUser=yes",
            "ProtectSystem=strict",
            "NoNewPrivileges=yes",
            "KillSignal=SIGTERM",
        ] {
            assert!(unit.lines().any(|other| other == line), "{process}: {line}");
        }
        assert_eq!(values("ExecStart"), [format!("/opt/rhubarb/{process}")]);
    }
}

#[test]
fn units_are_such_as_systemd_reads() {
    let found = Command::new("systemd-analyze").arg("--version").output();
    if !found.is_ok_and(|found| found.status.success()) {
        println!(
            "no systemd-analyze here: what the units say is looked at by the test beside this one alone"
        );
        return;
    }
    let folder = std::env::temp_dir().join(common::testing::unique("rhubarb-units-"));
    fs::create_dir_all(&folder).expect("a folder for units");
    let mut units = Vec::new();
    for process in ["server", "worker"] {
        let name = format!("rhubarb-{process}@.service");
        // It asks that the program is there.
        let text = read(&format!("ops/systemd/{name}"))
            .replace(&format!("/opt/rhubarb/{process}"), "/bin/true");
        let path = folder.join(name.replace('@', "@1"));
        fs::write(&path, text).expect("a unit");
        units.push(path);
    }
    let checked = Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output()
        .expect("systemd-analyze");
    let told = String::from_utf8_lossy(&checked.stderr);
    let _ = fs::remove_dir_all(&folder);
    assert!(
        checked.status.success() && !told.contains("rhubarb"),
        "{told}"
    );
}
