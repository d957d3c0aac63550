//! What clients may get wrong: each gets a clear error, and costs nobody anything.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{
    Client, Stack,
    http::{self, get},
};

const ROOM: &str = "stage";

#[tokio::test]
async fn a_bad_frame_gets_an_error_with_a_code_and_the_connection_lives() {
    let stack = Stack::start().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    let join = |room: &str| json!({"type": "join", "payload": {"roomId": room}}).to_string();
    let post = |payload: serde_json::Value| json!({"type": "message", "payload": payload});

    // Before any room is joined.
    for (frame, code) in [
        ("nonsense".to_owned(), "bad_json"),
        (String::new(), "bad_json"),
        (r#"{"type":"join""#.to_owned(), "bad_json"),
        ("[1, 2]".to_owned(), "bad_frame"),
        ("{}".to_owned(), "bad_frame"),
        (r#"{"type":7}"#.to_owned(), "bad_frame"),
        (r#"{"type":"fly"}"#.to_owned(), "unknown_type"),
        (r#"{"type":"join"}"#.to_owned(), "bad_payload"),
        (r#"{"type":"join","payload":[]}"#.to_owned(), "bad_payload"),
        (join(""), "bad_room"),
        (join("a room"), "bad_room"),
        (join("<b>"), "bad_room"),
        (join(&"x".repeat(65)), "bad_room"),
        (
            json!({"type": "join", "payload": {"roomId": ROOM, "since": "then"}}).to_string(),
            "bad_payload",
        ),
        (post(json!({"message": "hi"})).to_string(), "not_joined"),
        (
            post(json!({"roomId": ROOM, "message": "hi"})).to_string(),
            "not_joined",
        ),
        (r#"{"type":"leave"}"#.to_owned(), "not_joined"),
        (r#"{"type":"typing"}"#.to_owned(), "not_joined"),
    ] {
        ada.send(&frame).await;
        assert_eq!(ada.error_code().await, code, "{frame}");
    }

    ada.join(ROOM).await;
    for (payload, code) in [
        (json!({}), "bad_payload"),
        (json!({"message": 7}), "bad_payload"),
        (json!({"message": ""}), "bad_message"),
        (json!({"message": "x".repeat(16 * 1024 + 1)}), "bad_message"),
        (json!({"message": "a\u{0}b"}), "bad_message"),
        (json!({"message": "hi", "clientId": ""}), "bad_message"),
        (
            json!({"message": "hi", "clientId": "x".repeat(65)}),
            "bad_message",
        ),
        (
            json!({"message": "hi", "roomId": "elsewhere"}),
            "not_joined",
        ),
    ] {
        ada.send(&post(payload.clone()).to_string()).await;
        assert_eq!(ada.error_code().await, code, "{payload}");
    }
    ada.send_raw(Message::binary(vec![0, 159, 146, 150])).await;
    assert_eq!(ada.error_code().await, "bad_frame");
    ada.send(&"x".repeat(1 << 20)).await;
    assert_eq!(ada.error_code().await, "too_large");
    ada.send(&post(json!({"message": "x".repeat(1 << 20)})).to_string())
        .await;
    assert_eq!(ada.error_code().await, "too_large");

    // The same connection works as before, and nothing of all that was kept.
    ada.post(ROOM, "I am still here").await;
    ada.hears(ROOM, "I am still here").await;
    assert_eq!(ada.texts(ROOM), ["I am still here"]);
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 1).await;
}

#[tokio::test]
async fn a_bad_socket_is_closed_with_a_reason_and_the_others_live() {
    let stack = Stack::start().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;

    // Text that is not UTF-8: the protocol demands the end of the connection, with 1007.
    assert_eq!(
        close_code(server.port, &[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]).await,
        1007
    );
    // A frame of a kind that does not exist.
    assert_eq!(
        close_code(server.port, &[0x83, 0x80, 0, 0, 0, 0]).await,
        1002
    );
    // A frame that announces an exabyte.
    let exabyte = [0x81, 0xff, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(close_code(server.port, &exabyte).await, 1009);
    // Far too large, for real.
    let mut carl = Client::connect(server.port, "carl").await;
    carl.send(&"x".repeat(3 << 20)).await;
    let reason = carl.closed().await;
    assert!(reason.is_none_or(|reason| u16::from(reason.code) == 1009));

    ada.post(ROOM, "what was that?").await;
    ada.hears(ROOM, "what was that?").await;
}

/// Sends bytes over a fresh WebSocket; gives the code with which the server closes it.
async fn close_code(port: u16, bytes: &[u8]) -> u16 {
    let mut socket = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    let upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket
        .write_all(upgrade.as_bytes())
        .await
        .expect("an upgrade");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("the answer to an upgrade"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    socket.write_all(bytes).await.expect("bytes are sent");
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert_eq!(answer.first(), Some(&0x88), "no close frame: {answer:?}");
    u16::from_be_bytes([answer[2], answer[3]])
}

#[tokio::test]
async fn a_bad_http_request_gets_an_error_that_says_what_is_wrong() {
    let stack = Stack::start().await;
    let server = stack.server().await;

    for (path, status, code, says) in [
        ("/ws", 426, "upgrade_required", "WebSocket"),
        ("/nowhere", 404, "not_found", "nothing"),
        ("/static/../Cargo.toml", 404, "not_found", "nothing"),
        ("/static/%2e%2e%2fCargo.toml", 404, "not_found", "nothing"),
        ("/rooms/a%20b/messages", 400, "bad_request", "room's name"),
        (
            "/rooms/r/messages?before=x",
            400,
            "bad_request",
            "message's id",
        ),
        (
            "/rooms/r/messages?after=-1",
            400,
            "bad_request",
            "message's id",
        ),
        ("/rooms/r/messages?limit=many", 400, "bad_request", "query"),
        (
            "/rooms/r/messages?before=1&after=2",
            400,
            "bad_request",
            "not both",
        ),
    ] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.body);
        let problem = reply.json();
        assert_eq!(problem["code"], code, "{path}: {problem}");
        let message = problem["message"].as_str().expect("a message");
        assert!(message.contains(says), "{path}: {message}");
    }
    let post = http::send(
        server.port,
        "PUT /rooms/r/messages HTTP/1.1\r\nContent-Length: 0\r\n",
    );
    let post = post.await.expect("an answer");
    assert_eq!(post.status, 405, "{}", post.body);
    assert_eq!(post.json()["code"], "method_not_allowed");
    let long = "x".repeat(65);
    for name in ["userId=a%20b", &format!("username={long}"), "userId=%0a"] {
        let upgrade = format!(
            "GET /ws?{name} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        let refused = http::send(server.port, &upgrade).await.expect("an answer");
        assert_ne!(refused.status, 101, "{name}");
    }
    let live = get(server.port, "/health/live").await.expect("an answer");
    assert_eq!(live.status, 200);
}
