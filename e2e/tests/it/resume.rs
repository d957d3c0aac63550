//! Resends, reloads and reconnects: one id per message, no holes, and a hole that is told.

use crate::harness::{Stack, stack::seen};

const ROOM: &str = "stage";

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("line {n}")).collect()
}

#[tokio::test]
async fn a_resend_through_another_server_gets_the_first_id() {
    let stack = Stack::start().await;
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = first.client("ada").await;
    let mut bob = first.client("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;

    let sent = ada.post_as(ROOM, "my-1", "once").await;
    let mut ada = ada.move_to(second.port).await;
    let resent = ada.post_as(ROOM, "my-1", "once").await;
    let same_id_of_another = bob.post_as(ROOM, "my-1", "mine").await;

    assert!(!sent.duplicate);
    assert!(resent.duplicate);
    assert_eq!(resent.id, sent.id);
    assert!(!same_id_of_another.duplicate);
    bob.hears(ROOM, "mine").await;
    ada.hears(ROOM, "mine").await;
    assert_eq!(ada.texts(ROOM), ["once", "mine"]);
    assert_eq!(bob.texts(ROOM), ["once", "mine"]);
}

#[tokio::test]
async fn who_comes_back_to_another_server_gets_exactly_what_was_missed() {
    let stack = Stack::start().await;
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    bob.post(ROOM, "before").await;
    ada.hears(ROOM, "before").await;
    let cursor = ada.room(ROOM).cursor;
    drop(ada);
    bob.counts_members(ROOM, 1).await;
    bob.post_all(ROOM, &lines(20)).await;

    let mut back = second.client("ada").await;
    let delta = back.join_since(ROOM, Some(cursor)).await;
    let mut reloaded = first.client("ada").await;
    reloaded.join(ROOM).await;

    assert_eq!(delta["complete"], true);
    assert_eq!(back.texts(ROOM), lines(20));
    bob.hears(ROOM, "line 19").await;
    assert_eq!(seen(&reloaded, ROOM), seen(&bob, ROOM));
    let nothing_missed = back.join_since(ROOM, Some(back.room(ROOM).cursor)).await;
    assert_eq!(nothing_missed["complete"], true);
    assert_eq!(nothing_missed["messages"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn who_comes_back_to_a_cold_room_resumes_too() {
    let stack = Stack::start().await.with("FLUSH_CHUNK", "7");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post_all(ROOM, &lines(50)).await;
    ada.hears(ROOM, "line 49").await;
    let tenth = ada.room(ROOM).messages[9].id;
    drop(ada);
    stack.flushed(ROOM, 50).await;
    stack.forget_rooms().await;

    let mut back = server.client("ada").await;
    let delta = back.join_since(ROOM, Some(tenth)).await;

    assert_eq!(delta["complete"], true);
    assert_eq!(back.texts(ROOM), lines(50)[10..]);
}

#[tokio::test]
async fn who_was_away_for_longer_than_redis_remembers_gets_the_rest_from_the_archive() {
    let stack = Stack::start().await.with("HOT_WINDOW", "10");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post_all(ROOM, &lines(50)).await;
    ada.hears(ROOM, "line 49").await;
    let messages = ada.room(ROOM).messages.clone();
    drop(ada);
    stack.flushed(ROOM, 50).await;
    stack.idle().await;

    let mut back = server.client("ada").await;
    let old = back.join_since(ROOM, Some(messages[4].id)).await;
    assert_eq!(old["complete"], true);
    assert_eq!(back.texts(ROOM), lines(50)[5..]);

    // Without the archive that is not to be had, and it is said so: the newest come.
    let held = stack.hold_archive("ACCESS EXCLUSIVE").await;
    let too_old = back.join_since(ROOM, Some(messages[5].id)).await;
    assert_eq!(too_old["complete"], false);
    assert_eq!(too_old["more"], true);
    assert_eq!(back.texts(ROOM), lines(50)[40..]);
    // The last message before the hot window is enough to resume, and one before that is not.
    let mut edge = server.client("ada").await;
    let enough = edge.join_since(ROOM, Some(messages[39].id)).await;
    let not_enough = edge.join_since(ROOM, Some(messages[38].id)).await;
    assert_eq!(enough["complete"], true);
    assert_eq!(not_enough["complete"], false);
    held.release().await;

    // What lies between is to be had over HTTP, without a seam.
    let (missed, more) = server
        .history(ROOM, &format!("after={}&limit=35", messages[4].id))
        .await;
    assert_eq!(missed, messages[5..40]);
    assert!(more);
}
