//! docs/redis.md names every key and its type, and each of its recipes answers as it says.

use std::process::Command;

use common::{queue::inspect::list::State, testing::eventually};

use super::Stage;

const PAGE: &str = include_str!("../../../../docs/redis.md");
const ANYWHERE: &str = include_str!("../../../../docs/enqueue-anywhere.md");
const README: &str = include_str!("../../../../README.md");
const KEYS: &str = include_str!("../../../src/kv/keys.rs");

/// The keys of `kv/keys.rs`, as the page writes them, each with its type.
fn keys() -> Vec<(String, String)> {
    let mut keys = Vec::new();
    let mut kind = None;
    for line in KEYS.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix("/// ") {
            kind = kind.or_else(|| comment.split([' ', '.', ':']).next());
        } else if let Some(rest) = line.strip_prefix("format!(\"{}") {
            let name = rest.split('"').next().unwrap_or_default();
            let name = name.replace('{', "<").replace('}', ">");
            keys.extend(kind.map(|kind| (name, kind.to_owned())));
        } else if line.is_empty() {
            kind = None;
        }
    }
    keys
}

#[test]
fn the_page_names_every_key_with_its_type() {
    let keys = keys();
    assert!(keys.len() > 20, "{keys:?}");
    for (name, kind) in &keys {
        // What stands in the braces has several names: a master and a child are jobs, and so on.
        let row = format!("| `{name}` | {kind} |");
        assert!(
            PAGE.contains(&row),
            "docs/redis.md lacks a row that begins with {row}"
        );
    }
    let rows = PAGE.lines().filter(|line| {
        let kind = line.split('|').nth(2).unwrap_or_default().trim();
        ["LIST", "HASH", "ZSET", "SET", "STRING", "STREAM", "CHANNEL"].contains(&kind)
    });
    assert_eq!(
        rows.count(),
        keys.len(),
        "docs/redis.md names a key that is gone"
    );
}

/// A command of the page and the lines that it is to answer.
struct Recipe {
    command: String,
    answer: Vec<String>,
}

fn recipes() -> Vec<Recipe> {
    let blocks = [PAGE, README, ANYWHERE]
        .into_iter()
        .flat_map(|page| page.split("```console\n").skip(1));
    let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
    let mut recipes: Vec<Recipe> = Vec::new();
    for line in lines {
        if let Some(command) = line.strip_prefix("$ ") {
            recipes.push(Recipe {
                command: command.to_owned(),
                answer: Vec::new(),
            });
        } else if let Some(recipe) = recipes.last_mut() {
            recipe.answer.push(line.to_owned());
        }
    }
    recipes
}

/// Whether a line is as the page says, where `…` stands for any text.
fn fits(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn an_ellipsis_stands_for_any_text() {
    assert!(fits("abc", "abc") && fits("abc", "a…") && fits("abc", "…c") && fits("abc", "a…b…"));
    assert!(!fits("abc", "ab") && !fits("abc", "b…") && !fits("abc", "a…b"));
}

/// What the page takes for granted.
async fn known_content(stage: &Stage) {
    let fields = [
        "policy", "continue", "plan", "3", "total", "3", "sealed", "1",
    ];
    stage.command("HSET", "group:low-1", &fields).await;
    stage
        .command("SADD", "group:low-1:left", &["low-3", "low-4"])
        .await;
    let failed = ["low-2", "the disk is on fire"];
    stage.command("HSET", "group:low-1:failed", &failed).await;
    stage
        .command("HSET", "lanes:limits", &["tenant-7", "2"])
        .await;
    stage
        .command("SADD", "slots:tenant-7", &["low+1", "low+2"])
        .await;
    let line = ["1", "low+3", "2", "low+4", "3", "low+5"];
    stage.command("ZADD", "lane:tenant-7", &line).await;
    stage.command("INCRBY", "lanes:waiting", &["3"]).await;
    stage.command("HSET", "flow:3:jobs", &["low-5", "2"]).await;
    let step = r#"{"task":"demo.nothing","queue":"low","well":3,"within":1,"part":1}"#;
    stage
        .command("HSET", "flow:3", &["left:1", "1", "step:2", step])
        .await;
    let kind = "low:demo.unheard_of:2";
    stage.command("SADD", "parked", &[kind]).await;
    let parked = format!("parked:{kind}");
    stage
        .command("ZADD", &parked, &["1790000000000", "low+9"])
        .await;
    let tick = ["last", "1790000000000"];
    stage.command("HSET", "periodic:demo.nothing", &tick).await;
    let meta = [
        "top",
        "1790000000000300",
        "watermark",
        "1790000000000100",
        "fresh",
        "2",
    ];
    stage.command("HSET", "room:lobby:meta", &meta).await;
    for (id, prev) in [(100, 0), (200, 100), (300, 200)] {
        let id = format!("1790000000000{id}");
        let entry = format!("{id} {prev} {{}}");
        stage
            .command("ZADD", "room:lobby:log", &[&id, &entry])
            .await;
    }
    stage
        .command("ZADD", "dirty", &["1790000000000", "lobby"])
        .await;
}

#[tokio::test]
async fn every_recipe_of_the_page_answers_as_it_says() {
    let stage = Stage::set();
    let _worker = stage.one_of_each().await;
    known_content(&stage).await;
    let recipes = recipes();
    assert!(recipes.len() > 20);
    let done_before = stage.total("completed:default").await;
    let ours = |text: &str| text.replace("{rhubarb}", &format!("{{{}}}", stage.queue.namespace));

    for Recipe { command, answer } in recipes {
        let with_address = format!("redis-cli -u {} --no-raw ", stage.queue.url);
        let ran = Command::new("sh")
            .arg("-c")
            .arg(ours(&command).replace("redis-cli ", &with_address))
            .output()
            .expect("a shell");

        let output = String::from_utf8_lossy(&ran.stdout);
        let lines: Vec<_> = output.lines().collect();
        let as_told = lines.len() == answer.len()
            && lines
                .iter()
                .zip(&answer)
                .all(|(line, told)| fits(line, &ours(told)));
        assert!(
            ran.status.success() && as_told,
            "{command}\nanswers\n{output}{}\ninstead of\n{}",
            String::from_utf8_lossy(&ran.stderr),
            answer.join("\n")
        );
    }
    // What docs/enqueue-anywhere.md brings: one job that runs, and one that cannot be a job.
    eventually("it has run", async || {
        (stage.total("completed:default").await == done_before + 1).then_some(())
    })
    .await;
    eventually("the other is dead, with its reason", async || {
        let dead = stage.ids(State::Dead).await;
        dead.contains(&"low+1".to_owned()).then_some(())
    })
    .await;
}
