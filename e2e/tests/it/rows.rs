//! Frames in a row, sent without waiting for an answer: they are done and answered in their order.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::harness::{Client, Stack};

const ROOM: &str = "stage";

#[tokio::test]
async fn what_is_sent_in_a_row_is_done_and_answered_in_its_order() {
    let stack = Stack::start().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let says = |text: &str| ("message", json!({"roomId": ROOM, "message": text}));

    let row = [
        (says("1"), "ack"),
        (says("2"), "ack"),
        (says(""), "bad_message"),
        (says("3"), "ack"),
        (("ping", json!({})), "pong"),
        (says("4"), "ack"),
        (("leave", json!({"roomId": ROOM})), "left"),
        (says("nobody hears this"), "not_joined"),
        (("join", json!({})), "joined"),
        (says("5"), "ack"),
        (says("6"), "ack"),
    ];
    let mut wanted = Vec::new();
    for ((kind, payload), answer) in row {
        let id = match kind {
            "join" => ada.ask_to_join(ROOM, None).await,
            _ => ada.ask(kind, &payload).await,
        };
        wanted.push((id, answer.to_owned()));
    }

    let mut answers = Vec::new();
    while answers.len() < wanted.len() {
        answers.push(answer(&mut ada).await);
    }
    assert_eq!(answers, wanted);
    ada.hears(ROOM, "6").await;
    assert_eq!(ada.texts(ROOM), ["1", "2", "3", "4", "5", "6"]);
}

#[tokio::test]
async fn what_comes_behind_messages_is_done_after_them() {
    let stack = Stack::start().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let say = |id: u64, text: &str| {
        let frame = json!({"type": "message", "id": id, "payload": {"message": text}});
        Message::text(frame.to_string())
    };

    ada.send_together(vec![
        say(101, "1"),
        Message::Ping(Bytes::new()),
        say(102, "2"),
        Message::binary(vec![7; 200_000]),
        say(103, &"x".repeat(200_000)),
        say(104, "3"),
        Message::Close(None),
    ])
    .await;

    assert_eq!(answer(&mut ada).await, (101, "ack".to_owned()));
    assert_eq!(answer(&mut ada).await, (102, "ack".to_owned()));
    assert_eq!(ada.error_code().await, "bad_frame");
    assert_eq!(ada.error_code().await, "too_large");
    assert_eq!(answer(&mut ada).await, (104, "ack".to_owned()));
    ada.closed().await;
    let mut bob = server.client("bob").await;
    bob.join(ROOM).await;
    assert_eq!(bob.texts(ROOM), ["1", "2", "3"]);
}

#[tokio::test]
async fn what_came_before_a_flood_is_answered() {
    let stack = Stack::start().await.with("FRAME_RATE", "1:20");
    let server = stack.server().await;
    let mut ada = server.client("ada").await;
    let ping = |id| Message::text(json!({"type": "ping", "id": id}).to_string());

    ada.send_together((0..60).map(ping).collect()).await;

    for id in 0..20 {
        assert_eq!(answer(&mut ada).await, (id, "pong".to_owned()));
    }
    let end = ada.closed().await.expect("a reason");
    assert_eq!(u16::from(end.code), 4429, "{}", end.reason);
}

/// The next answer to a frame: its id, and its type or the code of the error.
async fn answer(client: &mut Client) -> (u64, String) {
    let frame = client
        .next("an answer", |frame| frame["id"].is_number())
        .await;
    let told = match &frame["type"] {
        Value::String(kind) if kind != "error" => kind,
        _ => frame["payload"]["code"].as_str().expect("a code"),
    };
    (frame["id"].as_u64().expect("an id"), told.to_owned())
}

#[tokio::test]
async fn messages_in_a_row_stay_in_order_while_others_speak() {
    let stack = Stack::start().await.with("MESSAGE_RATE", "off");
    let stack = stack.with("USER_MESSAGE_RATE", "off");
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let said: Vec<_> = (0..200).map(|number: u32| number.to_string()).collect();
    let mut speakers = Vec::new();
    for name in ["ada", "bob", "cyd", "dan"] {
        let server = if speakers.len() % 2 == 0 {
            &first
        } else {
            &second
        };
        let mut speaker = server.client(name).await;
        speaker.join(ROOM).await;
        speakers.push((name, speaker));
    }

    let speaking = speakers.iter_mut().map(|(name, speaker)| {
        let said: Vec<_> = said.iter().map(|text| format!("{name} {text}")).collect();
        async move { speaker.post_all(ROOM, &said).await }
    });
    futures_util::future::join_all(speaking).await;

    let (_, listener) = &mut speakers[0];
    let all = said.len() * 4;
    listener
        .until("all that was said", ROOM, |seen| seen.messages.len() == all)
        .await;
    let heard = listener.texts(ROOM);
    for (name, _) in &speakers {
        let of_one = heard.iter().filter_map(|text| text.strip_prefix(name));
        let of_one: Vec<_> = of_one.map(str::trim_start).collect();
        assert_eq!(of_one, said, "{name}'s");
    }
}
