//! A room's events over HTTP: on the same cursor as a socket, at any server.

use common::testing::eventually;
use serde_json::json;

use crate::harness::{Browser, Events, Stack, browser::Window, stack::seen};

const ROOM: &str = "stage";

#[tokio::test]
async fn a_reader_gets_history_then_what_comes_and_is_a_member() {
    let stack = Stack::start().await;
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = first.client("ada").await;
    ada.join(ROOM).await;
    ada.post(ROOM, "before").await;

    let mut eve = second.events("eve", ROOM).await;
    eve.hears("before").await;
    ada.counts_members(ROOM, 2).await;
    ada.post(ROOM, "after").await;
    eve.hears("after").await;
    eve.until("two members", |seen| seen.members == 2).await;

    assert_eq!(eve.texts(), ["before", "after"]);
    assert_eq!(eve.last_id, Some(eve.seen.cursor.to_string()));
    assert!(eve.retry > 0, "browsers are not to come back all at once");
    drop(eve);
    ada.counts_members(ROOM, 1).await;
}

#[tokio::test]
async fn who_comes_back_to_another_server_while_messages_flow_sees_each_once() {
    const MESSAGES: usize = 300;
    let stack = Stack::start().await;
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = first.client("ada").await;
    ada.join(ROOM).await;
    let texts: Vec<_> = (0..MESSAGES).map(|n| format!("line {n}")).collect();

    let mut eve = first.events("eve", ROOM).await;
    let reads = async {
        let ports = [second.port, first.port];
        for (turn, port) in ports.iter().cycle().take(10).enumerate() {
            let enough = (turn + 1) * MESSAGES / 12;
            eve.until("some more", |seen| seen.messages.len() >= enough)
                .await;
            eve.come_back(*port).await;
        }
        eve.hears(&texts[MESSAGES - 1]).await;
    };
    let writes = async {
        for text in &texts {
            ada.post(ROOM, text).await;
        }
    };
    tokio::join!(reads, writes);

    assert_eq!(eve.texts(), texts);
    assert_eq!(eve.seen.resets, 0);
    ada.hears(ROOM, &texts[MESSAGES - 1]).await;
    let ids: Vec<_> = eve.seen.messages.iter().map(|m| m.id).collect();
    let hers: Vec<_> = seen(&ada, ROOM).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, hers);
}

#[tokio::test]
async fn one_stream_carries_several_rooms_and_goes_on_in_each_of_them() {
    const MESSAGES: usize = 120;
    let stack = Stack::start().await;
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let rooms = ["one", "other", "quiet"];
    let mut ada = first.client("ada").await;
    for room in rooms {
        ada.join(room).await;
    }
    let texts: Vec<_> = (0..MESSAGES).map(|n| format!("line {n}")).collect();

    let mut eve = Events::open_all(first.port, "eve", &rooms).await;
    let has = |eve: &Events, room: &str, count| eve.rooms[room].messages.len() >= count;
    let reads = async {
        for (turn, port) in [second.port, first.port].iter().cycle().take(6).enumerate() {
            let enough = (turn + 1) * MESSAGES / 8;
            while !has(&eve, "one", enough) {
                assert!(eve.next().await.is_some());
            }
            eve.come_back(*port).await;
        }
        while !(has(&eve, "one", MESSAGES) && has(&eve, "other", MESSAGES)) {
            assert!(eve.next().await.is_some());
        }
    };
    let writes = async {
        for text in &texts {
            ada.post("one", text).await;
            ada.post("other", text).await;
        }
    };
    tokio::join!(reads, writes);

    for room in ["one", "other"] {
        let seen: Vec<_> = eve.rooms[room]
            .messages
            .iter()
            .map(|m| m.text.clone())
            .collect();
        assert_eq!(seen, texts, "{room}");
    }
    assert!(eve.rooms["quiet"].messages.is_empty());
    ada.counts_members("quiet", 2).await;
    drop(eve);
    for room in rooms {
        ada.counts_members(room, 1).await;
    }
}

#[tokio::test]
async fn a_stream_of_several_rooms_says_what_is_wrong_with_it() {
    let stack = Stack::start().await.with("ROOMS_PER_CONNECTION", "3");
    let server = stack.server().await;
    let wrong = [
        ("", "1 to 3 rooms"),
        ("room=a&room=b&room=c&room=d", "1 to 3 rooms"),
        ("room=a&room=a", "named twice"),
        ("room=a&room=b/c", "room's name"),
        ("room=a&room=b&since=1", "for each room"),
        ("room=a&room=b&since=1,x", "for each room"),
        ("room=a&limit=many", "`limit`"),
    ];
    for (query, text) in wrong {
        let answer = server.get(&format!("/events?userId=eve&{query}")).await;

        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json()["code"], "bad_request");
        assert!(answer.body.contains(text), "{query}: {}", answer.body);
    }
}

#[tokio::test]
async fn who_was_there_before_the_first_message_misses_nothing_of_what_came_meanwhile() {
    let stack = Stack::start().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let mut eve = server.events("eve", ROOM).await;
    assert_eq!(
        eve.next().await.map(|event| event.kind).as_deref(),
        Some("joined")
    );
    let texts: Vec<_> = (0..200).map(|n| format!("line {n}")).collect();
    ada.post_all(ROOM, &texts).await;

    // More than a newcomer is shown.
    eve.come_back(server.port).await;
    eve.hears("line 199").await;

    assert_eq!(eve.texts(), texts);
}

#[tokio::test]
async fn who_was_away_for_too_long_is_told() {
    let stack = Stack::start().await.with("HOT_WINDOW", "10");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post(ROOM, "old").await;
    let mut eve = server.events("eve", ROOM).await;
    eve.hears("old").await;
    let last_id = eve.last_id.take();
    drop(eve);
    let texts: Vec<_> = (0..50).map(|n| format!("line {n}")).collect();
    ada.post_all(ROOM, &texts).await;
    // Nobody is there any more, so the room is flushed and trimmed.
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 51).await;
    stack.idle().await;

    let mut eve = Events::resume(server.port, "eve", ROOM, last_id).await;
    eve.hears("line 49").await;

    // Either all of it comes, or the reader is told that it does not.
    if eve.seen.resets == 0 {
        assert_eq!(eve.texts(), texts);
    } else {
        assert_eq!(eve.texts(), texts[40..]);
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_costs_a_bounded_number_of_bytes_and_misses_nothing_untold() {
    let stack = Stack::start().await.with("OUTBOX_BYTES", "65536");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let mut eve = Events::open_narrow(server.port, "eve", ROOM).await;
    eve.until("she is there", |seen| seen.complete).await;

    // More than the system takes for her.
    let long = "x".repeat(16_000);
    for n in 0..600 {
        let body = json!({"clientId": n.to_string(), "message": format!("{n} {long}")});
        let posted = server.say("ada", ROOM, "", &body.to_string()).await;
        assert_eq!(posted.status, 201);
    }
    ada.post(ROOM, "last").await;
    loop {
        if eve.next().await.is_none() {
            eve.come_back(server.port).await;
        }
        if eve.seen.messages.last().is_some_and(|m| m.text == "last") {
            break;
        }
    }

    // The transcript holds each message against the one before it.
    if eve.seen.resets == 0 {
        assert_eq!(eve.texts().len(), 601);
    }
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("rhubarb_streams "), "{metrics}");
}

#[tokio::test]
async fn a_browser_goes_on_by_itself_when_its_server_is_replaced() {
    let stack = Stack::start().await.with("DRAIN_SECONDS", "2");
    let (browser, mut server, _worker) =
        tokio::join!(Browser::start(), stack.server(), stack.worker());
    let window = browser.window("eve").await;
    let test = async |[window]: &[Window; 1]| {
        window.open(&server, "elsewhere").await;
        let listen = "
            window.seen = [];
            const events = new EventSource('/rooms/stage/events?userId=eve');
            events.addEventListener('message', (e) => seen.push(JSON.parse(e.data).message));
            for (const kind of ['reset', 'goaway']) events.addEventListener(kind, () => seen.push(kind));
            return new Promise((done) => events.addEventListener('joined', () => done(true)))";
        window.run(listen).await;
        let shows = async |texts: &[&str]| {
            eventually("the browser has seen it", async || {
                (window.run("return seen").await == json!(texts)).then_some(())
            })
            .await;
        };
        let mut ada = server.client("ada").await;
        ada.join(ROOM).await;
        ada.post(ROOM, "before").await;
        shows(&["before"]).await;

        let new = server.beside(&stack).await;
        server.terminate();
        shows(&["before", "goaway"]).await;
        let mut ada = ada.move_to(server.port).await;
        ada.post(ROOM, "meanwhile").await;
        assert_eq!(server.process.exit_code().await, Some(0));
        server.process = new;
        ada.post(ROOM, "after").await;

        // Once each, without a reset; `goaway` has no place among the messages.
        eventually("the browser is back", async || {
            let seen = window
                .run("return seen.filter((text) => text !== 'goaway')")
                .await;
            (seen == json!(["before", "meanwhile", "after"])).then_some(())
        })
        .await;
    };
    browser.attend([window], test).await;
}
