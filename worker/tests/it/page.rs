//! docs/terminal.md is true: it names every command and no other, and how `queuectl` ends.

use std::collections::BTreeSet;

use crate::desk::{Desk, queuectl, run};

const PAGE: &str = include_str!("../../../docs/terminal.md");

fn help() -> String {
    run(&mut queuectl("", &["--help"])).out
}

#[test]
fn the_page_names_every_command_and_no_other() {
    let help = help();
    let (_, rest) = help.split_once("Commands:\n").expect("a list");
    let (list, _) = rest.split_once("\n\n").expect("its end");
    let commands = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let commands: BTreeSet<_> = commands.collect();
    assert!(commands.len() > 20, "{help}");

    let named = PAGE.split("queuectl ").skip(1);
    let named = named.filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next());
    let named: BTreeSet<_> = named.filter(|word| !word.is_empty()).collect();

    assert_eq!(named, commands);
}

#[tokio::test]
async fn each_exit_code_is_told_and_meant() {
    let help = help();
    let codes = help.split("Exit codes:\n").nth(1).expect("a list");
    for line in codes.lines() {
        assert!(
            PAGE.contains(line.trim()),
            "{line} is not in docs/terminal.md"
        );
    }
    let desk = Desk::set();
    desk.ask(&["enqueue", "demo.a", "--in", "1h"]);
    for (args, code) in [
        (&["status"][..], 0),
        (&["explain", "default+1"], 0),
        (&["explain", "default+2"], 1),
        (&["show", "default+2"], 1),
        (&["retry", "default+2"], 1),
        (&["--redis-url", "redis://127.0.0.1:1", "status"], 1),
        (&["statuses"], 2),
        (&["audit"], 0),
    ] {
        assert_eq!(desk.call(args).code, code, "{args:?}");
    }
    let _: u32 = desk
        .queue
        .command(&["DEL", &desk.queue.keys.scheduled()])
        .await;
    assert_eq!(desk.call(&["audit"]).code, 3);
    desk.ask(&["audit", "--repair", "--by", "ada"]);
    let latest = &desk.ask_json(&["actions"])[0];
    assert_eq!(
        (&latest["by"], &latest["did"]),
        (&"ada".into(), &"repair".into())
    );
}
