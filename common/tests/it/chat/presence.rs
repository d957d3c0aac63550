//! Presence: counts that hold when servers die, stall and come back.

use std::time::Duration;

use common::{
    chat::{
        Settings,
        bus::{Bus, BusEvent},
    },
    id::{BootId, RoomId},
    testing::{TestChat, eventually},
};

use super::{Look, room};

/// Ends a server's lease, as if its time had passed.
async fn run_out(chat: &TestChat, server: BootId) {
    let servers = chat.queue.keys.servers();
    let _: i64 = chat
        .queue
        .command(&["ZADD", &servers, "1", &server.to_string()])
        .await;
}

async fn members(chat: &TestChat, room: &RoomId) -> u64 {
    chat.chat.log.open(room, None, 1).await.unwrap().members
}

#[tokio::test]
async fn a_rooms_members_are_the_sum_over_all_servers() {
    let chat = TestChat::start().await;
    let (lobby, other) = (room("lobby"), room("other"));
    let (one, two) = (BootId::fresh(), BootId::fresh());
    let (bus, mut events) = Bus::start(chat.queue.redis.clone(), chat.queue.keys.clone());
    assert!(bus.subscribe(&lobby).await);

    let mut totals = Vec::new();
    for (server, here) in [(one, 2), (two, 3), (one, 1), (two, 0), (one, 0)] {
        let total = chat.chat.tell_members(server, &lobby, here).await.unwrap();
        assert_eq!(members(&chat, &lobby).await, total);
        totals.push(total);
    }
    chat.chat.tell_members(one, &other, 7).await.unwrap();

    assert_eq!(totals, [2, 5, 4, 1, 0]);
    for total in totals {
        let told = BusEvent::Members(lobby.clone(), total);
        assert_eq!(events.recv().await, Some(told));
    }
    assert!(chat.keys_of(&lobby).await.is_empty(), "nobody is in it");
}

#[tokio::test]
async fn members_of_a_server_whose_lease_ended_do_not_count() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let (dead, alive) = (BootId::fresh(), BootId::fresh());
    chat.chat.tell_members(dead, &lobby, 5).await.unwrap();
    chat.chat.tell_members(alive, &lobby, 1).await.unwrap();

    run_out(&chat, dead).await;

    assert_eq!(members(&chat, &lobby).await, 1);
}

#[tokio::test]
async fn a_lease_ends_by_itself() {
    let chat = TestChat::with(Settings {
        server_lease: Duration::from_millis(200),
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    let server = BootId::fresh();

    chat.chat.tell_members(server, &lobby, 5).await.unwrap();

    eventually("nobody counts", async || {
        (members(&chat, &lobby).await == 0).then_some(())
    })
    .await;
    assert!(!chat.chat.renew_lease(server).await.unwrap());
    assert!(chat.chat.renew_lease(BootId::fresh()).await.is_ok());
}

#[tokio::test]
async fn a_dead_servers_members_are_taken_out_of_all_its_rooms_and_it_is_told() {
    let chat = TestChat::start().await;
    let (dead, alive) = (BootId::fresh(), BootId::fresh());
    let rooms: Vec<_> = (0..250).map(|n| room(&format!("room-{n}"))).collect();
    for room in &rooms {
        chat.chat.tell_members(dead, room, 2).await.unwrap();
    }
    chat.chat.tell_members(alive, &rooms[7], 1).await.unwrap();
    let (bus, mut events) = Bus::start(chat.queue.redis.clone(), chat.queue.keys.clone());
    assert!(bus.subscribe(&rooms[7]).await);
    run_out(&chat, dead).await;

    chat.chat.renew_lease(alive).await.unwrap();

    let told = events.recv().await;
    assert_eq!(told, Some(BusEvent::Members(rooms[7].clone(), 1)));
    let names = chat.queue.key_names().await;
    let alive_rooms = format!("server:{alive}:rooms");
    assert_eq!(
        names,
        ["room:room-7:members", alive_rooms.as_str(), "servers"]
    );
}

#[tokio::test]
async fn a_server_that_stalled_is_told_to_count_its_members_again() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let (stalled, other) = (BootId::fresh(), BootId::fresh());
    let lease = async |server| chat.chat.renew_lease(server).await.unwrap();
    assert!(!lease(stalled).await, "a new one has told nothing yet");
    assert!(lease(stalled).await);
    chat.chat.tell_members(stalled, &lobby, 2).await.unwrap();

    // Nobody noticed that its lease had ended; but somebody may have counted without it.
    run_out(&chat, stalled).await;
    let unnoticed = lease(stalled).await;
    // Another server noticed and took its members out.
    run_out(&chat, stalled).await;
    lease(other).await;
    let noticed = lease(stalled).await;
    let counted = members(&chat, &lobby).await;
    chat.chat.tell_members(stalled, &lobby, 2).await.unwrap();

    assert!(!unnoticed && !noticed);
    assert_eq!(counted, 0);
    assert_eq!(members(&chat, &lobby).await, 2);
    assert!(lease(stalled).await);
}

/// A dead server's rooms are gone through in steps; it may come back between two of them.
#[tokio::test]
async fn a_server_that_comes_back_while_it_fades_is_told_to_count_again() {
    let chat = TestChat::start().await;
    let server = BootId::fresh();
    let rooms: Vec<_> = (0..20).map(|n| room(&format!("room-{n}"))).collect();
    for room in &rooms {
        chat.chat.tell_members(server, room, 1).await.unwrap();
    }
    run_out(&chat, server).await;
    let fade = [
        include_str!("../../../src/chat/lua/lib.lua"),
        include_str!("../../../src/chat/lua/fade.lua"),
    ];
    let fade = redis::Script::new(&fade.join("\n"));
    let step = async || -> (usize, Vec<String>) {
        let mut connection = chat.queue.redis.connection().await.unwrap();
        let mut call = fade.key(chat.queue.keys.prefix());
        call.arg(server).arg(5);
        call.invoke_async(&mut connection).await.unwrap()
    };

    let first = step().await;
    let still_ran = chat.chat.renew_lease(server).await.unwrap();
    let second = step().await;

    assert_eq!((first.0, first.1.len()), (5, 5));
    assert!(!still_ran, "five rooms have forgotten its members");
    assert_eq!(second.0, 0, "it lives");
    assert!(chat.chat.renew_lease(server).await.unwrap());
}

#[tokio::test]
async fn a_server_that_ends_in_order_leaves_nothing_behind() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let server = BootId::fresh();
    chat.chat.renew_lease(server).await.unwrap();
    chat.chat.tell_members(server, &lobby, 2).await.unwrap();
    let (bus, mut events) = Bus::start(chat.queue.redis.clone(), chat.queue.keys.clone());
    assert!(bus.subscribe(&lobby).await);

    chat.chat.end_lease(server).await.unwrap();

    assert_eq!(
        events.recv().await,
        Some(BusEvent::Members(lobby.clone(), 0))
    );
    assert!(chat.queue.key_names().await.is_empty());
}
