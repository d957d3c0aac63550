//! Rehydrate: a cold room comes back as it was, whatever runs in which order, and what comes meanwhile.

use common::{
    chat::{
        bus::{Bus, BusEvent},
        rehydrate::{RehydrateChunk, RehydrateRoom},
    },
    id::{MessageId, RoomId},
    queue::Options,
    testing::TestChat,
};

use super::{Look, assert_chain, between, ids, room, texts, windowed};

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

#[tokio::test]
async fn a_room_comes_back_as_it_is_in_the_archive_in_chunks_of_any_size() {
    for (window, chunk) in [(1000, 1), (1000, 7), (1000, 500), (23, 5), (24, 5)] {
        let chat = TestChat::with(windowed(window, chunk)).await;
        let (lobby, said) = cold_room(&chat, 23).await;

        let _worker = chat.worker();
        chat.warm(&lobby).await;

        assert_eq!(chat.log(&lobby).await, chat.archived(&lobby).await);
        let opened = chat.chat.log.open(&lobby, None, 100).await.unwrap();
        assert!(opened.complete && !opened.more, "{window} {chunk}");
        assert_eq!(
            (opened.top, opened.hydrated_from),
            (said[22], MessageId::ZERO)
        );
        assert_eq!(ids(&opened.entries), said);
    }
}

#[tokio::test]
async fn only_the_hot_window_of_a_long_room_comes_back() {
    for (window, chunk) in [(1, 1), (1, 5), (10, 1), (10, 3), (10, 10), (22, 500)] {
        let chat = TestChat::with(windowed(window, chunk)).await;
        let (lobby, said) = cold_room(&chat, 23).await;
        let first = 23 - window;

        let _worker = chat.worker();
        chat.warm(&lobby).await;

        let opened = chat.chat.log.open(&lobby, None, 100).await.unwrap();
        assert!(opened.complete && opened.more, "{window} {chunk}");
        assert_eq!(opened.hydrated_from, said[first]);
        assert_eq!(ids(&opened.entries), said[first..]);
        assert_chain(&opened.entries, said[first - 1]);
    }
}

#[tokio::test]
async fn a_room_that_was_restored_is_clean_and_may_rest() {
    let chat = TestChat::start().await;
    let (lobby, said) = cold_room(&chat, 5).await;

    let _worker = chat.worker();
    chat.warm(&lobby).await;
    chat.is_idle().await;

    assert!(!chat.is_dirty(&lobby).await);
    assert_eq!(chat.meta(&lobby).await["watermark"], said[4].to_string());
    assert!(chat.life_of(&chat.queue.keys.log(&lobby)).await > 0);
    assert!(chat.life_of(&chat.queue.keys.meta(&lobby)).await > 0);
}

#[tokio::test]
async fn many_joiners_cause_one_rehydration() {
    let chat = TestChat::start().await;
    let (lobby, _) = cold_room(&chat, 5).await;
    let before = chat.stat("enqueued:default").await;

    let mut joiners = Vec::new();
    for _ in 0..20 {
        let (own, lobby) = (chat.chat.clone(), lobby.clone());
        joiners.push(tokio::spawn(async move { own.ask_rehydrate(&lobby).await }));
    }
    for joiner in joiners {
        joiner.await.unwrap().unwrap();
    }

    assert_eq!(chat.stat("enqueued:default").await, before + 1);
    let _worker = chat.worker();
    chat.is_idle().await;
    chat.chat.ask_rehydrate(&lobby).await.unwrap();
    assert_eq!(
        chat.stat("enqueued:default").await,
        before + 3,
        "a warm room needs none"
    );
}

#[tokio::test]
async fn everybody_who_listens_is_told_once() {
    let chat = TestChat::start().await;
    let (lobby, _) = cold_room(&chat, 5).await;
    let (bus, mut events) = Bus::start(chat.queue.redis.clone(), chat.queue.keys.clone());
    assert!(bus.subscribe(&lobby).await);
    let masters: Vec<_> = (0..3)
        .map(|_| RehydrateRoom {
            room: lobby.clone(),
        })
        .collect();

    let (_one, _other) = (chat.worker(), chat.worker());
    let options = Options::default();
    let queue = chat.queue.producer();
    queue.enqueue_all(&masters, &options).await.unwrap();
    chat.is_idle().await;
    chat.say(&lobby, "6").await;

    let first = events.recv().await.unwrap();
    let second = events.recv().await.unwrap();
    assert_eq!(first, BusEvent::Hydrated(lobby.clone()));
    assert!(matches!(second, BusEvent::Messages(..)), "{second:?}");
    let opened = chat.chat.log.open(&lobby, None, 100).await.unwrap();
    assert_eq!(texts(&opened.entries), ["1", "2", "3", "4", "5", "6"]);
    assert_chain(&opened.entries, MessageId::ZERO);
}

#[tokio::test]
async fn children_may_run_twice_and_in_any_order_among_new_messages() {
    let chat = TestChat::with(windowed(1000, 3)).await;
    let (lobby, said) = cold_room(&chat, 9).await;
    let ranges = [
        between(said[5], said[8]),
        between(MessageId::ZERO, said[2]),
        between(said[5], said[8]),
        between(said[2], said[5]),
        between(MessageId::ZERO, said[2]),
    ];

    let _worker = chat.worker();
    for (at, range) in ranges.into_iter().enumerate() {
        let child = RehydrateChunk {
            room: lobby.clone(),
            range,
        };
        chat.queue.producer().enqueue(&child).await.unwrap();
        chat.is_idle().await;
        chat.say(&lobby, &format!("new {at}")).await;
        let opened = chat.chat.log.open(&lobby, None, 100).await.unwrap();
        assert!(!opened.warm && !opened.complete, "after child {at}");
        let since = chat.chat.log.open(&lobby, Some(said[8]), 100);
        assert!(!since.await.unwrap().complete);
    }
    chat.warm(&lobby).await;

    let opened = chat.chat.log.open(&lobby, None, 100).await.unwrap();
    assert!(opened.complete && !opened.more);
    assert_eq!(ids(&opened.entries)[..9], said);
    assert_eq!(
        texts(&opened.entries)[9..],
        ["new 0", "new 1", "new 2", "new 3", "new 4"]
    );
    // What came meanwhile is flushed like anything new.
    assert!(chat.is_dirty(&lobby).await);
    chat.flush(&lobby).await;
    assert_eq!(chat.archived(&lobby).await, chat.log(&lobby).await);
}

#[tokio::test]
async fn messages_flow_while_a_room_comes_back() {
    let chat = TestChat::with(windowed(200, 5)).await;
    let (lobby, said) = cold_room(&chat, 100).await;
    let _worker = chat.worker();
    let (own, own_lobby) = (chat.elsewhere(), lobby.clone());
    let talking = tokio::spawn(async move {
        let mut said = Vec::new();
        for number in 0..200 {
            let text = format!("new {number}");
            let posted = own.post(&own_lobby, &super::by_ada(&text)).await;
            said.push(posted.unwrap().id);
        }
        said
    });

    chat.warm(&lobby).await;
    chat.chat.ask_flush(&lobby).await.unwrap();
    let new = talking.await.unwrap();
    chat.is_idle().await;
    chat.flush(&lobby).await;

    let all = [said, new].concat();
    assert_eq!(ids(&chat.archived(&lobby).await), all);
    let opened = chat.chat.log.open(&lobby, None, 1000).await.unwrap();
    assert!(opened.complete);
    assert_eq!(ids(&opened.entries), all[100..]);
}
