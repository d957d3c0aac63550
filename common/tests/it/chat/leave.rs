//! How a room leaves Redis, and what keeps it there.

use std::time::Duration;

use common::{
    chat::Settings,
    testing::{TestChat, eventually},
};

use super::{Look, NEVER, ids, room};

#[tokio::test]
async fn a_clean_idle_room_leaves_redis_completely_and_comes_back() {
    let chat = TestChat::with(Settings {
        room_ttl: Duration::from_millis(300),
        resend_window: Duration::from_millis(300),
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, 5).await;

    chat.flush(&lobby).await;
    eventually("nothing of the room is left", async || {
        chat.keys_of(&lobby).await.is_empty().then_some(())
    })
    .await;
    let names = chat.queue.key_names().await;
    assert!(!names.iter().any(|name| name == "dirty"), "{names:?}");

    // A room that comes back leaves again, so it may have to be brought back more than once.
    let opened = eventually("the room is back", async || {
        chat.chat.ask_rehydrate(&lobby).await.unwrap();
        let opened = chat.chat.log.open(&lobby, None, 10).await.unwrap();
        opened.warm.then_some(opened)
    })
    .await;
    assert!(opened.complete);
    assert_eq!(ids(&opened.entries), said);
}

#[tokio::test]
async fn an_empty_room_that_somebody_looked_at_leaves_redis_completely() {
    let chat = TestChat::with(Settings {
        room_ttl: Duration::from_millis(300),
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    let _worker = chat.worker();

    chat.warm(&lobby).await;

    eventually("nothing of the room is left", async || {
        chat.keys_of(&lobby).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_room_that_is_touched_or_opened_stays() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.say(&lobby, "1").await;
    chat.warm(&lobby).await;
    chat.flush(&lobby).await;
    let (log, meta) = (chat.queue.keys.log(&lobby), chat.queue.keys.meta(&lobby));
    let nearly_over = async || {
        for key in [&log, &meta] {
            let _: i64 = chat.queue.command(&["PEXPIRE", key, "60000"]).await;
        }
    };
    let lives = async || (chat.life_of(&log).await, chat.life_of(&meta).await);

    nearly_over().await;
    chat.chat
        .log
        .touch(&[lobby.clone(), room("other")])
        .await
        .unwrap();
    let touched = lives().await;
    nearly_over().await;
    chat.chat.log.open(&lobby, None, 10).await.unwrap();
    let opened = lives().await;

    for (log, meta) in [touched, opened] {
        assert!(log > 60_000 && meta > 60_000, "{log} {meta}");
    }
    assert!(
        chat.keys_of(&room("other")).await.is_empty(),
        "a touch makes no room"
    );
}

#[tokio::test]
async fn a_message_keeps_a_resting_room() {
    let chat = TestChat::with(Settings {
        flush_age: NEVER,
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.say(&lobby, "1").await;
    chat.flush(&lobby).await;

    chat.say(&lobby, "2").await;
    chat.chat
        .log
        .touch(std::slice::from_ref(&lobby))
        .await
        .unwrap();
    chat.chat.log.open(&lobby, None, 10).await.unwrap();

    for key in [chat.queue.keys.log(&lobby), chat.queue.keys.meta(&lobby)] {
        assert_eq!(chat.life_of(&key).await, -1, "{key}");
    }
}
