//! The client library for browsers, in a browser. Its unit tests (`e2e/js`) run in Node as well; here
//! they show that nothing hangs on that. And it meets real servers that are killed.

use common::testing::eventually;
use serde_json::Value;

use crate::harness::{Browser, Stack, browser::Window};

#[tokio::test]
async fn the_unit_tests_of_the_client_library_pass_in_a_browser() {
    let browser = Browser::start().await;
    let window = browser.window("unit-tests").await;
    browser
        .attend([window], async |[window]| {
            let page = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/js/tests.html");
            window.goto(page).await;

            let outcome = eventually("the tests have run", async || {
                let outcome = window.run("return globalThis.outcome ?? null").await;
                (outcome != Value::Null).then_some(outcome)
            })
            .await;

            assert_eq!(outcome["failures"], Value::Array(Vec::new()));
            assert!(outcome["count"].as_u64() > Some(40), "{outcome}");
        })
        .await;
}

/// Two people send in turn, and keep what they see. What is sent while no server is there waits.
const CONVERSATION: &str = "
    const { Rhubarb } = await import('/static/rhubarb.js');
    const sent = [];
    const people = ['ada', 'bob'].map((userId) => {
      const chat = new Rhubarb({ guest: { userId: `guest-${userId}`, username: userId } });
      const room = chat.join('stage');
      chat.connect();
      return room;
    });
    globalThis.told = () => ({
      sent: sent.length,
      acknowledged: sent.filter((one) => one.ack).length,
      failed: sent.flatMap((one) => one.error ?? []),
    });
    globalThis.seen = () => people.map((room) => room.messages.map((one) => one.message));
    globalThis.talking = setInterval(() => {
      const one = { text: `message ${sent.length}` };
      people[sent.length % 2].send(one.text).then((ack) => (one.ack = ack), (error) => (one.error = error.code));
      sent.push(one);
      if (sent.length === 300) clearInterval(globalThis.talking);
    }, 10);";

#[tokio::test]
async fn what_the_library_sent_is_seen_once_and_in_one_order_though_its_server_is_killed() {
    let stack = Stack::start().await.with("SERVER_LEASE", "1");
    let (browser, mut server, _worker) =
        tokio::join!(Browser::start(), stack.server(), stack.worker());
    let window = browser.window("library").await;
    let test = async |[window]: &[Window; 1]| {
        window.open(&server, "elsewhere").await;
        let started = format!("return (async () => {{ {CONVERSATION} }})()");
        window.run(&started).await;
        for (kill, acknowledged) in [30, 90, 150].into_iter().enumerate() {
            window
                .finds(&format!("told().acknowledged >= {acknowledged}"), true)
                .await;
            // Killed, and stopped in an orderly way.
            if kill % 2 == 0 {
                server.process.kill();
            } else {
                server.terminate();
            }
            server.restart(&stack).await;
        }

        window
            .finds("told().acknowledged + told().failed.length", 300)
            .await;
        window
            .finds("seen().every((one) => one.length === 300)", true)
            .await;

        assert_eq!(
            window.run("return told().failed").await,
            Value::Array(Vec::new())
        );
        let seen = window.run("return seen()").await;
        assert_eq!(seen[0], seen[1], "one order for both");
        let rows = stack.rows("stage").await.unwrap_or_default();
        assert!(rows.len() <= 300, "{} rows", rows.len());
        let texts: std::collections::BTreeSet<_> = seen[0]
            .as_array()
            .expect("texts")
            .iter()
            .map(Value::to_string)
            .collect();
        assert_eq!(texts.len(), 300, "each once");
    };
    browser.attend([window], test).await;
}
