//! Long histories: in frames of bounded size, whole, and followed by what is live.

use common::{
    chat::{Content, RoomLog, Settings},
    id::{MessageId, RoomId},
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::harness::{Stack, stack::seen};

const ROOM: &str = "stage";
/// More than a join without a last id may ask for.
const MANY: usize = 12_000;

/// A room with so many messages in Redis; gives the first one's id.
async fn filled(stack: &Stack, count: usize) -> MessageId {
    let queue = &stack.queue;
    let settings = Settings::default();
    let log = RoomLog::new(queue.redis.clone(), queue.keys.clone(), settings);
    let room: RoomId = ROOM.parse().unwrap();
    let ids: Vec<_> = stream::iter(0..count)
        .map(|n| {
            let (log, room) = (log.clone(), room.clone());
            async move {
                let own = n.to_string();
                let content = Content {
                    user_id: "past".into(),
                    username: "past".into(),
                    client_id: own.as_str().into(),
                    message: own.as_str().into(),
                };
                log.append(&room, &content)
                    .await
                    .map(|appended| appended.id)
            }
        })
        .buffered(100)
        .try_collect()
        .await
        .expect("appended");
    ids.into_iter().min().expect("a message")
}

#[tokio::test]
async fn all_that_was_missed_comes_in_frames_of_bounded_size_and_then_what_is_live() {
    let stack = Stack::start().await.with("HOT_WINDOW", "20000");
    let (one, other) = stack.two_servers().await;
    let first = filled(&stack, MANY).await.0;
    let mut bob = other.client("bob").await;
    bob.join(ROOM).await;

    // Nothing is read of the history before the conversation goes on.
    let mut ada = one.client("ada").await;
    ada.ask_to_join_for(ROOM, Some(first), None).await;
    for n in 0..600 {
        bob.post(ROOM, &format!("live {n}")).await;
    }
    ada.hears(ROOM, "live 599").await;

    let seen = ada.room(ROOM);
    assert!(seen.complete);
    assert_eq!((seen.messages.len(), seen.resets), (MANY - 1 + 600, 0));
    let newest = bob.join_for(ROOM, None, Some(10_000)).await;
    assert_eq!(newest["more"], true);
    assert_eq!(bob.room(ROOM).messages.len(), 10_000);
}

#[tokio::test]
async fn all_that_was_missed_comes_from_the_archive_where_redis_has_forgotten_it() {
    let stack = Stack::start().await.with("HOT_WINDOW", "100");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let first = filled(&stack, MANY).await.0;
    let mut bob = server.client("bob").await;
    bob.join(ROOM).await;
    bob.leave(ROOM).await;
    stack.archived(ROOM, MANY).await;
    stack.idle().await;
    bob.join(ROOM).await;

    let mut ada = server.client("ada").await;
    ada.ask_to_join_for(ROOM, Some(first), None).await;
    bob.post(ROOM, "live").await;
    ada.hears(ROOM, "live").await;

    let seen = ada.room(ROOM);
    assert!(seen.complete);
    assert_eq!((seen.messages.len(), seen.resets), (MANY, 0));
}

#[tokio::test]
async fn a_cold_room_is_shown_whole_before_it_is_back_in_redis() {
    let stack = Stack::start().await;
    let worker = stack.worker().await;
    let server = stack.server().await;
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post_all(ROOM, &["one", "two", "three"].map(str::to_owned))
        .await;
    let texts = ["one", "two", "three"];
    ada.hears(ROOM, "three").await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 3).await;
    stack.idle().await;
    drop(worker);
    stack.forget_rooms().await;

    // Nobody brings the room back; what is said in it follows what was said before.
    let (mut ada, mut bob) = (server.client("ada").await, server.client("bob").await);
    let joined = ada.join(ROOM).await;
    assert_eq!(joined["complete"], true);
    assert_eq!(ada.texts(ROOM), texts);
    ada.post(ROOM, "four").await;
    bob.join(ROOM).await;
    bob.post(ROOM, "five").await;
    ada.hears(ROOM, "five").await;
    bob.hears(ROOM, "five").await;

    assert_eq!(ada.texts(ROOM), ["one", "two", "three", "four", "five"]);
    assert_eq!(seen(&ada, ROOM), seen(&bob, ROOM));
    let _worker = stack.worker().await;
    stack.idle().await;
    assert_eq!(ada.room(ROOM).resets, 0, "it had everything");
}
