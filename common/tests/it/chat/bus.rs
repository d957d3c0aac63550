//! The bus: what is published after a subscription is heard, and a lost connection is told.

use common::{
    chat::{
        Settings,
        bus::{Bus, BusEvent},
    },
    testing::{RedisServer, TestChat, TestDatabase, TestQueue, eventually},
};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Look, room};

fn listen(chat: &TestChat) -> (Bus, UnboundedReceiver<BusEvent>) {
    Bus::start(chat.queue.redis.clone(), chat.queue.keys.clone())
}

/// The texts of so many messages that are heard.
async fn hear(events: &mut UnboundedReceiver<BusEvent>, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        if let Some(BusEvent::Messages(_, entries)) = events.recv().await {
            texts.extend(super::texts(&entries));
        }
    }
    texts
}

/// A chat on a Redis of its own, whose subscriptions may be cut.
async fn on_its_own() -> (RedisServer, TestChat) {
    let server = RedisServer::start(&[]);
    let queue = TestQueue::on(&server.url());
    let chat = TestChat::on(queue, TestDatabase::start().await, Settings::default());
    (server, chat)
}

#[tokio::test]
async fn all_kinds_of_events_are_heard_in_order() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let (bus, mut events) = listen(&chat);
    assert!(bus.subscribe(&lobby).await);

    let server = common::id::BootId::fresh();
    chat.chat.tell_members(server, &lobby, 4).await.unwrap();
    chat.say(&lobby, "hi").await;
    chat.chat.tell_typing(&lobby, "{…}").await.unwrap();
    let live = chat.queue.keys.live(&lobby);
    for strange in ["", "x", "m", "m 1 2", "m 2 1 {}\n", "p many"] {
        let _: i64 = chat.queue.command(&["PUBLISH", &live, strange]).await;
    }
    let _: i64 = chat.queue.command(&["PUBLISH", &live, "h"]).await;

    assert_eq!(
        events.recv().await,
        Some(BusEvent::Members(lobby.clone(), 4))
    );
    assert_eq!(hear(&mut events, 1).await, ["hi"]);
    assert_eq!(
        events.recv().await,
        Some(BusEvent::Typing(lobby.clone(), "{…}".to_owned()))
    );
    assert_eq!(events.recv().await, Some(BusEvent::Hydrated(lobby)));
}

#[tokio::test]
async fn a_room_is_heard_from_its_subscription_to_its_end() {
    let chat = TestChat::start().await;
    let (lobby, other) = (room("lobby"), room("other"));
    let (bus, mut events) = listen(&chat);
    chat.say(&lobby, "before").await;
    assert!(bus.subscribe(&lobby).await && bus.subscribe(&other).await);
    chat.say(&lobby, "during").await;
    let live = chat.queue.keys.live(&lobby);

    bus.unsubscribe(&lobby);
    eventually("nobody listens", async || {
        let heard_by: (String, u64) = chat.queue.command(&["PUBSUB", "NUMSUB", &live]).await;
        (heard_by.1 == 0).then_some(())
    })
    .await;
    chat.say(&lobby, "after").await;
    chat.say(&other, "other").await;

    assert_eq!(hear(&mut events, 2).await, ["during", "other"]);
}

#[tokio::test]
async fn a_room_that_is_left_and_entered_at_once_is_heard() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let (bus, mut events) = listen(&chat);
    assert!(bus.subscribe(&lobby).await);

    for round in 0..50 {
        bus.unsubscribe(&lobby);
        assert!(bus.subscribe(&lobby).await);
        chat.say(&lobby, &round.to_string()).await;
    }

    let expected: Vec<_> = (0..50).map(|round| round.to_string()).collect();
    assert_eq!(hear(&mut events, 50).await, expected);
}

#[tokio::test]
async fn many_rooms_are_subscribed_to_at_once() {
    let chat = TestChat::start().await;
    let (bus, mut events) = listen(&chat);
    let rooms: Vec<_> = (0..1200).map(|n| room(&format!("room-{n}"))).collect();

    let subscribed = rooms.iter().map(|room| bus.subscribe(room));
    let subscribed = futures_util::future::join_all(subscribed).await;
    for room in rooms.iter().step_by(100) {
        chat.say(room, room.as_str()).await;
    }

    assert!(subscribed.into_iter().all(|subscribed| subscribed));
    let expected: Vec<_> = rooms.iter().step_by(100).map(ToString::to_string).collect();
    assert_eq!(hear(&mut events, 12).await, expected);
}

#[tokio::test]
async fn a_subscription_that_was_cut_is_made_again_and_told() {
    let (_server, chat) = on_its_own().await;
    let rooms: Vec<_> = (0..700).map(|n| room(&format!("room-{n}"))).collect();
    let (bus, mut events) = listen(&chat);
    let subscribed = rooms.iter().map(|room| bus.subscribe(room));
    futures_util::future::join_all(subscribed).await;

    for round in 0..3 {
        let _: i64 = chat
            .queue
            .command(&["CLIENT", "KILL", "TYPE", "pubsub"])
            .await;
        assert_eq!(events.recv().await, Some(BusEvent::Resumed));

        // Told, it hears everything again.
        chat.say(&rooms[3], &format!("a{round}")).await;
        chat.say(&rooms[699], &format!("b{round}")).await;
        let expected = [format!("a{round}"), format!("b{round}")];
        assert_eq!(hear(&mut events, 2).await, expected);
    }
}

#[tokio::test]
async fn a_redis_that_went_away_is_listened_to_when_it_is_back() {
    let (mut server, chat) = on_its_own().await;
    let (lobby, late) = (room("lobby"), room("late"));
    let (bus, mut events) = listen(&chat);
    assert!(bus.subscribe(&lobby).await);

    server.kill();
    let in_vain = bus.subscribe(&late).await;
    server.restart();

    assert!(!in_vain);
    assert_eq!(events.recv().await, Some(BusEvent::Resumed));
    assert!(bus.subscribe(&late).await);
    chat.say(&lobby, "1").await;
    chat.say(&late, "2").await;
    assert_eq!(hear(&mut events, 2).await, ["1", "2"]);
}

/// A connection that is open and dead: no answer, no end.
#[tokio::test]
async fn a_redis_that_stalls_is_noticed() {
    let (server, chat) = on_its_own().await;
    let lobby = room("lobby");
    let (bus, mut events) = listen(&chat);
    assert!(bus.subscribe(&lobby).await);

    server.signal("STOP");
    let in_vain = bus.subscribe(&room("late")).await;
    server.signal("CONT");

    assert!(!in_vain);
    assert_eq!(events.recv().await, Some(BusEvent::Resumed));
    chat.say(&lobby, "1").await;
    assert_eq!(hear(&mut events, 1).await, ["1"]);
}
