//! Masters at once, children twice and in any order: each message is moved once, and all is level.

use common::{
    chat::{
        IdRange,
        flush::{FlushChunk, FlushDone, FlushRoom},
        rehydrate::RehydrateChunk,
    },
    id::{MessageId, RoomId},
    queue::{Options, Task},
};

use crate::harness::{Client, Stack};

const ROOM: &str = "stage";
const MESSAGES: usize = 60;

fn room() -> RoomId {
    ROOM.parse().expect("a room's name")
}

/// Somebody who has written all messages and stays.
async fn writer(stack: &Stack, port: u16) -> Client {
    let mut ada = Client::connect(port, "ada").await;
    ada.join(ROOM).await;
    let lines: Vec<_> = (0..MESSAGES).map(|n| format!("line {n}")).collect();
    ada.post_all(ROOM, &lines).await;
    ada.hears(ROOM, "line 59").await;
    stack.idle().await;
    ada
}

/// Ranges of seven ids that overlap by two, the newest first, each twice.
fn ranges_in_disorder(client: &Client) -> Vec<IdRange> {
    let ids: Vec<_> = client.room(ROOM).messages.iter().map(|m| m.id).collect();
    let mut ranges: Vec<_> = (0..ids.len())
        .step_by(5)
        .map(|from| IdRange {
            after: MessageId(ids[from] - 1),
            to: MessageId(ids[(from + 6).min(ids.len() - 1)]),
        })
        .collect();
    ranges.reverse();
    [ranges.clone(), ranges].concat()
}

async fn enqueue<T: Task>(stack: &Stack, jobs: &[T]) {
    let producer = stack.queue.producer();
    let enqueued = producer.enqueue_all(jobs, &Options::default()).await;
    enqueued.expect("jobs that are enqueued");
}

#[tokio::test]
async fn two_flush_masters_at_once_store_each_message_once() {
    let stack = Stack::start().await.with("FLUSH_CHUNK", "4");
    let (server, _workers) = tokio::join!(stack.server(), stack.two_workers());
    let mut ada = writer(&stack, server.port).await;

    let masters: Vec<_> = (0..4).map(|_| FlushRoom { room: room() }).collect();
    enqueue(&stack, &masters).await;
    ada.post(ROOM, "meanwhile").await;
    ada.leave(ROOM).await;

    stack.flushed(ROOM, MESSAGES + 1).await;
    stack.idle().await;
    assert_eq!(stack.total("buried").await, 0);
}

#[tokio::test]
async fn flush_children_may_run_twice_and_in_any_order() {
    let stack = Stack::start().await;
    let (server, _workers) = tokio::join!(stack.server(), stack.two_workers());
    let ada = writer(&stack, server.port).await;

    let children: Vec<_> = ranges_in_disorder(&ada)
        .into_iter()
        .map(|range| FlushChunk {
            room: room(),
            range,
        })
        .collect();
    enqueue(&stack, &children).await;
    stack.idle().await;
    stack.is_what_is_archived(ROOM, &ada).await;

    // What follows may come twice too, and late: the watermark never falls.
    let ids: Vec<_> = ada.room(ROOM).messages.iter().map(|m| m.id).collect();
    for to in [ids[MESSAGES - 1], ids[20], ids[MESSAGES - 1]] {
        let done = FlushDone {
            room: room(),
            after: MessageId::ZERO,
            to: MessageId(to),
            begun_ms: None,
        };
        enqueue(&stack, &[done]).await;
        stack.idle().await;
        stack.flushed(ROOM, MESSAGES).await;
    }
}

#[tokio::test]
async fn rehydrate_children_may_run_twice_and_in_any_order() {
    let stack = Stack::start().await;
    let (server, _workers) = tokio::join!(stack.server(), stack.two_workers());
    let mut ada = writer(&stack, server.port).await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, MESSAGES).await;
    stack.idle().await;
    stack.forget_rooms().await;

    let children: Vec<_> = ranges_in_disorder(&ada)
        .into_iter()
        .map(|range| RehydrateChunk {
            room: room(),
            range,
        })
        .collect();
    enqueue(&stack, &children).await;
    stack.idle().await;
    let log = stack.queue.keys.log(&room());
    let restored: usize = stack.redis(&["ZCARD", &log]).await;
    assert_eq!(restored, MESSAGES);

    // Only what follows a master's children makes the room count as warm.
    let meta = stack.queue.keys.meta(&room());
    let warm: bool = stack.redis(&["HEXISTS", &meta, "hydrated_from"]).await;
    assert!(!warm, "a half-filled room looks complete");
    let mut bob = server.client("bob").await;
    let (joined, ()) = tokio::join!(bob.join(ROOM), enqueue(&stack, &children));
    assert_eq!(joined["complete"], true);
    assert_eq!(joined["more"], false);
    stack.is_what_is_archived(ROOM, &bob).await;

    // Those that come late find all there.
    enqueue(&stack, &children).await;
    stack.idle().await;
    let mut carl = server.client("carl").await;
    carl.join(ROOM).await;
    stack.is_what_is_archived(ROOM, &carl).await;
}
