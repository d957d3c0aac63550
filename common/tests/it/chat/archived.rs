//! Waiting until a message is in the archive.

use std::time::Duration;

use common::{
    chat::{
        Settings,
        archived::{NotArchived, Waits},
        bus::{Bus, BusEvent},
    },
    testing::{TestChat, TestDatabase, TestPostgres, TestQueue, eventually},
};

use super::{Look, NEVER, by_ada, ids, room};

/// Who waits, as a server has it: told by the bus of what was flushed.
async fn listening(chat: &TestChat, room: &common::id::RoomId, patience: Duration) -> Waits {
    let waits = Waits::new(chat.elsewhere(), patience, 5000);
    let (bus, mut events) = Bus::start(chat.queue.redis.clone(), chat.queue.keys.clone());
    assert!(bus.subscribe(room).await);
    let told = waits.clone();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let BusEvent::Archived(room, _) = event {
                told.heard(&room);
            }
        }
        drop(bus);
    });
    waits
}

#[tokio::test]
async fn who_waits_is_told_when_the_message_is_in_the_archive() {
    let chat = TestChat::with(Settings {
        flush_age: NEVER,
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    let waits = listening(&chat, &lobby, NEVER).await;
    let _worker = chat.worker();

    for number in 0..5 {
        let said = chat.say(&lobby, &number.to_string()).await;
        waits.archived(&lobby, said).await.unwrap();
        assert_eq!(ids(&chat.archived(&lobby).await).last(), Some(&said));
    }

    let said = chat.say(&lobby, "nobody waits for it").await;
    assert_eq!(waits.count(), 0);
    assert!(!ids(&chat.archived(&lobby).await).contains(&said));
}

#[tokio::test]
async fn a_thousand_who_wait_make_few_flushes() {
    let chat = TestChat::with(Settings {
        flush_age: NEVER,
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    let waits = listening(&chat, &lobby, NEVER).await;
    let worker = chat.worker();

    let each = (0..1000).map(async |number: u32| {
        let said = chat.say(&lobby, &number.to_string()).await;
        waits.archived(&lobby, said).await
    });
    let told = futures_util::future::join_all(each).await;
    worker.stop().await;

    assert!(told.iter().all(Result::is_ok));
    assert_eq!(chat.archived(&lobby).await.len(), 1000);
    let jobs = chat.stat("enqueued:default").await;
    assert!(jobs < 200, "{jobs} jobs");
}

#[tokio::test]
async fn while_postgres_is_away_nobody_is_told_and_all_are_when_it_is_back() {
    let mut postgres = TestPostgres::start();
    let database = TestDatabase::on(&postgres.url()).await;
    let chat = TestChat::on(TestQueue::start(), database, Settings::default());
    let lobby = room("lobby");
    let brief = Waits::new(chat.elsewhere(), Duration::from_millis(300), 10);
    let patient = listening(&chat, &lobby, NEVER).await;
    let _worker = chat.worker();
    postgres.stop();

    let said = chat.say(&lobby, "1").await;
    let waiting = tokio::spawn({
        let (patient, lobby) = (patient.clone(), lobby.clone());
        async move { patient.archived(&lobby, said).await }
    });
    assert_eq!(brief.archived(&lobby, said).await, Err(NotArchived));
    assert!(!waiting.is_finished());
    assert_eq!(chat.log(&lobby).await.len(), 1, "it is kept");
    postgres.restart();

    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(ids(&chat.archived(&lobby).await), [said]);
    // It is sent again, to another server.
    let again = chat.chat.post(&lobby, &by_ada("1")).await.unwrap();
    assert_eq!((again.id, again.duplicate), (said, true));
    assert_eq!(brief.archived(&lobby, said).await, Ok(()));
}

#[tokio::test]
async fn what_is_archived_already_is_told_at_once_without_a_flush_also_of_a_room_that_left_redis() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let worker = chat.worker();
    let said = chat.say(&lobby, "1").await;
    chat.flush(&lobby).await;
    chat.is_idle().await;
    worker.stop().await;
    let jobs = chat.stat("enqueued:default").await;
    let waits = listening(&chat, &lobby, NEVER).await;

    let warm = waits.archived(&lobby, said).await;
    chat.expire(&lobby).await;
    let cold = waits.archived(&lobby, said).await;

    assert_eq!((warm, cold), (Ok(()), Ok(())));
    assert_eq!(chat.stat("enqueued:default").await, jobs);
}

#[tokio::test]
async fn a_worker_that_was_away_and_a_word_that_was_missed_do_no_harm() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    // Nothing tells it that a room was flushed.
    let waits = Waits::new(chat.elsewhere(), NEVER, 10);
    let said = chat.say(&lobby, "1").await;
    let waiting = tokio::spawn({
        let (waits, lobby) = (waits.clone(), lobby.clone());
        async move { waits.archived(&lobby, said).await }
    });
    eventually("a flush is asked for", async || {
        (chat.stat("enqueued:default").await == 1).then_some(())
    })
    .await;

    let _worker = chat.worker();

    assert_eq!(waiting.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn what_redis_lost_is_not_told() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let kept = chat.say(&lobby, "1").await;
    let lost = chat.say(&lobby, "2").await;
    let log = chat.queue.keys.log(&lobby);
    let (low, high) = (lost.to_string(), lost.to_string());
    let _: i64 = chat
        .queue
        .command(&["ZREMRANGEBYSCORE", &log, &low, &high])
        .await;
    let waits = Waits::new(chat.elsewhere(), Duration::from_secs(1), 10);

    assert_eq!(waits.archived(&lobby, kept).await, Ok(()));
    assert_eq!(waits.archived(&lobby, lost).await, Err(NotArchived));
}

#[tokio::test]
async fn so_many_wait_in_a_room_and_no_more_and_who_goes_makes_room() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let said = chat.say(&lobby, "1").await;
    let waits = Waits::new(chat.elsewhere(), NEVER, 1);
    let first = tokio::spawn({
        let (waits, lobby) = (waits.clone(), lobby.clone());
        async move { waits.archived(&lobby, said).await }
    });
    eventually("one waits", async || (waits.count() == 1).then_some(())).await;

    assert_eq!(waits.archived(&lobby, said).await, Err(NotArchived));
    first.abort();
    eventually("nobody waits", async || (waits.count() == 0).then_some(())).await;
    let _worker = chat.worker();
    assert_eq!(waits.archived(&lobby, said).await, Ok(()));
}
