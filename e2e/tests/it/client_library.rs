//! The client library for browsers, in a browser. Its unit tests (`e2e/js`) run in Node as well; here
//! they show that nothing hangs on that. And it meets real servers that are killed.

use std::collections::BTreeSet;

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

/// Two people send in turn into `ROOMS`, and keep what they see. They join one room after another, and what is sent
/// while no server is there waits.
const CONVERSATION: &str = "
    const { Rhubarb } = await import('/static/rhubarb.js');
    const sent = [];
    const people = ['ada', 'bob'].map((userId) => {
      const chat = new Rhubarb({ guest: { userId: `guest-${userId}`, username: userId }, transports: [TRANSPORT] });
      chat.connect();
      return chat;
    });
    const texts = (room) => room.messages.map((one) => one.message);
    globalThis.told = () => ({
      sent: sent.length,
      acknowledged: sent.filter((one) => one.ack).length,
      failed: sent.flatMap((one) => one.error ?? []),
    });
    globalThis.seen = () => people.map(({ rooms }) => ROOMS.map((roomId) => texts(rooms.get(roomId))));
    globalThis.whole = () => seen().every((rooms) => rooms.flat().length === 300);
    globalThis.transports = () => people.map((chat) => chat.status.transport);
    globalThis.talking = setInterval(() => {
      const n = sent.length;
      const room = people[n % 2].join(ROOMS[Math.floor(n / 2) % ROOMS.length]);
      const one = { text: `message ${n}` };
      room.send(one.text).then((ack) => (one.ack = ack), (error) => (one.error = error.code));
      sent.push(one);
      if (sent.length === 300) clearInterval(globalThis.talking);
    }, 10);";

#[tokio::test]
async fn what_the_library_sent_is_seen_once_and_in_one_order_though_its_server_is_killed() {
    converse("websocket", &["stage"]).await;
}

#[tokio::test]
async fn without_websockets_it_is_the_same_in_more_rooms_than_a_browser_has_connections() {
    let rooms = [
        "stage", "bar", "foyer", "stalls", "circle", "box", "wings", "pit",
    ];
    converse("events", &rooms).await;
}

/// Has two people talk while their server is killed, stopped, and killed again.
async fn converse(transport: &str, rooms: &[&str]) {
    let stack = Stack::start().await.with("SERVER_LEASE", "1");
    let (browser, mut server, _worker) =
        tokio::join!(Browser::start(), stack.server(), stack.worker());
    let window = browser.window("library").await;
    let test = async |[window]: &[Window; 1]| {
        window.open(&server, "elsewhere").await;
        let conversation = CONVERSATION
            .replace("TRANSPORT", &format!("'{transport}'"))
            .replace("ROOMS", &format!("{rooms:?}"));
        let started = format!("return (async () => {{ {conversation} }})()");
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
        window.finds("whole()", true).await;

        assert_eq!(
            window.run("return told().failed").await,
            Value::Array(Vec::new())
        );
        assert_eq!(
            window.run("return transports()").await,
            serde_json::json!([transport, transport])
        );
        let seen = window.run("return seen()").await;
        assert_eq!(seen[0], seen[1], "one order for both");
        let mut texts = BTreeSet::new();
        for room in seen[0].as_array().expect("rooms") {
            let of_room = room.as_array().expect("texts").iter();
            texts.extend(of_room.map(Value::to_string));
        }
        assert_eq!(texts.len(), 300, "each once");
        let mut archived = 0;
        for room in rooms {
            archived += stack.rows(room).await.unwrap_or_default().len();
        }
        assert!(archived <= 300, "{archived} rows");
    };
    browser.attend([window], test).await;
}
