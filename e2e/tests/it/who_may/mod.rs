//! Who may: tokens at the upgrade and as a frame, renewed, expired, for some rooms only; pages elsewhere.

mod renewal;
mod rotation;

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{
    Client, Server, Stack,
    http::{self, refused_upgrade},
};

const ROOM: &str = "stage";
const SECRET: &str = "a secret of tests with thirty-two bytes";

/// A server that takes tokens only.
async fn with_secret() -> Stack {
    let stack = Stack::start().await;
    stack.with("GUESTS", "false").with("JWT_SECRET", SECRET)
}

fn in_seconds(seconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() + seconds
}

/// A token that is good for so many seconds.
fn token_for(seconds: u64, user: &str, rooms: &[&str]) -> String {
    sign(
        &json!({"sub": user, "name": user.to_uppercase(), "rooms": rooms, "exp": in_seconds(seconds)}),
    )
}

fn token(user: &str, rooms: &[&str]) -> String {
    token_for(3600, user, rooms)
}

fn sign(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

async fn enter(server: &Server, user: &str, token: &str) -> Client {
    Client::connect_with(server.port, user, &format!("token={token}")).await
}

/// Sends a token; gives the answer.
async fn authenticate(client: &mut Client, token: &str) -> Value {
    let id = client.ask("auth", &json!({ "token": token })).await;
    client.reply(id).await
}

/// The payload of the answer to a join that is refused.
async fn refused_join(client: &mut Client, room: &str) -> Value {
    let id = client.ask("join", &json!({ "roomId": room })).await;
    let refusal = client.reply(id).await;
    assert_eq!(refusal["type"], "error", "{refusal}");
    refusal["payload"].clone()
}

/// Who wrote a room's messages.
async fn authors(server: &Server, room: &str, token: &str) -> Vec<String> {
    let page = server
        .get(&format!("/rooms/{room}/messages?token={token}"))
        .await;
    let messages = page.json()["messages"].as_array().unwrap().clone();
    let users = messages
        .iter()
        .map(|message| message["userId"].as_str().unwrap().to_owned());
    users.collect()
}

async fn is_error(client: &mut Client, code: &str) -> Value {
    let what = format!("an error {code}");
    let is = |frame: &Value| frame["type"] == "error" && frame["payload"]["code"] == code;
    client.next(&what, is).await
}

#[tokio::test]
async fn a_token_says_who_one_is_in_the_address_the_header_or_a_frame() {
    let stack = with_secret().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let all = token("ada", &["*"]);

    let mut ada = enter(&server, "ada", &all).await;
    let authed = ada
        .next("who it is", |frame| frame["type"] == "authed")
        .await;
    assert_eq!(authed["payload"]["userId"], "ada");
    assert_eq!(authed["payload"]["username"], "ADA");
    assert_eq!(authed["payload"]["tier"], "free");
    assert!(authed["payload"]["expiresInMs"].as_u64().unwrap() > 3_000_000);

    let address = format!("ws://127.0.0.1:{}/ws", server.port);
    let mut request = address.into_client_request().unwrap();
    let bearer = format!("Bearer {}", token("bob", &["*"]));
    request
        .headers_mut()
        .insert("authorization", bearer.parse().unwrap());
    let mut bob = Client::open(request, "bob").await;

    let mut carl = Client::connect_with(server.port, "carl", "").await;
    assert_eq!(refused_join(&mut carl, ROOM).await["code"], "unauthorized");
    carl.send(r#"{"type":"ping","id":"p"}"#).await;
    carl.next("a pong", |frame| frame["type"] == "pong").await;
    let wrong = authenticate(&mut carl, "nonsense").await;
    assert_eq!(wrong["payload"]["code"], "unauthorized");
    let authed = authenticate(&mut carl, &token("carl", &["*"])).await;
    assert_eq!(authed["type"], "authed");
    assert_eq!(authed["payload"]["userId"], "carl");

    for person in [&mut ada, &mut bob, &mut carl] {
        person.join(ROOM).await;
    }
    for (person, text) in [(&mut ada, "a"), (&mut bob, "b"), (&mut carl, "c")] {
        person.post(ROOM, text).await;
    }
    ada.hears(ROOM, "c").await;
    let users = authors(&server, ROOM, &all).await;
    assert_eq!(users, ["ada", "bob", "carl"]);
}

#[tokio::test]
async fn who_has_no_good_token_does_not_come_in() {
    let stack = with_secret().await.with("AUTHENTICATE_WITHIN", "1");
    let server = stack.server().await;
    let other = sign(&json!({"sub": "ada", "exp": 1}));

    for (query, headers, code) in [
        ("token=nonsense", String::new(), "unauthorized"),
        (
            "",
            "authorization: Bearer x.y.z\r\n".to_owned(),
            "unauthorized",
        ),
        ("", format!("authorization: Bearer {other}\r\n"), "expired"),
    ] {
        let refused = refused_upgrade(server.port, query, &headers).await;
        assert_eq!(refused.status, 401, "{}", refused.body);
        assert_eq!(refused.json()["code"], code, "{}", refused.body);
    }
    // No name helps where there are no guests.
    for query in ["", "userId=ada"] {
        let page = server.get(&format!("/rooms/{ROOM}/messages?{query}")).await;
        assert_eq!(page.status, 401);
        assert_eq!(page.json()["code"], "unauthorized");
    }
    let mut silent = Client::connect_with(server.port, "ada", "userId=ada").await;
    let end = silent.closed().await.expect("a reason");
    assert_eq!(u16::from(end.code), 4401, "{}", end.reason);
}

#[tokio::test]
async fn a_token_opens_some_rooms_and_no_others() {
    let stack = with_secret().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let some = token("ada", &["lobby", "team.*"]);
    let mut ada = enter(&server, "ada", &some).await;

    ada.join("lobby").await;
    ada.join("team.a").await;
    for room in ["stage", "lobby2", "team"] {
        let refusal = refused_join(&mut ada, room).await;
        assert_eq!(refusal["code"], "forbidden_room");
        assert_eq!(refusal["roomId"], room);
        let page = server
            .get(&format!("/rooms/{room}/messages?token={some}"))
            .await;
        assert_eq!(page.status, 403);
        assert_eq!(page.json()["code"], "forbidden_room");
    }
    let page = server
        .get(&format!("/rooms/lobby/messages?token={some}"))
        .await;
    assert_eq!(page.status, 200, "{}", page.body);
    let id = ada
        .ask("message", &json!({"roomId": "stage", "message": "hi"}))
        .await;
    assert_eq!(ada.acked(id).await, Err("not_joined".to_owned()));
}

#[tokio::test]
async fn over_http_the_same_tokens_hold() {
    let stack = with_secret().await.with("JWT_LEEWAY", "0");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let look = format!("/rooms/{ROOM}");
    let (messages, events) = (format!("{look}/messages"), format!("{look}/events"));
    let hello = json!({"clientId": "c1", "message": "hello"});
    let elsewhere = token("ada", &["elsewhere"]);

    for (query, status, code) in [
        (String::new(), 401, "unauthorized"),
        ("?userId=ada".to_owned(), 401, "unauthorized"),
        ("?token=nonsense".to_owned(), 401, "unauthorized"),
        (format!("?token={elsewhere}"), 403, "forbidden_room"),
    ] {
        let address = format!("{messages}{query}");
        let post = http::post(server.port, &address, &hello);
        for reply in [
            server.get(&format!("{look}{query}")).await,
            server.get(&format!("{messages}{query}")).await,
            server.get(&format!("{events}{query}")).await,
            post.await.unwrap(),
        ] {
            assert_eq!(reply.status, status, "{query}: {}", reply.body);
            assert_eq!(reply.json()["code"], code, "{query}");
        }
    }
    let ada = token("ada", &[ROOM]);
    let bearer = format!("authorization: Bearer {ada}\r\n");
    let hello = hello.to_string();
    let kept = http::post_raw(server.port, &messages, &bearer, &hello).await;
    assert_eq!(kept.unwrap().status, 201);
    assert_eq!(authors(&server, ROOM, &ada).await, ["ada"]);
    // The answer is whole when the server has ended it, with its token.
    let brief = token_for(6, "bob", &[ROOM]);
    let stream = server.get(&format!("{events}?token={brief}")).await;
    assert_eq!(stream.status, 200);
    assert!(stream.body.contains("hello"), "{}", stream.body);
}

#[tokio::test]
async fn guests_beside_tokens_are_nobody_else() {
    let stack = Stack::start()
        .await
        .with("JWT_SECRET", SECRET)
        .with("GUEST_ROOMS", "lobby");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = enter(&server, "ada", &token("ada", &["*"])).await;
    let mut liar = Client::connect_with(server.port, "liar", "userId=ada&username=Ada").await;
    ada.join("lobby").await;
    liar.join("lobby").await;

    liar.post("lobby", "I am Ada").await;
    ada.hears("lobby", "I am Ada").await;
    let users = authors(&server, "lobby", &token("ada", &["*"])).await;
    assert_eq!(users, ["guest-ada"]);
    assert_eq!(
        refused_join(&mut liar, ROOM).await["code"],
        "forbidden_room"
    );
    let refusal = authenticate(&mut liar, &token("bob", &["*"])).await;
    assert_eq!(refusal["payload"]["code"], "unauthorized", "{refusal}");

    // A client that says who it is by its first frame was a guest until then.
    let mut bob = Client::connect_with(server.port, "bob", "").await;
    let authed = authenticate(&mut bob, &token("bob", &["*"])).await;
    assert_eq!(authed["payload"]["userId"], "bob");
    bob.join(ROOM).await;
}

#[tokio::test]
async fn pages_elsewhere_do_not_come_in_unless_they_are_listed() {
    let stack = Stack::start().await;
    let own = stack.server().await;
    let stack = stack.with("ORIGINS", "https://chat.example,https://*.shop.example");
    let listed = stack.server().await;
    let from = |origin: &str| format!("Origin: {origin}\r\n");
    let page = async |server: &Server, origin: &str| {
        let head = format!("GET /rooms/{ROOM}/messages HTTP/1.1\r\n{}", from(origin));
        http::send(server.port, &head).await.unwrap()
    };
    let own_origin = format!("http://127.0.0.1:{}", own.port);

    for (server, origin) in [
        (&own, "https://evil.example"),
        (&own, "null"),
        (&listed, "https://evil.example"),
        (&listed, &own_origin),
    ] {
        for refused in [
            refused_upgrade(server.port, "", &from(origin)).await,
            page(server, origin).await,
        ] {
            assert_eq!(refused.status, 403, "{origin}: {}", refused.body);
            assert_eq!(refused.json()["code"], "forbidden_origin");
            assert_eq!(refused.header("access-control-allow-origin"), None);
        }
    }
    for (server, origin) in [(&own, &*own_origin), (&listed, "https://a.shop.example")] {
        let address = format!("ws://127.0.0.1:{}/ws", server.port);
        let mut request = address.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("origin", origin.parse().unwrap());
        drop(Client::open(request, "ada").await);
    }
    let shared = page(&listed, "https://chat.example").await;
    assert_eq!(shared.status, 200, "{}", shared.body);
    let allowed = shared.header("access-control-allow-origin");
    assert_eq!(allowed, Some("https://chat.example"));
    let preflight = format!(
        "OPTIONS /rooms/{ROOM}/messages HTTP/1.1\r\n{}Access-Control-Request-Method: POST\r\n",
        from("https://chat.example")
    );
    let preflight = http::send(listed.port, &preflight).await.unwrap();
    assert_eq!(preflight.status, 204);
    let headers = preflight.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization"), "{headers}");
}

#[tokio::test]
async fn the_jobs_of_premium_peoples_rooms_go_first() {
    let stack = with_secret().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let high = async || stack.total("completed:high").await;
    let claims = |user: &str, tier: &str| {
        sign(&json!({"sub": user, "rooms": ["*"], "tier": tier, "exp": in_seconds(3600)}))
    };
    let mut ada = enter(&server, "ada", &claims("ada", "free")).await;
    ada.join("lobby").await;
    ada.post("lobby", "hi").await;
    ada.leave("lobby").await;
    stack.flushed("lobby", 1).await;
    stack.idle().await;
    assert_eq!(high().await, 0);

    let mut bob = enter(&server, "bob", &claims("bob", "premium")).await;
    bob.join(ROOM).await;
    ada.join(ROOM).await;
    bob.leave(ROOM).await;
    ada.post(ROOM, "that was Bob").await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 1).await;
    stack.idle().await;

    let default = stack.total("completed:default").await;
    assert_eq!(high().await, 3, "a master, a child and what follows");
    assert_eq!(default, 3, "the free one's");
}
