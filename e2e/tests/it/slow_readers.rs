//! Readers that do not keep up: they cost a bounded number of bytes, hold up nobody, and get every message
//! once all the same.

use common::testing::PATIENCE;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpSocket, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::harness::{Server, Stack};

const ROOM: &str = "stage";

/// A client that reads only when it is told to, and has little room in the system's buffers.
struct Slow {
    socket: WebSocketStream<tokio::net::TcpStream>,
    seen: Vec<i64>,
}

impl Slow {
    async fn connect(port: u16) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let address = ([127, 0, 0, 1], port).into();
        let stream = socket.connect(address).await.unwrap();
        let url = format!("ws://127.0.0.1:{port}/ws?userId=slow&username=slow");
        let (socket, _) = client_async(url, stream).await.unwrap();
        let seen = Vec::new();
        Self { socket, seen }
    }

    async fn join(&mut self, since: Option<i64>) -> Value {
        let payload = json!({"roomId": ROOM, "since": since, "limit": 1000});
        let join = json!({"type": "join", "payload": payload}).to_string();
        self.socket.send(Message::text(join)).await.unwrap();
        self.until("joined").await
    }

    /// Reads until there is a frame of this type; gives its payload. Messages that come before it
    /// follow one another.
    async fn until(&mut self, kind: &str) -> Value {
        let mut joined = Value::Null;
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await;
            let frame = frame.expect("a frame in time").expect("a connection");
            let Message::Text(text) = frame.unwrap() else {
                continue;
            };
            let frame: Value = serde_json::from_str(&text).unwrap();
            let payload = &frame["payload"];
            match frame["type"].as_str() {
                Some("message") => self.take(payload),
                Some("joined" | "history") => {
                    for message in payload["messages"].as_array().unwrap() {
                        self.take(message);
                    }
                }
                _ => {}
            }
            if frame["type"] == "joined" {
                joined = payload.clone();
            }
            // A history has ended when nothing is to come of it.
            let is_whole = payload["continues"] != true;
            if kind == "joined"
                && is_whole
                && matches!(frame["type"].as_str(), Some("joined" | "history"))
            {
                return joined;
            }
            if frame["type"] == kind && kind != "joined" {
                return payload.clone();
            }
        }
    }

    fn take(&mut self, message: &Value) {
        let last = self.seen.last().copied().unwrap_or(0);
        assert_eq!(message["prev"], last, "a hole or a double: {message}");
        self.seen.push(message["messageId"].as_i64().unwrap());
    }
}

/// How many frames of a kind slow readers of a server did not get.
async fn dropped(server: &Server, what: &str) -> u64 {
    let name = format!("rhubarb_slow_dropped_total{{what=\"{what}\"}} ");
    let metrics = server.get("/metrics").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn who_reads_again_after_a_long_time_resumes_and_has_every_message_once() {
    let stack = Stack::start().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut slow = Slow::connect(server.port).await;
    let mut ada = server.client("ada").await;
    slow.join(None).await;
    ada.join(ROOM).await;

    let mut posted = Vec::new();
    while dropped(&server, "message").await == 0 {
        let text = format!("{} {}", posted.len(), "x".repeat(12_000));
        posted.push(ada.post(ROOM, &text).await.id);
        let typing = json!({"type": "typing", "payload": {"roomId": ROOM}});
        ada.send(&typing.to_string()).await;
        assert!(posted.len() < 5000, "nothing is ever dropped");
    }
    let reset = slow.until("reset").await;
    assert_eq!(reset["reason"], "slow");
    assert_eq!(reset["since"].as_i64(), slow.seen.last().copied());
    assert!(slow.seen.len() < posted.len());
    let joined = slow.join(reset["since"].as_i64()).await;
    posted.push(ada.post(ROOM, "the last").await.id);
    slow.until("message").await;

    assert_eq!(joined["complete"], true);
    assert_eq!(slow.seen, posted);
    assert!(dropped(&server, "typing").await > 0, "typing goes first");
    ada.hears(ROOM, "the last").await;
    assert_eq!(ada.room(ROOM).resets, 0, "nobody else is held up");
}

#[tokio::test]
async fn who_asks_and_reads_no_answers_is_not_heard_until_it_does() {
    let stack = Stack::start().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let slow = Slow::connect(server.port).await;
    let (mut ask, mut read) = slow.socket.split();

    // Far more than all buffers hold: it takes a reader for all to be asked.
    let asks = 100_000;
    let asking = tokio::spawn(async move {
        let id = "x".repeat(60);
        for _ in 0..asks {
            let ping = format!(r#"{{"type":"ping","id":"{id}"}}"#);
            ask.send(Message::text(ping)).await.unwrap();
        }
    });
    let mut answers = 0;
    while answers < asks {
        let frame = timeout(PATIENCE, read.next())
            .await
            .expect("an answer in time");
        let frame = frame.expect("a connection").unwrap();
        answers += u32::from(frame.is_text());
    }

    asking.await.unwrap();
}
