//! Flush: what is new goes to the archive once, in ranges; who asks for it, and when.

use std::time::Duration;

use common::{
    chat::{
        Settings,
        flush::{FlushChunk, FlushDone, FlushRoom, Sweep},
    },
    id::{BootId, MessageId},
    testing::{TestChat, eventually},
};

use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::{Look, NEVER, between, ids, room, windowed};

#[tokio::test]
async fn a_room_is_archived_as_it_was_said_in_chunks_of_any_size() {
    for (chunk, children) in [(1, 23), (7, 4), (23, 1), (500, 1)] {
        let chat = TestChat::with(windowed(1000, chunk)).await;
        let lobby = room("lobby");
        let _worker = chat.worker();
        let said = chat.say_many(&lobby, 23).await;

        chat.flush(&lobby).await;
        chat.is_idle().await;

        let log = chat.log(&lobby).await;
        assert_eq!(ids(&log), said);
        assert_eq!(chat.archived(&lobby).await, log, "in chunks of {chunk}");
        assert_eq!(chat.stat("completed:default").await, children + 2);
        assert_eq!(chat.meta(&lobby).await["watermark"], said[22].to_string());
    }
}

#[tokio::test]
async fn only_what_is_new_is_flushed_again() {
    let chat = TestChat::with(windowed(1000, 1)).await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.say_many(&lobby, 5).await;
    chat.flush(&lobby).await;

    let last = chat.say(&lobby, "6").await;
    chat.flush(&lobby).await;
    chat.is_idle().await;

    assert_eq!(ids(&chat.archived(&lobby).await).last(), Some(&last));
    // Two masters, two ends, and a child for each message.
    assert_eq!(chat.stat("completed:default").await, 4 + 6);
}

#[tokio::test]
async fn children_may_run_twice_and_in_any_order() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let said = chat.say_many(&lobby, 9).await;
    let child = |after: MessageId, to: MessageId| FlushChunk {
        room: lobby.clone(),
        range: between(after, to),
    };
    let (first, second, third) = (
        (MessageId::ZERO, said[2]),
        (said[2], said[5]),
        (said[5], said[8]),
    );

    let _worker = chat.worker();
    for (after, to) in [third, first, third, second, first, second] {
        let child = child(after, to);
        chat.queue.producer().enqueue(&child).await.unwrap();
        chat.is_idle().await;
    }

    assert_eq!(chat.archived(&lobby).await, chat.log(&lobby).await);
}

#[tokio::test]
async fn what_somebody_has_stored_in_part_is_stored_whole() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    for number in 0..200 {
        chat.say(&lobby, &number.to_string()).await;
    }
    let log = chat.log(&lobby).await;
    let archive = &chat.chat.archive;

    assert_eq!(archive.insert(&lobby, &log[40..41]).await.unwrap(), 1);
    assert_eq!(archive.insert(&lobby, &log[..100]).await.unwrap(), 99);
    // Somebody stores one of the rest, and nobody sees it until it is committed.
    let mut other = chat.database.connect().await;
    let one = &log[150];
    let store_one = format!(
        "BEGIN; INSERT INTO messages (room_id, id, prev_id, user_id, username, client_id, body) \
         VALUES ('{lobby}', {}, {}, 'ada', 'Ada', '', '')",
        one.id, one.prev
    );
    other.batch_execute(&store_one).await.unwrap();
    let commit = async {
        let awaited = "SELECT 1 FROM pg_locks \
             WHERE NOT granted AND transactionid = pg_current_xact_id()::xid";
        while diesel::sql_query(awaited)
            .execute(&mut other)
            .await
            .unwrap()
            == 0
        {
            tokio::task::yield_now().await;
        }
        other.batch_execute("COMMIT").await.unwrap();
    };
    let (stored, ()) = tokio::join!(archive.insert(&lobby, &log[100..]), commit);

    assert_eq!(stored.unwrap(), 99);
    assert_eq!(ids(&chat.archived(&lobby).await), ids(&log));
}

#[tokio::test]
async fn masters_at_once_store_each_message_once() {
    let chat = TestChat::with(windowed(1000, 2)).await;
    let lobby = room("lobby");
    chat.say_many(&lobby, 40).await;
    let masters: Vec<_> = (0..6)
        .map(|_| FlushRoom {
            room: lobby.clone(),
        })
        .collect();

    let (_one, _other) = (chat.worker(), chat.worker());
    let options = common::queue::Options::default();
    let queue = chat.queue.producer();
    queue.enqueue_all(&masters, &options).await.unwrap();
    chat.is_flushed(&lobby).await;
    chat.is_idle().await;

    assert_eq!(chat.archived(&lobby).await, chat.log(&lobby).await);
    assert!(!chat.is_dirty(&lobby).await);
}

#[tokio::test]
async fn the_watermark_is_never_lowered() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, 5).await;
    chat.flush(&lobby).await;

    let late = FlushDone {
        room: lobby.clone(),
        after: MessageId::ZERO,
        to: said[1],
        begun_ms: None,
    };
    chat.queue.producer().enqueue(&late).await.unwrap();
    chat.is_idle().await;

    assert_eq!(chat.meta(&lobby).await["watermark"], said[4].to_string());
    assert!(!chat.is_dirty(&lobby).await);
}

#[tokio::test]
async fn only_what_is_archived_is_trimmed_to_the_hot_window() {
    let chat = TestChat::with(windowed(10, 500)).await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.warm(&lobby).await;
    let said = chat.say_many(&lobby, 30).await;

    // Word comes of the first five only.
    let part = FlushDone {
        room: lobby.clone(),
        after: MessageId::ZERO,
        to: said[4],
        begun_ms: None,
    };
    chat.queue.producer().enqueue(&part).await.unwrap();
    chat.is_idle().await;
    let in_between = ids(&chat.log(&lobby).await);
    let still_dirty = chat.is_dirty(&lobby).await;
    chat.flush(&lobby).await;

    assert_eq!(in_between, said[5..], "what is not archived stays");
    assert!(still_dirty);
    assert_eq!(ids(&chat.log(&lobby).await), said[20..]);
    let meta = chat.meta(&lobby).await;
    assert_eq!(meta["hydrated_from"], said[20].to_string());
    assert_eq!(meta["fresh"], "0");
}

#[tokio::test]
async fn a_cold_log_is_not_trimmed() {
    let chat = TestChat::with(windowed(10, 500)).await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, 30).await;

    chat.flush(&lobby).await;

    assert_eq!(ids(&chat.log(&lobby).await), said);
}

#[tokio::test]
async fn what_is_new_does_not_expire_and_what_is_archived_does() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let (log, meta) = (chat.queue.keys.log(&lobby), chat.queue.keys.meta(&lobby));
    let mut lives = Vec::new();
    for round in 0..2 {
        chat.say(&lobby, &format!("new {round}")).await;
        lives.push((chat.life_of(&log).await, chat.life_of(&meta).await));
        chat.flush(&lobby).await;
        lives.push((chat.life_of(&log).await, chat.life_of(&meta).await));
    }

    for pair in lives.chunks(2) {
        assert_eq!(pair[0], (-1, -1), "with something new");
        assert!(pair[1].0 > 0 && pair[1].1 > 0, "when it is clean");
    }
}

#[tokio::test]
async fn enough_new_messages_are_flushed_at_once() {
    let chat = TestChat::with(Settings {
        flush_count: 3, // so few are the same for all rooms
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    chat.say_many(&lobby, 2).await;
    let before = chat.stat("enqueued:default").await;
    chat.say(&lobby, "3").await;
    assert_eq!((before, chat.stat("enqueued:default").await), (0, 1));

    // What comes before the flush has begun, counts for the next one.
    for number in 4..=8 {
        chat.say(&lobby, &number.to_string()).await;
    }
    let _worker = chat.worker();
    chat.is_flushed(&lobby).await;

    assert_eq!(chat.archived(&lobby).await.len(), 8);
}

#[tokio::test]
async fn the_sweep_finds_rooms_whose_oldest_new_message_is_old() {
    let chat = TestChat::with(Settings {
        flush_age: NEVER,
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say(&lobby, "1").await;
    let eager = chat.elsewhere_with(Settings {
        flush_age: Duration::from_millis(100),
        ..Settings::default()
    });

    assert_eq!(Sweep(chat.chat.clone()).once().await.unwrap(), 0, "young");
    let sweep = Sweep(eager);
    eventually("the room is overdue", async || {
        (sweep.once().await.unwrap() == 1).then_some(())
    })
    .await;

    chat.is_flushed(&lobby).await;
    assert_eq!(ids(&chat.archived(&lobby).await), [said]);
    assert_eq!(sweep.once().await.unwrap(), 0, "clean");
}

#[tokio::test]
async fn a_room_is_flushed_when_its_last_member_leaves() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let (one, other) = (BootId::fresh(), BootId::fresh());
    let members = &chat.chat;
    members.tell_members(one, &lobby, 2).await.unwrap();
    members.tell_members(other, &lobby, 1).await.unwrap();
    chat.say(&lobby, "1").await;

    members.tell_members(one, &lobby, 0).await.unwrap();
    let before = chat.stat("enqueued:default").await;
    members.tell_members(other, &lobby, 0).await.unwrap();

    assert_eq!((before, chat.stat("enqueued:default").await), (0, 1));
}

#[tokio::test]
async fn a_room_is_flushed_when_the_server_of_its_members_died() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let (dead, alive) = (BootId::fresh(), BootId::fresh());
    chat.chat.tell_members(dead, &lobby, 3).await.unwrap();
    chat.say(&lobby, "1").await;
    let servers = chat.queue.keys.servers();
    let _: i64 = chat
        .queue
        .command(&["ZADD", &servers, "1", &dead.to_string()])
        .await;

    chat.chat.renew_lease(alive).await.unwrap();

    assert_eq!(chat.stat("enqueued:default").await, 1);
    assert!(chat.is_dirty(&lobby).await);
}
