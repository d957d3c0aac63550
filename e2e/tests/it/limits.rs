//! Limits: each is told with a code, and holds nobody else up.

use common::testing::{PATIENCE, eventually};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{
    Client, Server, Stack,
    http::{post, refused_upgrade, send},
};

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
async fn pages_of_history_have_a_rate() {
    let stack = Stack::start().await.with("USER_READ_RATE", "1:5");
    let server = stack.server().await;
    let path = format!("/rooms/{ROOM}/messages?userId=ada");

    let pages = (0..MANY).map(|_| server.get(&path));
    let pages = futures_util::future::join_all(pages).await;

    let read = pages.iter().filter(|page| page.status == 200).count();
    assert!((5..MANY).contains(&read), "{read}");
    let refused = pages.iter().find(|page| page.status != 200).unwrap();
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert_eq!(refused.json()["code"], "rate_limited");
    counts(&server, "user_reads").await;
    let other = format!("/rooms/{ROOM}?userId=bob");
    assert_eq!(server.get(&other).await.status, 200, "others may");
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

/// Asks for a WebSocket as a proxy would that has been asked from `address`; gives the status. The socket is the
/// stream's.
async fn upgrade(port: u16, address: &str) -> (u16, TcpStream) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "GET /ws?userId=ada HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         X-Forwarded-For: 203.0.113.9, {address}\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let status = std::str::from_utf8(&answer[9..]).unwrap();
    (status.parse().unwrap(), stream)
}

#[tokio::test]
async fn an_address_has_so_many_connections_behind_a_proxy_that_is_trusted() {
    let stack = Stack::start().await.with("CONNECTIONS_PER_ADDRESS", "2");
    let stack = stack.with("TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.1");
    let server = stack.server().await;
    let mut open = Vec::new();
    let mut statuses = async |addresses: &[&str]| {
        let mut statuses = Vec::new();
        for address in addresses {
            let (status, stream) = upgrade(server.port, address).await;
            statuses.push(status);
            open.push(stream);
        }
        statuses
    };

    let one = statuses(&["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1, 10.1.1.1"]).await;
    let network = statuses(&[
        "2001:db8::1",
        "2001:db8::2:1",
        "2001:db8::3:1",
        "2001:db8:1::1",
    ])
    .await;

    assert_eq!(one, [101, 101, 429, 429]);
    assert_eq!(network, [101, 101, 429, 101]);
    let header = "X-Forwarded-For: 192.0.2.1\r\n";
    let refused = refused_upgrade(server.port, "userId=ada", header).await;
    assert_eq!(refused.json()["code"], "too_many_connections");
    assert!(refused.json()["retryAfterMs"].as_u64().unwrap() > 0);
    assert!(refused.header("retry-after").is_some());
    let stream = format!("GET /rooms/{ROOM}/events?userId=eve HTTP/1.1\r\n{header}");
    assert_eq!(send(server.port, &stream).await.unwrap().status, 429);
    counts(&server, "address_connections").await;
    open.truncate(1);
    let again = async || (upgrade(server.port, "192.0.2.1").await.0 == 101).then_some(());
    eventually("there is room for another", again).await;
}

#[tokio::test]
async fn without_trusted_proxies_nobody_is_believed_where_a_connection_comes_from() {
    let stack = Stack::start().await.with("ADDRESS_CONNECT_RATE", "1:4");
    let server = stack.server().await;

    let mut statuses = Vec::new();
    for n in 0..MANY {
        statuses.push(upgrade(server.port, &format!("192.0.2.{n}")).await.0);
    }

    let connected = statuses.iter().filter(|status| **status == 101).count();
    assert!((4..MANY).contains(&connected), "{connected}");
    counts(&server, "address_connects").await;
    assert_eq!(server.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn another_name_at_each_request_does_not_help_an_address() {
    let stack = Stack::start().await.with("ADDRESS_REQUEST_RATE", "1:5");
    let server = stack.server().await;

    let paths: Vec<_> = (0..MANY)
        .map(|n| format!("/rooms/{ROOM}?userId=guest-{n}"))
        .collect();
    let looks = paths.iter().map(|path: &String| server.get(path));
    let looks = futures_util::future::join_all(looks).await;

    let seen = looks.iter().filter(|look| look.status == 200).count();
    assert!((5..MANY).contains(&seen), "{seen}");
    let refused = looks.iter().find(|look| look.status != 200).unwrap();
    assert_eq!(refused.status, 429, "{}", refused.body);
    counts(&server, "address_requests").await;
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
