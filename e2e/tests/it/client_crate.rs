//! The client that users get: it goes on by itself over whatever happens to servers.

use client::{AckLevel, Client, Config, Deed, Event, Events, PostError};
use common::testing::PATIENCE;
use tokio::time::timeout;

use crate::harness::{Server, Stack};

const ROOM: &str = "stage";

fn start(user: &str, servers: &[&Server]) -> (Client, Events) {
    let urls = servers
        .iter()
        .map(|server| format!("ws://127.0.0.1:{}/ws", server.port));
    let (client, events) = Client::start(Config::new(urls).user(user, user));
    client.join(ROOM);
    (client, events)
}

/// Reads events until one is `wanted`; gives the texts that came with them, as a user would see them.
async fn until(events: &mut Events, texts: &mut Vec<String>, wanted: impl Fn(&Event) -> bool) {
    loop {
        let event = timeout(PATIENCE, events.next()).await.expect("an event");
        let event = event.expect("a client that goes on");
        match &event {
            Event::Joined {
                resumed, messages, ..
            } => {
                if !resumed {
                    texts.clear();
                }
                texts.extend(messages.iter().map(|message| message.text.clone()));
            }
            Event::Message { message, .. } => texts.push(message.text.clone()),
            _ => {}
        }
        if wanted(&event) {
            return;
        }
    }
}

fn is_joined(event: &Event) -> bool {
    matches!(event, Event::Joined { .. })
}

async fn hears(events: &mut Events, texts: &mut Vec<String>, text: &str) {
    while !texts.iter().any(|heard| heard == text) {
        until(events, texts, |_| true).await;
    }
}

#[tokio::test]
async fn a_client_goes_on_over_the_death_of_its_server() {
    let stack = Stack::start().await;
    let ((mut first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let (ada, mut ada_hears) = start("ada", &[&first]);
    let (bob, mut bob_hears) = start("bob", &[&second]);
    let (mut seen_by_ada, mut seen_by_bob) = (Vec::new(), Vec::new());
    until(&mut ada_hears, &mut seen_by_ada, is_joined).await;
    until(&mut bob_hears, &mut seen_by_bob, is_joined).await;

    ada.post(ROOM, "one").await.expect("an acknowledgement");
    first.process.kill();
    let is_closed = |event: &Event| *event == Event::Closed;
    until(&mut ada_hears, &mut seen_by_ada, is_closed).await;
    // Posted while there is no connection, and missed meanwhile.
    let posting = tokio::spawn({
        let ada = ada.clone();
        async move { ada.post(ROOM, "three").await }
    });
    bob.post(ROOM, "two").await.expect("an acknowledgement");
    first.restart(&stack).await;
    let ack = posting.await.expect("a task").expect("an acknowledgement");

    assert!(!ack.duplicate);
    for (events, texts) in [
        (&mut ada_hears, &mut seen_by_ada),
        (&mut bob_hears, &mut seen_by_bob),
    ] {
        hears(events, texts, "three").await;
        assert_eq!(*texts, ["one", "two", "three"]);
    }
}

#[tokio::test]
async fn a_client_goes_when_its_server_drains_and_not_before() {
    let stack = Stack::start().await.with("DRAIN_SECONDS", "30");
    let (mut server, _worker) = tokio::join!(stack.server(), stack.worker());
    let (ada, mut events) = start("ada", &[&server]);
    let mut texts = Vec::new();
    until(&mut events, &mut texts, is_joined).await;
    ada.post(ROOM, "before").await.expect("an acknowledgement");

    server.terminate();
    let is_sent_away = |event: &Event| matches!(event, Event::GoAway(..));
    until(&mut events, &mut texts, is_sent_away).await;
    ada.post(ROOM, "draining")
        .await
        .expect("an acknowledgement");
    until(&mut events, &mut texts, |event| *event == Event::Closed).await;
    server.restart(&stack).await;
    ada.post(ROOM, "after").await.expect("an acknowledgement");
    hears(&mut events, &mut texts, "after").await;

    assert_eq!(texts, ["before", "draining", "after"]);
}

#[tokio::test]
async fn what_the_server_refuses_is_told_to_who_posted_it() {
    let stack = Stack::start().await;
    let server = stack.server().await;
    let (ada, mut events) = start("ada", &[&server]);
    tokio::spawn(async move { while events.next().await.is_some() {} });

    let refused = ada.post(ROOM, "").await;
    let say = |text: &str| Deed::Say {
        text: text.to_owned(),
        ack: AckLevel::Redis,
    };
    let first = ada.carry_out(ROOM, "own-1", say("hi")).await.unwrap();
    let again = ada.carry_out(ROOM, "own-1", say("hi")).await.unwrap();

    assert!(matches!(refused, Err(PostError::Refused(why)) if why.code == "bad_message"));
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.message_id, again.message_id);
}
