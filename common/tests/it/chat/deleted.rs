//! Keys of a room that somebody deletes by hand, most of them though it has messages that are not archived yet.

use common::{
    id::{MessageId, RoomId},
    testing::{TestChat, eventually},
};

use super::{Look, assert_chain, by_ada, ids, room};

/// A warm room with three messages, all of them archived.
async fn flushed(chat: &TestChat) -> RoomId {
    let lobby = room("lobby");
    let worker = chat.worker();
    chat.say_many(&lobby, 3).await;
    chat.flush(&lobby).await;
    chat.warm(&lobby).await;
    worker.stop().await;
    lobby
}

/// The same, and two that are not.
async fn half_flushed(chat: &TestChat) -> RoomId {
    let lobby = flushed(chat).await;
    chat.say(&lobby, "new").await;
    chat.say(&lobby, "newer").await;
    lobby
}

async fn forget_that_it_is_dirty(chat: &TestChat, room: &RoomId) {
    let dirty = chat.queue.keys.dirty();
    let gone: usize = chat.queue.command(&["ZREM", &dirty, room.as_str()]).await;
    assert_eq!(gone, 1);
}

/// The next message would say that it follows one that it does not; who missed those between would not
/// notice.
#[tokio::test]
async fn what_follows_the_loss_of_the_meta_follows_the_newest_message() {
    let chat = TestChat::start().await;
    let lobby = half_flushed(&chat).await;
    let _: usize = chat
        .queue
        .command(&["DEL", &chat.queue.keys.meta(&lobby)])
        .await;

    let _worker = chat.worker();
    chat.warm(&lobby).await;
    chat.say(&lobby, "last").await;

    let log = chat.log(&lobby).await;
    assert_eq!(log.len(), 6);
    assert_chain(&log[1..], log[0].id);
    chat.flush(&lobby).await;
    assert_eq!(ids(&chat.archived(&lobby).await), ids(&log));
}

/// So does what follows if somebody has joined meanwhile, and was told from the archive where the room ends.
#[tokio::test]
async fn what_follows_a_join_after_the_loss_of_the_meta_follows_the_newest_message() {
    let chat = TestChat::start().await;
    let lobby = half_flushed(&chat).await;
    let newest = chat.log(&lobby).await.last().unwrap().id;
    let _: usize = chat
        .queue
        .command(&["DEL", &chat.queue.keys.meta(&lobby)])
        .await;

    let opened = chat.chat.log.beginning(&lobby, None, 10).await.unwrap();
    let joined = chat.chat.beginning_further(&lobby, None, 10, opened).await;
    assert_eq!(joined.unwrap().top, newest);

    chat.say(&lobby, "last").await;
    assert_eq!(chat.log(&lobby).await.last().unwrap().prev, newest);
}

#[tokio::test]
async fn a_room_whose_dirty_mark_went_is_flushed_when_the_last_member_leaves() {
    let chat = TestChat::start().await;
    let lobby = half_flushed(&chat).await;
    forget_that_it_is_dirty(&chat, &lobby).await;

    let _worker = chat.worker();
    chat.flush(&lobby).await;

    assert_eq!(chat.archived(&lobby).await.len(), 5);
}

#[tokio::test]
async fn a_room_whose_dirty_mark_went_is_marked_again_while_it_has_members() {
    let chat = TestChat::start().await;
    let lobby = half_flushed(&chat).await;
    forget_that_it_is_dirty(&chat, &lobby).await;

    chat.chat
        .log
        .touch(std::slice::from_ref(&lobby))
        .await
        .unwrap();

    assert!(chat.is_dirty(&lobby).await);
}

#[tokio::test]
async fn a_room_whose_dirty_mark_went_does_not_expire_with_what_is_not_archived() {
    let chat = TestChat::start().await;
    let lobby = half_flushed(&chat).await;
    forget_that_it_is_dirty(&chat, &lobby).await;

    // A rehydration lets the keys of a clean room expire, lest its pieces stay for ever.
    chat.chat.log.begin_rehydration(&lobby).await.unwrap();

    let keys = &chat.queue.keys;
    for key in [keys.log(&lobby), keys.meta(&lobby)] {
        assert_eq!(chat.life_of(&key).await, -1, "{key}");
    }
}

/// Its end is what it should be again, and all before that is missing.
#[tokio::test]
async fn a_log_that_was_deleted_is_not_taken_for_whole_when_a_message_follows() {
    let chat = TestChat::start().await;
    let (lobby, _worker) = (room("lobby"), chat.worker());
    let first = chat.say(&lobby, "first").await;
    chat.flush(&lobby).await;
    chat.warm(&lobby).await;

    let _: usize = chat
        .queue
        .command(&["DEL", &chat.queue.keys.log(&lobby)])
        .await;
    chat.say(&lobby, "next").await;

    let opened = chat.chat.log.beginning(&lobby, None, 10).await.unwrap();
    assert!(!opened.warm);
    let page = chat.chat.older(&lobby, MessageId::MAX, 10).await.unwrap();
    assert_eq!(page.len(), 2);
    let edited = chat.chat.edit(&lobby, first, &by_ada("better")).await;
    edited.unwrap();
}

#[tokio::test]
async fn a_room_whose_unflushed_log_went_leaves_redis_all_the_same() {
    let chat = TestChat::start().await;
    let lobby = half_flushed(&chat).await;
    let _: usize = chat
        .queue
        .command(&["DEL", &chat.queue.keys.log(&lobby)])
        .await;

    let _worker = chat.worker();
    chat.flush(&lobby).await;

    let meta = chat.queue.keys.meta(&lobby);
    eventually("the room rests", async || {
        (chat.life_of(&meta).await > 0).then_some(())
    })
    .await;
}

/// It ends with the newest message again, as a warm log does.
#[tokio::test]
async fn a_room_whose_archived_log_went_is_cold_though_a_message_comes_before_anybody_looks() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let mut said = chat.say_many(&lobby, 3).await;
    chat.flush(&lobby).await;
    chat.warm(&lobby).await;
    let log = chat.queue.keys.log(&lobby);
    let _: usize = chat.queue.command(&["DEL", &log]).await;

    said.push(chat.say(&lobby, "4").await);

    let opened = chat.chat.log.open(&lobby, None, 10).await.unwrap();
    assert!(!opened.warm && !opened.complete, "three are missing");
    chat.warm(&lobby).await;
    let opened = chat.chat.log.open(&lobby, None, 10).await.unwrap();
    assert_eq!(ids(&opened.entries), said);
}

/// What is left of such a log may be a piece that a late child of a rehydration has put there.
#[tokio::test]
async fn a_room_of_whose_log_only_a_piece_is_left_is_cold_when_a_message_follows() {
    let chat = TestChat::start().await;
    let lobby = flushed(&chat).await;
    let (log, meta) = (chat.queue.keys.log(&lobby), chat.queue.keys.meta(&lobby));
    let _: Vec<String> = chat.queue.command(&["ZPOPMAX", &log]).await;

    chat.say(&lobby, "next").await;

    let from: Option<MessageId> = chat.queue.command(&["HGET", &meta, "hydrated_from"]).await;
    assert_eq!(from, None);
    let _worker = chat.worker();
    chat.warm(&lobby).await;
    let log = chat.log(&lobby).await;
    assert_eq!(log.len(), 4);
    assert_chain(&log[1..], log[0].id);
}
