//! Limits: each is told with a code, and holds nobody else up.

use serde_json::{Value, json};

use crate::harness::{
    Client, Server, Stack,
    http::{post, refused_upgrade},
};
use common::testing::eventually;

const ROOM: &str = "stage";
/// More than any limit of these tests lets through, however slow the machine is.
const MANY: usize = 60;

/// Sends many frames at once; gives the answers.
async fn flood(client: &mut Client, kind: &str, payload: impl Fn(usize) -> Value) -> Vec<Value> {
    let mut ids = Vec::new();
    for n in 0..MANY {
        ids.push(client.ask(kind, &payload(n)).await);
    }
    let mut answers = Vec::new();
    for id in ids {
        answers.push(client.reply(id).await);
    }
    answers
}

fn message(n: usize) -> Value {
    json!({"roomId": ROOM, "clientId": format!("c{n}"), "message": "hi"})
}

/// How many were done; all others are to be tried again later.
fn done(answers: &[Value]) -> usize {
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer["type"] == "error")
        .collect();
    for refusal in &refused {
        let payload = &refusal["payload"];
        assert_eq!(payload["code"], "rate_limited", "{payload}");
        assert!(payload["retryAfterMs"].as_u64().unwrap() > 0);
    }
    answers.len() - refused.len()
}

async fn counts(server: &Server, limit: &str) {
    let metrics = server.get("/metrics").await.body;
    let counted = format!("rhubarb_limited_total{{limit=\"{limit}\"}}");
    assert!(metrics.contains(&counted), "no {counted}");
}

#[tokio::test]
async fn messages_of_a_connection_and_of_a_user_have_a_rate() {
    let stack = Stack::start().await.with("MESSAGE_RATE", "1:10");
    let stack = stack.with("USER_MESSAGE_RATE", "1:15");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let (mut ada, mut again) = (server.client("ada").await, server.client("ada").await);
    let mut bob = server.client("bob").await;
    for client in [&mut ada, &mut again, &mut bob] {
        client.join(ROOM).await;
    }

    let first = done(&flood(&mut ada, "message", message).await);
    let second = done(&flood(&mut again, "message", |n| message(MANY + n)).await);

    assert!((10..MANY).contains(&first), "{first}");
    assert!((1..MANY).contains(&second), "{second}");
    counts(&server, "messages").await;
    counts(&server, "user_messages").await;
    bob.post(ROOM, "I am not held up").await;
    let id = ada.ask("ping", &json!({})).await;
    assert_eq!(ada.reply(id).await["type"], "pong", "nor is anything else");
}

#[tokio::test]
async fn messages_over_http_are_counted_too() {
    let stack = Stack::start().await.with("USER_MESSAGE_RATE", "1:5");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let path = format!("/rooms/{ROOM}/messages?userId=ada");

    let posts = (0..MANY).map(|n| {
        let path = path.clone();
        async move { post(server.port, &path, &message(n)).await.unwrap() }
    });
    let replies = futures_util::future::join_all(posts).await;

    let kept = replies.iter().filter(|reply| reply.status == 201).count();
    assert!((5..MANY).contains(&kept), "{kept}");
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_eq!(reply.status, 429, "{}", reply.body);
        assert_eq!(reply.json()["code"], "rate_limited");
        assert!(reply.header("retry-after").is_some());
    }
    counts(&server, "user_messages").await;
}

#[tokio::test]
async fn joins_have_a_rate_and_rooms_a_number() {
    let stack = Stack::start().await.with("JOIN_RATE", "1:5");
    let stack = stack.with("ROOMS_PER_CONNECTION", "3");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    for n in 0..3 {
        ada.join(&format!("room-{n}")).await;
    }

    let id = ada.ask("join", &json!({"roomId": ROOM})).await;
    assert_eq!(ada.reply(id).await["payload"]["code"], "too_many_rooms");
    let answers = flood(&mut ada, "ping", |_| json!({})).await;
    assert_eq!(done(&answers), MANY);
    let mut ids = Vec::new();
    for _ in 0..MANY {
        ids.push(ada.ask_to_join("room-0", None).await);
    }
    let mut answers = Vec::new();
    for id in ids {
        answers.push(ada.reply(id).await);
    }
    assert!(done(&answers) < MANY);
    counts(&server, "joins").await;
    counts(&server, "rooms").await;
}

#[tokio::test]
async fn tokens_are_not_to_be_guessed() {
    let stack = Stack::start().await;
    let secret = "a secret of tests with thirty-two bytes";
    let server = stack.with("JWT_SECRET", secret).server().await;
    let mut ada = Client::connect_with(server.port, "ada", "").await;

    let answers = flood(&mut ada, "auth", |n| json!({"token": format!("guess {n}")})).await;

    let codes: Vec<_> = answers
        .iter()
        .map(|answer| &answer["payload"]["code"])
        .collect();
    let looked_at = codes.iter().filter(|code| **code == "unauthorized").count();
    let refused = codes.iter().filter(|code| **code == "rate_limited").count();
    assert!((5..MANY).contains(&looked_at), "{codes:?}");
    assert_eq!(looked_at + refused, MANY, "{codes:?}");
    counts(&server, "tokens").await;
}

#[tokio::test]
async fn who_floods_is_closed() {
    let stack = Stack::start().await.with("FRAME_RATE", "1:20");
    let server = stack.server().await;
    let (mut ada, mut bob) = (server.client("ada").await, server.client("bob").await);

    for _ in 0..MANY {
        ada.send("nonsense").await;
    }

    let end = ada.closed().await.expect("a reason");
    assert_eq!(u16::from(end.code), 4429, "{}", end.reason);
    counts(&server, "frames").await;
    let id = bob.ask("ping", &json!({})).await;
    bob.reply(id).await;
}

#[tokio::test]
async fn a_user_has_so_many_connections() {
    let stack = Stack::start().await.with("CONNECTIONS_PER_USER", "2");
    let server = stack.server().await;
    let (one, _two) = (server.client("ada").await, server.client("ada").await);

    let refused = refused_upgrade(server.port, "userId=ada", "").await;

    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(refused.json()["code"], "too_many_connections");
    assert!(refused.json()["retryAfterMs"].as_u64().unwrap() > 0);
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7).contains(&seconds));
    drop(server.client("bob").await);
    drop(one);
    let mut third = eventually("there is room for another", async || {
        let address = format!("ws://127.0.0.1:{}/ws?userId=ada", server.port);
        tokio_tungstenite::connect_async(address).await.ok()
    })
    .await;
    third.0.close(None).await.unwrap();
}

#[tokio::test]
async fn a_herd_is_told_to_come_back_later() {
    let stack = Stack::start().await.with("CONNECT_RATE", "1:4");
    let server = stack.server().await;

    let connects = (0..MANY).map(async |n| {
        let address = format!("ws://127.0.0.1:{}/ws?userId=u{n}", server.port);
        tokio_tungstenite::connect_async(address).await.is_ok()
    });
    let connected = futures_util::future::join_all(connects).await;

    let connected = connected.iter().filter(|&&connected| connected).count();
    assert!((4..MANY).contains(&connected), "{connected}");
    let refused = eventually("another is refused", async || {
        let answer = refused_upgrade(server.port, "token=x", "").await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(refused.json()["code"], "rate_limited");
    assert!(refused.header("retry-after").is_some());
    counts(&server, "connects").await;
    let alive = server.get("/health/live").await;
    assert_eq!(alive.status, 200, "all else is answered");
}

#[tokio::test]
async fn a_message_has_a_size() {
    let stack = Stack::start().await.with("MESSAGE_BYTES", "10");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;

    let refused = ada.try_post(ROOM, "c1", "eleven long").await;

    assert_eq!(refused, Err("bad_message".to_owned()));
    counts(&server, "message_bytes").await;
    ada.post(ROOM, "ten bytes.").await;
}
