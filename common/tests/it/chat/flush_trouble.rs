//! Flush while things break: Postgres, workers, memory, hands.

use common::{
    chat::{
        Chat, Settings,
        flush::{FlushChunk, FlushDone, FlushRoom, Sweep},
        rehydrate::RehydrateChunk,
    },
    id::MessageId,
    testing::{RedisServer, TestChat, TestDatabase, TestQueue, eventually},
};

use super::{Look, NEVER, TableLock, assert_chain, between, by_ada, ids, room, texts, windowed};

#[tokio::test]
async fn a_flush_goes_on_when_postgres_takes_messages_again() {
    let chat = TestChat::with(windowed(1000, 3)).await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.say_many(&lobby, 10).await;
    chat.database
        .execute("ALTER TABLE messages RENAME TO away")
        .await;

    chat.chat.ask_flush(&lobby).await.unwrap();
    eventually("children have failed", async || {
        (chat.stat("retried").await >= 4).then_some(())
    })
    .await;
    let meanwhile = chat.say(&lobby, "meanwhile").await;
    let kept = chat.log(&lobby).await;
    chat.database
        .execute("ALTER TABLE away RENAME TO messages")
        .await;
    chat.is_flushed_or_asked(&lobby).await;

    assert_eq!(kept.last().map(|entry| entry.id), Some(meanwhile));
    assert_eq!(chat.archived(&lobby).await, kept);
}

#[tokio::test]
async fn a_locked_table_holds_a_flush_up_and_loses_nothing() {
    let chat = TestChat::with(windowed(1000, 3)).await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.say_many(&lobby, 10).await;
    let lock = TableLock::take(&chat).await;

    chat.chat.ask_flush(&lobby).await.unwrap();
    lock.is_awaited().await;
    assert!(chat.is_dirty(&lobby).await);
    chat.say(&lobby, "meanwhile").await;
    lock.release().await;
    chat.is_flushed_or_asked(&lobby).await;

    assert_eq!(chat.archived(&lobby).await, chat.log(&lobby).await);
}

#[tokio::test]
async fn a_master_that_was_killed_half_way_is_finished_by_another_worker() {
    let chat = TestChat::with(windowed(100_000, 1)).await;
    let lobby = room("lobby");
    chat.say(&lobby, "first").await;
    for from in (1..1500).step_by(500) {
        let said =
            (from..1500.min(from + 500)).map(async |n: u32| chat.say(&lobby, &n.to_string()).await);
        futures_util::future::join_all(said).await;
    }
    let victim = chat.worker();
    chat.chat.ask_flush(&lobby).await.unwrap();
    eventually("the master has begun to split", async || {
        (chat.stat("enqueued:default").await > 1).then_some(())
    })
    .await;

    victim.vanish().await;
    let _other = chat.worker();
    chat.is_flushed(&lobby).await;
    chat.is_idle().await;

    let archived = chat.archived(&lobby).await;
    assert_eq!(archived.len(), 1500);
    assert_chain(&archived, MessageId::ZERO);
}

#[tokio::test]
async fn messages_that_come_during_a_flush_stay_new() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let said = chat.say_many(&lobby, 5).await;
    let done = FlushDone {
        room: lobby.clone(),
        after: MessageId::ZERO,
        to: said[2],
        begun_ms: None,
    };

    let _worker = chat.worker();
    chat.queue.producer().enqueue(&done).await.unwrap();
    chat.is_idle().await;

    assert!(chat.is_dirty(&lobby).await);
    assert_eq!(chat.meta(&lobby).await["fresh"], "2");
    let oldest: u64 = chat
        .queue
        .command(&["ZSCORE", &chat.queue.keys.dirty(), lobby.as_str()])
        .await;
    assert_eq!(oldest, said[3].0.unsigned_abs() / 1000);
}

/// What no server lets in, in case something else writes to the log.
#[tokio::test]
async fn a_text_that_postgres_cannot_store_does_not_hold_its_room_up() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let mut content = by_ada("a\0b");
    content.username = "\0".into();
    chat.chat.post(&lobby, &content).await.unwrap();
    chat.say(&lobby, "c").await;

    chat.flush(&lobby).await;

    let archived = chat.archived(&lobby).await;
    assert_eq!(texts(&archived), ["a\u{FFFD}b", "c"]);
}

#[tokio::test]
async fn a_child_that_runs_late_does_not_keep_the_room_from_being_flushed() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say(&lobby, "1").await;
    let late = FlushChunk {
        room: lobby.clone(),
        range: between(MessageId::ZERO, said),
    };
    chat.database
        .execute("ALTER TABLE messages RENAME TO away")
        .await;
    chat.queue.producer().enqueue(&late).await.unwrap();
    eventually("it has failed", async || {
        (chat.stat("retried").await >= 1).then_some(())
    })
    .await;

    chat.database
        .execute("ALTER TABLE away RENAME TO messages")
        .await;
    chat.is_idle().await;

    // It ran a second time; no flush is under way.
    assert_eq!(chat.life_of(&chat.queue.keys.flushing(&lobby)).await, -2);
    chat.flush(&lobby).await;
}

#[tokio::test]
async fn a_room_whose_log_was_deleted_by_hand_leaves_nothing_behind() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.say(&lobby, "1").await;
    let (log, meta) = (chat.queue.keys.log(&lobby), chat.queue.keys.meta(&lobby));
    let _: usize = chat.queue.command(&["DEL", &log]).await;

    chat.flush(&lobby).await;

    assert!(chat.life_of(&meta).await > 0);

    // And what comes next does not go with it.
    let piece = RehydrateChunk {
        room: lobby.clone(),
        range: between(MessageId::ZERO, MessageId::MAX),
    };
    chat.chat
        .archive
        .insert(&lobby, &elsewhere_said().await)
        .await
        .unwrap();
    chat.queue.producer().enqueue(&piece).await.unwrap();
    chat.is_idle().await;
    assert!(chat.life_of(&log).await > 0);
    chat.say(&lobby, "2").await;
    assert_eq!(chat.life_of(&log).await, -1);
    assert_eq!(chat.life_of(&meta).await, -1);
}

/// Something for an archive.
async fn elsewhere_said() -> Vec<common::chat::Entry> {
    let other = TestChat::start().await;
    other.say_many(&room("lobby"), 3).await;
    other.log(&room("lobby")).await
}

#[tokio::test]
async fn when_redis_is_full_rooms_are_flushed_all_the_same() {
    let server = RedisServer::start(&[]);
    let database = TestDatabase::start().await;
    let settings = Settings {
        flush_age: std::time::Duration::from_millis(100),
        ..windowed(5, 2)
    };
    let chat = TestChat::on(TestQueue::on(&server.url()), database, settings);
    let (asked, fresh) = (room("asked"), room("fresh"));
    let worker = chat.worker();
    for room in [&asked, &fresh] {
        chat.warm(room).await;
    }
    chat.is_idle().await;
    worker.stop().await;
    for room in [&asked, &fresh] {
        chat.say_many(room, 9).await;
    }
    // One flush was asked for before, and its master waits.
    chat.chat.ask_flush(&asked).await.unwrap();
    limit_memory(&chat, "1mb").await;
    assert!(
        chat.chat
            .post(&fresh, &by_ada("10"))
            .await
            .unwrap_err()
            .is_out_of_memory()
    );
    assert!(chat.chat.ask_flush(&fresh).await.is_err());

    let _worker = chat.worker();
    let sweep = Sweep(chat.elsewhere());
    eventually("both are flushed", async || {
        let _ = sweep.once().await;
        let dirty = chat.is_dirty(&asked).await || chat.is_dirty(&fresh).await;
        (!dirty).then_some(())
    })
    .await;

    for room in [&asked, &fresh] {
        assert_eq!(chat.archived(room).await.len(), 9);
        assert_eq!(chat.log(room).await.len(), 5, "the log is trimmed");
    }
    limit_memory(&chat, "0").await;
    chat.say(&fresh, "10").await;
}

#[tokio::test]
async fn a_flush_that_could_not_be_enqueued_can_be_asked_for_again() {
    let server = RedisServer::start(&[]);
    let database = TestDatabase::start().await;
    let chat = TestChat::on(TestQueue::on(&server.url()), database, Settings::default());
    let lobby = room("lobby");
    chat.say(&lobby, "1").await;

    limit_memory(&chat, "1mb").await;
    let refused = (
        chat.chat.ask_flush(&lobby).await.is_err(),
        chat.chat.ask_rehydrate(&lobby).await.is_err(),
    );
    limit_memory(&chat, "0").await;
    chat.chat.ask_flush(&lobby).await.unwrap();
    chat.chat.ask_rehydrate(&lobby).await.unwrap();

    assert_eq!(refused, (true, true));
    assert_eq!(chat.stat("enqueued:default").await, 2);
}

/// Sets how much memory the Redis of a chat may take; "0" for all there is.
async fn limit_memory(chat: &TestChat, bytes: &str) {
    let words = ["CONFIG", "SET", "maxmemory", bytes];
    let _: String = chat.queue.command(&words).await;
}

/// Asks again for what came during a flush.
trait AskAgain {
    async fn is_flushed_or_asked(&self, room: &common::id::RoomId);
}

impl AskAgain for TestChat {
    async fn is_flushed_or_asked(&self, room: &common::id::RoomId) {
        eventually(&format!("{room} is flushed"), async || {
            self.chat.ask_flush(room).await.unwrap();
            (!self.is_dirty(room).await).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn workers_that_were_away_find_everything() {
    let chat = TestChat::with(Settings {
        flush_age: NEVER,
        ..windowed(1000, 3)
    })
    .await;
    let rooms: Vec<_> = (0..20).map(|n| room(&format!("room-{n}"))).collect();
    for room in &rooms {
        chat.say_many(room, 4).await;
        chat.chat.ask_flush(room).await.unwrap();
    }
    let elsewhere: Chat = chat.elsewhere();
    elsewhere.ask_flush(&rooms[0]).await.unwrap();
    let masters = chat.stat("enqueued:default").await;

    let _worker = chat.worker();
    for room in &rooms {
        chat.is_flushed(room).await;
    }

    assert_eq!(masters, 20, "a second ask is none");
    for room in &rooms {
        assert_eq!(chat.archived(room).await, chat.log(room).await);
    }
    let again = FlushRoom {
        room: rooms[0].clone(),
    };
    chat.queue.producer().enqueue(&again).await.unwrap();
    chat.is_idle().await;
    assert_eq!(ids(&chat.archived(&rooms[0]).await).len(), 4);
}
