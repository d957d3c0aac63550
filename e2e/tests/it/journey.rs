//! The main job, end to end: people on two servers talk; when the last one has left, workers move the
//! room to Postgres by a master job and its children; when it is opened again, they bring it back.

use crate::harness::{Client, Stack, stack::seen};

const ROOM: &str = "stage";

/// Messages of one conversation.
const MESSAGES: usize = 100;

#[tokio::test]
async fn a_conversation_goes_to_postgres_and_comes_back_in_chunks_of_ten() {
    Box::pin(there_and_back("10", 10)).await;
}

#[tokio::test]
async fn a_conversation_goes_to_postgres_and_comes_back_one_child_per_message() {
    Box::pin(there_and_back("1", MESSAGES as u64)).await;
}

async fn there_and_back(chunk: &str, children: u64) {
    let stack = Stack::start().await.with("FLUSH_CHUNK", chunk);
    let ((first, second), _workers) = tokio::join!(stack.two_servers(), stack.two_workers());
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    stack.idle().await; // the room was cold: that it is new had to be found out
    let before = stack.total("completed:default").await;

    talk(&mut ada, &mut bob).await;
    assert_eq!(seen(&ada, ROOM), seen(&bob, ROOM));
    assert_eq!(stack.rows(ROOM).await, Some(vec![]), "nobody has left yet");

    // The last one leaves: a master, its children, what follows them.
    ada.leave(ROOM).await;
    bob.leave(ROOM).await;
    let rows = stack.flushed(ROOM, MESSAGES).await;
    stack.idle().await;
    stack.is_what_is_archived(ROOM, &ada).await;
    let flushed = stack.total("completed:default").await;
    assert_eq!(flushed - before, 1 + children + 1);

    // Redis forgets the room; who opens it finds all as it was, live messages after it included.
    stack.forget_rooms().await;
    let joined = ada.join(ROOM).await;
    assert_eq!(
        joined["complete"], true,
        "the room was brought back in time"
    );
    assert_eq!(joined["more"], false);
    assert_eq!(joined["top"], rows.last().expect("rows").id);
    stack.is_what_is_archived(ROOM, &ada).await;
    stack.idle().await;
    let rehydration = stack.total("completed:default").await - flushed;
    assert_eq!(rehydration, 1 + children + 1);

    bob.join(ROOM).await;
    ada.post(ROOM, "where were we?").await;
    bob.hears(ROOM, "where were we?").await;
    ada.hears(ROOM, "where were we?").await;
    assert_eq!(seen(&ada, ROOM), seen(&bob, ROOM));
    assert_eq!(bob.texts(ROOM).len(), MESSAGES + 1);
    for bad in ["buried", "retried", "reaped"] {
        assert_eq!(stack.total(bad).await, 0, "jobs {bad}");
    }
}

/// Two people talk at once until [`MESSAGES`] are said, and both have heard everything.
async fn talk(ada: &mut Client, bob: &mut Client) {
    let lines = |who: &str| -> Vec<String> {
        (0..MESSAGES / 2)
            .map(|n| format!("{who} says {n}"))
            .collect()
    };
    let (hers, his) = (lines("ada"), lines("bob"));
    tokio::join!(ada.post_all(ROOM, &hers), bob.post_all(ROOM, &his));
    for person in [ada, bob] {
        person
            .until("the whole conversation", ROOM, |seen| {
                seen.messages.len() == MESSAGES
            })
            .await;
    }
}

#[tokio::test]
async fn a_room_that_is_flushed_and_idle_leaves_redis_without_a_trace() {
    let stack = Stack::start()
        .await
        .with("ROOM_TTL", "0.5")
        .with("RESEND_WINDOW", "0.5");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post(ROOM, "one").await;
    ada.leave(ROOM).await;

    stack.archived(ROOM, 1).await;

    stack.has_no_room_keys().await;
    ada.join(ROOM).await;
    assert_eq!(ada.texts(ROOM), ["one"]);
}

#[tokio::test]
async fn a_busy_room_is_flushed_while_people_are_in_it_and_keeps_its_hot_window() {
    let stack = Stack::start()
        .await
        .with("FLUSH_COUNT", "20")
        .with("FLUSH_AGE", "1")
        .with("HOT_WINDOW", "10");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    stack.idle().await;

    let lines: Vec<_> = (0..60).map(|n| format!("line {n}")).collect();
    ada.post_all(ROOM, &lines).await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 60).await;

    // What is older than the hot window is read from Postgres, without a seam.
    let mut bob = server.client("bob").await;
    let joined = bob.join(ROOM).await;
    assert_eq!(joined["complete"], true);
    assert_eq!(joined["more"], true);
    assert_eq!(bob.texts(ROOM), lines[50..]);
    let oldest = bob.room(ROOM).messages[0].id;
    let (older, more) = server
        .history(ROOM, &format!("before={oldest}&limit=50"))
        .await;
    let texts: Vec<_> = older.into_iter().map(|message| message.text).collect();
    assert_eq!(texts, lines[..50]);
    assert!(!more);
}

#[tokio::test]
async fn an_old_message_is_flushed_by_age_while_people_stay() {
    let stack = Stack::start().await.with("FLUSH_AGE", "0.3");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;

    ada.post(ROOM, "I stay").await;

    stack.flushed(ROOM, 1).await;
    ada.counts_members(ROOM, 1).await;
}
