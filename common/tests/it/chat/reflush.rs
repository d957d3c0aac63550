//! Postgres is back as it was some time ago: what Redis still holds is archived once more, and nothing is believed
//! that is not so.

use common::{
    chat::{
        Settings,
        flush::FlushDone,
        rehydrate::{RehydrateChunk, RehydrateDone},
    },
    id::{MessageId, RoomId},
    testing::TestChat,
};

use super::{Look, NEVER, assert_chain, between, ids, room, windowed};

/// No flush but one that is asked for.
fn quiet() -> Settings {
    Settings {
        flush_age: NEVER,
        ..windowed(1000, 3)
    }
}

async fn lose_from_archive(chat: &TestChat, room: &RoomId, after: MessageId) {
    let sql = format!("DELETE FROM messages WHERE room_id = '{room}' AND id > {after}");
    chat.database.execute(&sql).await;
}

async fn reflush(chat: &TestChat) -> (u64, u64) {
    let done = chat
        .chat
        .log
        .reflush_all(&chat.queue.producer(), |_| {})
        .await
        .unwrap();
    (done.rooms, done.messages)
}

/// Makes a room of so many messages cold, and has its rehydration come as far as these children: each has copied what
/// is after one message up to another, counted from 1; 0 is before the first. Gives the messages, and the
/// rehydration's mark.
async fn half_rehydrate(
    chat: &TestChat,
    room: &RoomId,
    messages: usize,
    children: &[(usize, usize)],
) -> (Vec<MessageId>, String) {
    let worker = chat.worker();
    let said = chat.say_many(room, messages).await;
    chat.flush(room).await;
    chat.expire(room).await;
    let mark = chat.chat.log.begin_rehydration(room).await.unwrap();
    let at = |place: usize| place.checked_sub(1).map_or(MessageId::ZERO, |n| said[n]);
    for &(after, to) in children {
        let piece = RehydrateChunk {
            room: room.clone(),
            range: between(at(after), at(to)),
        };
        chat.queue.producer().enqueue(&piece).await.unwrap();
    }
    chat.is_idle().await;
    worker.stop().await;
    (said, mark)
}

#[tokio::test]
async fn what_a_restored_archive_lacks_is_flushed_once_more() {
    let chat = TestChat::with(quiet()).await;
    let (lobby, hall) = (room("lobby"), room("hall:1"));
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, 10).await;
    chat.say_many(&hall, 2).await;
    chat.flush(&lobby).await;
    chat.flush(&hall).await;
    let before = chat.archived(&lobby).await;
    lose_from_archive(&chat, &lobby, said[4]).await;

    assert_eq!(reflush(&chat).await, (2, 12));
    // Nothing leaves Redis before the archive has it.
    assert_eq!(chat.life_of(&chat.queue.keys.log(&lobby)).await, -1);
    assert_eq!(reflush(&chat).await, (2, 12));
    chat.flush(&lobby).await;
    chat.flush(&hall).await;

    assert_eq!(chat.archived(&lobby).await, before);
    assert_chain(&before, MessageId::ZERO);
    assert_eq!(chat.meta(&lobby).await["watermark"], said[9].to_string());
}

#[tokio::test]
async fn a_flush_that_began_before_does_not_raise_the_watermark() {
    for archived_before in [0, 4] {
        let chat = TestChat::with(quiet()).await;
        let lobby = room("lobby");
        let mut after = MessageId::ZERO;
        if archived_before > 0 {
            let worker = chat.worker();
            after = *chat.say_many(&lobby, archived_before).await.last().unwrap();
            chat.flush(&lobby).await;
            worker.stop().await;
        }
        let to = *chat.say_many(&lobby, 5).await.last().unwrap();
        // Its children stored all of it in the archive that is lost.
        let done = FlushDone {
            begun_ms: None,
            room: lobby.clone(),
            after,
            to,
        };
        chat.queue.producer().enqueue(&done).await.unwrap();

        reflush(&chat).await;
        let _worker = chat.worker();
        chat.is_idle().await;
        assert!(chat.is_dirty(&lobby).await);
        chat.flush(&lobby).await;

        assert_eq!(chat.archived(&lobby).await, chat.log(&lobby).await);
    }
}

#[tokio::test]
async fn pieces_of_a_cold_room_are_archived_and_not_taken_for_all() {
    let chat = TestChat::with(quiet()).await;
    let lobby = room("lobby");
    let (said, _) = half_rehydrate(&chat, &lobby, 9, &[(1, 2), (6, 7)]).await;
    // As a server does that looks into the archive before it lets anybody write.
    let (meta, archived) = (chat.queue.keys.meta(&lobby), said[8].to_string());
    let _: usize = chat
        .queue
        .command(&["HSET", &meta, "top", &archived, "watermark", &archived])
        .await;
    let newest = chat.say(&lobby, "while it was cold").await;
    lose_from_archive(&chat, &lobby, said[5]).await;

    assert_eq!(reflush(&chat).await, (1, 1));
    let opened = chat.chat.log.open(&lobby, None, 100).await.unwrap();
    assert!(!opened.warm && opened.unflushed == 1 && opened.first_unflushed == newest);
    let _worker = chat.worker();
    chat.is_idle().await;
    chat.flush(&lobby).await;
    chat.warm(&lobby).await;

    // The seventh was in Redis alone; the eighth and the ninth were nowhere any more.
    let expected: Vec<_> = said[..7].iter().copied().chain([newest]).collect();
    assert_eq!(ids(&chat.archived(&lobby).await), expected);
    let shown = chat.chat.log.open(&lobby, None, 100).await.unwrap();
    assert_eq!(ids(&shown.entries), expected);
}

#[tokio::test]
async fn pieces_with_nothing_new_are_kept_whoever_comes_meanwhile() {
    let chat = TestChat::with(quiet()).await;
    let lobby = room("lobby");
    half_rehydrate(&chat, &lobby, 4, &[(1, 3)]).await;
    let meta = chat.queue.keys.meta(&lobby);
    let _: usize = chat.queue.command(&["HSET", &meta, "resting", "1"]).await;

    assert_eq!(reflush(&chat).await, (1, 0));
    chat.chat.log.open(&lobby, None, 100).await.unwrap();

    let log = chat.queue.keys.log(&lobby);
    let left: i64 = chat.queue.command(&["PTTL", &log]).await;
    assert!(left > 6 * 24 * 3600 * 1000, "{left} ms");
}

#[tokio::test]
async fn a_rehydration_that_began_before_begins_anew() {
    let chat = TestChat::with(quiet()).await;
    let lobby = room("lobby");
    let (said, mark) = half_rehydrate(&chat, &lobby, 4, &[(0, 4)]).await;
    lose_from_archive(&chat, &lobby, said[1]).await;

    assert_eq!(reflush(&chat).await, (1, 0));
    let done = RehydrateDone {
        begun_ms: None,
        room: lobby.clone(),
        from: MessageId::ZERO,
        newest: said[3],
        count: 4,
        mark,
    };
    chat.queue.producer().enqueue(&done).await.unwrap();
    let _worker = chat.worker();
    chat.is_idle().await;
    chat.warm(&lobby).await;

    assert_eq!(ids(&chat.archived(&lobby).await), said);
    assert_eq!(ids(&chat.log(&lobby).await), said);
}
