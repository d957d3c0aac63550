//! Premium: a room's jobs go before those of others while somebody premium has been in it lately.

use std::{sync::Arc, time::Duration};

use common::{
    chat::{
        Settings,
        flush::{FlushChunk, FlushDone, FlushRoom, Sweep},
    },
    queue::Registry,
    testing::TestChat,
};

use super::{Look, room, windowed};

#[tokio::test]
async fn a_flood_of_free_rooms_does_not_delay_a_premium_one() {
    let chat = TestChat::with(windowed(1000, 2)).await;
    let own = Arc::new(chat.elsewhere());
    let registry = Registry::new()
        .with::<FlushRoom>(&own)
        .with::<FlushChunk>(&own)
        .with::<FlushDone>(&own);
    for n in 0..200 {
        let free = room(&format!("free-{n}"));
        chat.say(&free, "hi").await;
        chat.chat.ask_flush(&free).await.unwrap();
    }
    let mut worker = chat.queue.stepper(registry);
    // Some of the flood is under way, with children that wait.
    for _ in 0..30 {
        worker.step().await.unwrap();
    }

    let lounge = room("lounge");
    chat.chat.mark_premium(&lounge).await.unwrap();
    chat.say_many(&lounge, 5).await;
    chat.chat.ask_flush(&lounge).await.unwrap();
    let mut claimed = Vec::new();
    while chat.is_dirty(&lounge).await {
        claimed.push(worker.step().await.unwrap().task);
    }

    let own_jobs = [
        "chat.flush_room",
        "chat.flush_chunk",
        "chat.flush_chunk",
        "chat.flush_chunk",
        "chat.flush_done",
    ];
    assert_eq!(claimed, own_jobs, "and none of the flood's between them");
    assert_eq!(chat.archived(&lounge).await.len(), 5);
    assert!(
        chat.stat("enqueued:default").await > 200,
        "the flood was there"
    );
}

#[tokio::test]
async fn the_sweep_and_who_comes_later_know_which_rooms_are_premium() {
    let settings = Settings {
        flush_age: Duration::from_millis(100),
        ..Settings::default()
    };
    let chat = TestChat::with(settings).await;
    let (lounge, lobby) = (room("lounge"), room("lobby"));
    for room in [&lounge, &lobby] {
        chat.say(room, "hi").await;
    }
    // The server that says so is gone after this.
    chat.elsewhere().mark_premium(&lounge).await.unwrap();

    let sweep = Sweep(chat.elsewhere());
    common::testing::eventually("both rooms are overdue", async || {
        (sweep.once().await.unwrap() == 2).then_some(())
    })
    .await;
    chat.chat.ask_rehydrate(&lounge).await.unwrap();
    chat.chat.ask_rehydrate(&lobby).await.unwrap();

    assert_eq!(chat.stat("enqueued:high").await, 2);
    assert_eq!(chat.stat("enqueued:default").await, 2);
}

#[tokio::test]
async fn a_room_that_becomes_premium_does_not_wait_where_it_was_asked_for() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    chat.say(&lobby, "hi").await;
    let ask = async || chat.chat.ask_flush(&lobby).await.unwrap();
    let enqueued = async || {
        let (high, free) = ("enqueued:high", "enqueued:default");
        (chat.stat(high).await, chat.stat(free).await)
    };

    ask().await;
    ask().await;
    assert_eq!(enqueued().await, (0, 1), "one is under way");

    chat.chat.mark_premium(&lobby).await.unwrap();
    ask().await;
    ask().await;
    assert_eq!(enqueued().await, (1, 1), "once more, and once only");

    let _worker = chat.worker();
    chat.is_idle().await;
    assert_eq!(chat.archived(&lobby).await.len(), 1, "twice does no harm");
}

#[tokio::test]
async fn a_room_is_premium_for_a_while_only_and_then_forgotten() {
    let chat = TestChat::start().await;
    let (lobby, lounge) = (room("lobby"), room("lounge"));
    let premium = chat.queue.keys.premium();
    chat.chat.mark_premium(&lobby).await.unwrap();
    let _: i64 = chat
        .queue
        .command(&["ZADD", &premium, "1000", "lobby"])
        .await;
    chat.say(&lobby, "hi").await;

    chat.chat.ask_flush(&lobby).await.unwrap();
    assert_eq!(chat.stat("enqueued:high").await, 0);
    assert_eq!(chat.stat("enqueued:default").await, 1);

    chat.chat.mark_premium(&lounge).await.unwrap();
    let left: Vec<String> = chat.queue.command(&["ZRANGE", &premium, "0", "-1"]).await;
    assert_eq!(left, ["lounge"]);
}
