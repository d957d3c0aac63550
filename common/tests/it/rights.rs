//! The rights that `kv/rights.rs` names are those that the sources use, and those that docs/deploy.md gives.

use std::{collections::BTreeSet, fs, path::Path};

use common::{config::Process, kv::rights};

const PAGE: &str = include_str!("../../../docs/deploy.md");

/// All files below `folder` with one of these endings, but for tests.
fn sources(folder: &Path, texts: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "testing" && !name.ends_with("_test") {
                sources(&path, texts);
            }
        } else if path
            .extension()
            .is_some_and(|ending| ending == "rs" || ending == "lua")
            && !name.contains("_test")
            && name != "rights.rs"
        {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
}

fn all_sources() -> Vec<String> {
    let mut texts = Vec::new();
    for part in ["common/src", "server/src", "worker/src"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(part);
        sources(&folder, &mut texts);
    }
    texts
}

/// What stands in capitals behind each `start`, up to a quotation mark.
fn words(text: &str, start: &str) -> Vec<String> {
    let ends = text
        .split(start)
        .skip(1)
        .filter_map(|rest| rest.split(['"', '\'']).next());
    ends.map(str::to_ascii_lowercase).collect()
}

#[test]
fn every_command_of_the_sources_is_a_right() {
    let rights: BTreeSet<_> = Process::ALL
        .into_iter()
        .flat_map(rights::of)
        .map(|right| right.name())
        .collect();
    // `CONFIG GET` is asked by --check-config, which does without.
    let known = ["client", "script", "config"];
    let mut lacking = BTreeSet::new();
    for text in all_sources() {
        let starts = [
            "cmd(\"",
            "redis.call('",
            "redis.pcall('",
            "and 'H",
            "{ 'HSCAN",
            "{ 'SSCAN",
        ];
        for name in starts[..3].iter().flat_map(|start| words(&text, start)) {
            if !rights.contains(&*name) && !known.contains(&&*name) {
                lacking.insert(name);
            }
        }
    }
    assert!(lacking.is_empty(), "kv/rights.rs lacks {lacking:?}");
}

#[test]
fn every_right_is_used() {
    let texts = all_sources().join("\n");
    // Of redis-rs: transactions, scripts, subscriptions, and the number of a database.
    let by_the_package = [
        "multi",
        "exec",
        "evalsha",
        "script|load",
        "subscribe",
        "unsubscribe",
        "select",
        "ping",
    ];
    let unused: Vec<_> = Process::ALL
        .into_iter()
        .flat_map(rights::of)
        .map(|right| right.name())
        .filter(|name| !by_the_package.contains(name))
        .filter(|name| {
            let (command, rest) = name.split_once('|').unwrap_or((name, ""));
            let word = if rest.is_empty() { command } else { rest }.to_uppercase();
            !texts.contains(&format!("\"{word}\""))
                && !texts.contains(&format!("'{word}'"))
                && !texts.contains(&format!(".{command}("))
        })
        .collect();
    assert!(unused.is_empty(), "nobody uses {unused:?}");
}

#[test]
fn the_page_gives_these_rights() {
    for process in Process::ALL {
        let [user, rest] = [
            format!("ACL SETUSER rhubarb-{process} reset on >SECRET "),
            rights::user(process, "rhubarb"),
        ];
        let rest = rest.split_once(" reset on ").unwrap().1;
        assert!(
            PAGE.contains(&format!("{user}{rest}\n")),
            "docs/deploy.md lacks:\n{user}{rest}"
        );
    }
}
