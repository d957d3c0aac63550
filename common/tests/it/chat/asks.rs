//! Asking for a flush: the ask and the job are one step, and who asks while one is under way is heard.

use common::{
    chat::Settings,
    queue::Queue,
    testing::{RedisServer, TestChat, TestDatabase, TestQueue},
};

use super::{Look, NEVER, TableLock, by_ada, ids, room};

fn never_by_itself() -> Settings {
    Settings {
        flush_age: NEVER,
        ..Settings::default()
    }
}

#[tokio::test]
async fn who_leaves_while_a_flush_is_under_way_has_the_rest_flushed_at_once() {
    let chat = TestChat::with(never_by_itself()).await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let mut said = chat.say_many(&lobby, 3).await;
    let lock = TableLock::take(&chat).await;
    chat.chat.ask_flush(&lobby).await.unwrap();
    lock.is_awaited().await; // it has cut what was there

    said.push(chat.say(&lobby, "4").await);
    for _ in 0..3 {
        chat.chat.ask_flush(&lobby).await.unwrap();
    }
    lock.release().await;
    chat.is_idle().await;

    assert!(!chat.is_dirty(&lobby).await);
    assert_eq!(ids(&chat.archived(&lobby).await), said);
    assert_eq!(chat.stat("completed:default").await, 6, "two flushes");
}

#[tokio::test]
async fn what_comes_during_a_flush_waits_for_the_next_if_nobody_asks() {
    let chat = TestChat::with(never_by_itself()).await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.say_many(&lobby, 3).await;
    let lock = TableLock::take(&chat).await;
    chat.chat.ask_flush(&lobby).await.unwrap();
    lock.is_awaited().await;

    chat.say(&lobby, "4").await;
    lock.release().await;
    chat.is_idle().await;

    assert!(chat.is_dirty(&lobby).await);
    assert_eq!(chat.archived(&lobby).await.len(), 3);
    assert_eq!(chat.meta(&lobby).await["fresh"], "1");
}

/// Nothing may come between the two: a process that died there would keep all others from asking.
#[tokio::test]
async fn nobody_is_kept_from_asking_by_an_ask_that_made_no_job() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    chat.say(&lobby, "1").await;
    let draining = chat.queue.keys.draining();
    for queue in [Queue::Default, Queue::High] {
        let _: i64 = chat
            .queue
            .command(&["HSET", &draining, &queue.to_string(), "{}"])
            .await;
    }

    let refused = [
        chat.chat.ask_flush(&lobby).await.unwrap_err(),
        chat.chat.ask_rehydrate(&lobby).await.unwrap_err(),
    ];
    let held = [
        chat.queue.keys.flushing(&lobby),
        chat.queue.keys.hydrating(&lobby),
    ];
    for key in &held {
        assert_eq!(chat.life_of(key).await, -2);
    }
    let _: i64 = chat.queue.command(&["DEL", &draining]).await;
    chat.chat.ask_flush(&lobby).await.unwrap();
    chat.chat.ask_rehydrate(&lobby).await.unwrap();

    assert!(
        refused
            .iter()
            .all(|error| error.to_string().contains("drains"))
    );
    let made = (
        chat.stat("enqueued:default").await,
        chat.stat("enqueued:high").await,
    );
    assert_eq!(made, (1, 1));
    for key in &held {
        assert!(chat.life_of(key).await > 0);
    }
}

#[tokio::test]
async fn the_first_who_asks_after_a_restart_of_redis_is_answered() {
    let mut server = RedisServer::start(&["--appendfsync", "always"]);
    let database = TestDatabase::start().await;
    let chat = TestChat::on(TestQueue::on(&server.url()), database, Settings::default());
    let others = [
        chat.elsewhere(),
        chat.elsewhere(),
        chat.elsewhere(),
        chat.elsewhere(),
    ];
    let lobby = room("lobby");
    let said = chat.say(&lobby, "1").await;
    for other in &others {
        other.ping_redis().await.unwrap();
    }

    server.kill();
    server.restart();
    let [post, look, read, ask] = &others;
    let posted = post.post(&lobby, &by_ada("2")).await.unwrap();
    let looked = look.log.beginning(&lobby, None, 10).await.unwrap();
    let (read, _) = read.log.after(&lobby, said, 10).await.unwrap();
    ask.ask_flush(&lobby).await.unwrap();

    assert!(!posted.duplicate);
    assert_eq!(looked.top, posted.id);
    assert_eq!(ids(&read), [posted.id]);
    assert_eq!(
        chat.elsewhere()
            .log
            .beginning(&lobby, None, 10)
            .await
            .unwrap()
            .top,
        posted.id
    );
}
