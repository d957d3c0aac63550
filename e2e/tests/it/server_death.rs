//! kill -9 of a server with members in its rooms.

use std::collections::BTreeMap;

use crate::harness::{Stack, stack::seen};

const ROOM: &str = "stage";

#[tokio::test]
async fn the_members_of_a_killed_server_fade_and_its_rooms_are_flushed() {
    let stack = Stack::start().await.with("SERVER_LEASE", "1");
    let ((mut doomed, other), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = doomed.client("ada").await;
    let mut bob = other.client("bob").await;
    ada.join(ROOM).await;
    ada.join("alone").await;
    bob.join(ROOM).await;
    bob.counts_members(ROOM, 2).await;
    ada.post(ROOM, "anybody here?").await;
    ada.post("alone", "nobody here").await;

    doomed.process.kill();

    bob.counts_members(ROOM, 1).await;
    stack.flushed("alone", 1).await;
    // Bob is still there.
    bob.post(ROOM, "I am").await;
    bob.hears(ROOM, "I am").await;
    assert_eq!(bob.texts(ROOM), ["anybody here?", "I am"]);
    bob.leave(ROOM).await;
    stack.flushed(ROOM, 2).await;
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_with_its_server_and_a_resend_is_no_double() {
    const MESSAGES: usize = 400;
    let stack = Stack::start().await.with("SERVER_LEASE", "1");
    let ((mut doomed, other), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = doomed.client("ada").await;
    let mut bob = other.client("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;

    // Ada writes without waiting; her server dies when half of it was heard elsewhere.
    let mut asked = BTreeMap::new();
    for n in 0..MESSAGES {
        let client_id = format!("my-{n}");
        asked.insert(
            ada.ask_to_post(ROOM, &client_id, &client_id).await,
            client_id,
        );
    }
    bob.until("some of Ada's messages", ROOM, |seen| {
        seen.messages.len() >= MESSAGES / 2
    })
    .await;
    doomed.process.kill();
    let kept = ada.acks_until_closed().await;

    let mut ada = ada.move_to(other.port).await;
    for (frame, client_id) in &asked {
        let ack = ada.post_as(ROOM, client_id, client_id).await;
        if let Some(id) = kept.get(frame) {
            assert!(ack.duplicate, "{client_id} was acknowledged, and is gone");
            assert_eq!(ack.id, *id);
        }
    }
    for person in [&mut ada, &mut bob] {
        person
            .until("all messages", ROOM, |seen| seen.messages.len() >= MESSAGES)
            .await;
    }
    assert_eq!(seen(&ada, ROOM), seen(&bob, ROOM));
    ada.leave(ROOM).await;
    bob.leave(ROOM).await;
    stack.flushed(ROOM, MESSAGES).await;
    stack.is_what_is_archived(ROOM, &bob).await;
}
