//! Rehydrate while things break: keys that go, workers that die, a Postgres that is away.

use common::{
    chat::{
        flush::{FlushChunk, FlushDone},
        rehydrate::{RehydrateChunk, RehydrateDone, RehydrateRoom},
    },
    id::{MessageId, RoomId},
    queue::Options,
    testing::{TestChat, eventually},
};

use super::{Look, TableLock, between, ids, room, texts, windowed};

/// A cold room with so many archived messages.
async fn cold_room(chat: &TestChat, count: usize) -> (RoomId, Vec<MessageId>) {
    let lobby = room("lobby");
    let worker = chat.worker();
    let said = chat.say_many(&lobby, count).await;
    chat.flush(&lobby).await;
    chat.is_idle().await;
    worker.stop().await;
    chat.expire(&lobby).await;
    (lobby, said)
}

async fn assert_whole(chat: &TestChat, room: &RoomId, said: &[MessageId]) {
    let opened = chat.chat.log.open(room, None, 1000).await.unwrap();
    assert!(opened.warm && opened.complete && !opened.more);
    assert_eq!(ids(&opened.entries), said);
}

#[tokio::test]
async fn keys_that_go_while_a_room_comes_back_are_brought_back_again() {
    let chat = TestChat::with(windowed(1000, 3)).await;
    let (lobby, said) = cold_room(&chat, 30).await;
    let lock = TableLock::take(&chat).await;

    let _worker = chat.worker();
    chat.chat.ask_rehydrate(&lobby).await.unwrap();
    lock.is_awaited().await;
    lock.release().await;
    // Whatever has been restored by now goes, again and again, and not the room.
    for _ in 0..10 {
        chat.expire(&lobby).await;
        tokio::task::yield_now().await;
    }
    chat.warm(&lobby).await;

    assert_whole(&chat, &lobby, &said).await;
}

#[tokio::test]
async fn a_room_that_lost_what_was_restored_stays_cold_and_is_asked_for_again() {
    let chat = TestChat::start().await;
    let (lobby, said) = cold_room(&chat, 9).await;
    let before = chat.stat("completed:default").await;
    let mark = chat.chat.log.begin_rehydration(&lobby).await.unwrap();
    let _worker = chat.worker();
    let run_child = async || {
        let child = RehydrateChunk {
            room: lobby.clone(),
            range: between(MessageId::ZERO, said[4]),
        };
        chat.queue.producer().enqueue(&child).await.unwrap();
        chat.is_idle().await;
    };
    run_child().await;
    let _: usize = chat
        .queue
        .command(&["DEL", &chat.queue.keys.log(&lobby)])
        .await;

    let done = RehydrateDone {
        room: lobby.clone(),
        from: MessageId::ZERO,
        newest: said[8],
        count: 9,
        mark,
        begun_ms: None,
    };
    chat.queue.producer().enqueue(&done).await.unwrap();
    chat.is_idle().await;

    assert_whole(&chat, &lobby, &said).await;
    let ran = chat.stat("completed:default").await - before;
    assert!(ran > 3, "a second master ran");
}

#[tokio::test]
async fn what_was_flushed_and_expired_since_the_master_looked_is_not_forgotten() {
    let chat = TestChat::start().await;
    let (lobby, said) = cold_room(&chat, 9).await;
    // The master looks at the archive …
    let mark = chat.chat.log.begin_rehydration(&lobby).await.unwrap();
    let worker = chat.worker();
    // … then a message comes, is flushed, and leaves Redis with the room …
    let late = chat.say(&lobby, "late").await;
    chat.flush(&lobby).await;
    chat.expire(&lobby).await;

    // … and then the children run, and what follows them.
    let child = RehydrateChunk {
        room: lobby.clone(),
        range: between(MessageId::ZERO, said[8]),
    };
    chat.queue.producer().enqueue(&child).await.unwrap();
    chat.is_idle().await;
    let done = RehydrateDone {
        room: lobby.clone(),
        from: MessageId::ZERO,
        newest: said[8],
        count: 9,
        mark,
        begun_ms: None,
    };
    chat.queue.producer().enqueue(&done).await.unwrap();
    chat.is_idle().await;
    worker.stop().await;

    assert_whole(&chat, &lobby, &[said, vec![late]].concat()).await;
}

#[tokio::test]
async fn a_log_that_lost_its_newest_message_is_not_taken_for_whole() {
    let chat = TestChat::start().await;
    let (lobby, said) = cold_room(&chat, 3).await;
    let mark = chat.chat.log.begin_rehydration(&lobby).await.unwrap();
    let _worker = chat.worker();
    let late = chat.say(&lobby, "late").await;
    chat.flush(&lobby).await;
    let _: usize = chat
        .queue
        .command(&["DEL", &chat.queue.keys.log(&lobby)])
        .await;

    let child = RehydrateChunk {
        room: lobby.clone(),
        range: between(MessageId::ZERO, said[2]),
    };
    chat.queue.producer().enqueue(&child).await.unwrap();
    chat.is_idle().await;
    let done = RehydrateDone {
        room: lobby.clone(),
        from: MessageId::ZERO,
        newest: said[2],
        count: 3,
        mark,
        begun_ms: None,
    };
    chat.queue.producer().enqueue(&done).await.unwrap();
    chat.is_idle().await;

    assert_whole(&chat, &lobby, &[said, vec![late]].concat()).await;
}

#[tokio::test]
async fn an_unflushed_message_that_was_deleted_by_hand_does_not_keep_its_room_cold() {
    let chat = TestChat::start().await;
    let (lobby, said) = cold_room(&chat, 3).await;
    chat.say(&lobby, "lost").await;
    let _: usize = chat
        .queue
        .command(&["DEL", &chat.queue.keys.log(&lobby)])
        .await;

    let _worker = chat.worker();
    chat.warm(&lobby).await;
    chat.is_idle().await;

    assert_whole(&chat, &lobby, &said).await;
    let next = chat.say(&lobby, "next").await;
    assert_whole(&chat, &lobby, &[said, vec![next]].concat()).await;
}

#[tokio::test]
async fn masters_at_once_bring_a_room_back_once() {
    let chat = TestChat::with(windowed(1000, 2)).await;
    let (lobby, said) = cold_room(&chat, 40).await;
    let masters: Vec<_> = (0..6)
        .map(|_| RehydrateRoom {
            room: lobby.clone(),
        })
        .collect();

    let (_one, _other) = (chat.worker(), chat.worker());
    let options = Options::default();
    let queue = chat.queue.producer();
    queue.enqueue_all(&masters, &options).await.unwrap();
    chat.is_idle().await;

    assert_whole(&chat, &lobby, &said).await;
}

#[tokio::test]
async fn a_master_that_was_killed_half_way_is_finished_by_another_worker() {
    let chat = TestChat::with(windowed(1000, 2)).await;
    let (lobby, said) = cold_room(&chat, 20).await;
    let lock = TableLock::take(&chat).await;
    let victim = chat.worker();
    chat.chat.ask_rehydrate(&lobby).await.unwrap();
    lock.is_awaited().await;

    victim.vanish().await;
    lock.release().await;
    let _other = chat.worker();
    chat.is_idle().await;

    assert_whole(&chat, &lobby, &said).await;
}

#[tokio::test]
async fn a_rehydration_goes_on_when_postgres_is_back() {
    let chat = TestChat::with(windowed(1000, 4)).await;
    let (lobby, said) = cold_room(&chat, 9).await;
    chat.database
        .execute("ALTER TABLE messages RENAME TO away")
        .await;
    let before = chat.stat("enqueued:default").await;
    let _worker = chat.worker();

    chat.chat.ask_rehydrate(&lobby).await.unwrap();
    eventually("the master has failed twice", async || {
        (chat.stat("retried").await >= 2).then_some(())
    })
    .await;
    chat.chat.ask_rehydrate(&lobby).await.unwrap();
    let masters = chat.stat("enqueued:default").await - before;
    let new = chat.say(&lobby, "new").await;
    chat.database
        .execute("ALTER TABLE away RENAME TO messages")
        .await;
    chat.is_idle().await;

    assert_eq!(masters, 1, "one goes on trying");
    assert_whole(&chat, &lobby, &[said, vec![new]].concat()).await;
}

/// Children of a flush commit in any order, so the archive can end with a message while an older one is
/// still on its way.
#[tokio::test]
async fn a_room_comes_back_while_its_flush_is_half_done() {
    let chat = TestChat::with(windowed(1000, 3)).await;
    let (lobby, mut said) = cold_room(&chat, 3).await;
    let _worker = chat.worker();
    for number in 4..=9 {
        said.push(chat.say(&lobby, &number.to_string()).await);
    }
    let later_half = FlushChunk {
        room: lobby.clone(),
        range: between(said[5], said[8]),
    };
    chat.queue.producer().enqueue(&later_half).await.unwrap();
    chat.is_idle().await;

    chat.warm(&lobby).await;
    assert_whole(&chat, &lobby, &said).await;
    let first_half = FlushChunk {
        room: lobby.clone(),
        range: between(said[2], said[5]),
    };
    chat.queue.producer().enqueue(&first_half).await.unwrap();
    chat.is_idle().await;
    let done = FlushDone {
        room: lobby.clone(),
        after: MessageId::ZERO,
        to: said[8],
        begun_ms: None,
    };
    chat.queue.producer().enqueue(&done).await.unwrap();
    chat.is_idle().await;

    assert_eq!(ids(&chat.archived(&lobby).await), said);
    assert_eq!(texts(&chat.archived(&lobby).await).len(), 9);
    assert!(!chat.is_dirty(&lobby).await);
    assert_whole(&chat, &lobby, &said).await;
}

/// The same, where the hot window reaches down to the later half only.
#[tokio::test]
async fn what_no_archive_has_yet_is_seen_below_the_window_of_a_room_that_came_back() {
    for (archived, is_deleted) in [(3, false), (0, false), (4, true)] {
        let chat = TestChat::with(windowed(2, 3)).await;
        let (lobby, mut said) = cold_room(&chat, archived - usize::from(is_deleted)).await;
        let _worker = chat.worker();
        if is_deleted {
            // Or it is cold because somebody deleted its log, when all was archived.
            chat.warm(&lobby).await;
            said.push(chat.say(&lobby, "one more").await);
            chat.flush(&lobby).await;
            chat.is_idle().await;
            let log = chat.queue.keys.log(&lobby);
            let _: usize = chat.queue.command(&["DEL", &log]).await;
            let gone = chat.chat.log.open(&lobby, None, 1).await.unwrap();
            assert!(!gone.warm);
        }
        for number in 1..=6 {
            said.push(chat.say(&lobby, &format!("new {number}")).await);
        }
        let new = &said[archived..];
        let later_half = FlushChunk {
            room: lobby.clone(),
            range: between(new[2], new[5]),
        };
        chat.queue.producer().enqueue(&later_half).await.unwrap();
        chat.is_idle().await;

        chat.chat.ask_rehydrate(&lobby).await.unwrap();
        chat.is_idle().await;

        let opened = chat.chat.log.open(&lobby, None, 1000).await.unwrap();
        assert!(opened.warm, "{archived} archived");
        let page = chat.chat.older(&lobby, MessageId::MAX, 100).await.unwrap();
        assert_eq!(ids(&page), said, "{archived} archived");
        let since = chat.chat.log.open(&lobby, Some(new[0]), 100).await.unwrap();
        assert_eq!(
            (since.complete, ids(&since.entries)),
            (true, new[1..].to_vec())
        );
    }
}
