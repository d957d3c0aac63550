//! What an operator sees of the rooms, and asks for by hand.

use std::collections::HashSet;

use common::{
    chat::{
        ask::Asked,
        inspect::{
            RoomStatus, Rooms,
            list::{RoomCursor, RoomPage, Which},
        },
    },
    id::{BootId, MessageId},
    queue::{inspect::Inspector, operate::Operator},
    testing::{TestChat, eventually},
};

use super::{Look, NEVER, room, windowed};

fn rooms(chat: &TestChat) -> Rooms {
    Rooms::new(chat.queue.redis.clone(), chat.queue.keys.clone())
}

async fn seen(chat: &TestChat, name: &str) -> RoomStatus {
    rooms(chat).show(&room(name)).await.expect("Redis answers")
}

fn names(page: &RoomPage) -> Vec<&str> {
    page.rooms.iter().map(|room| room.room.as_str()).collect()
}

async fn list(
    chat: &TestChat,
    which: Which,
    limit: usize,
    cursor: Option<&RoomCursor>,
) -> RoomPage {
    let page = rooms(chat).list(which, limit, cursor).await;
    page.expect("Redis answers")
}

#[tokio::test]
async fn a_room_is_shown_from_its_first_message_until_it_is_flushed() {
    let mut settings = windowed(2, 2);
    settings.flush_age = NEVER;
    let chat = TestChat::with(settings).await;
    let lobby = room("lobby");
    let nothing = seen(&chat, "lobby").await;
    assert!(!nothing.is_here() && !nothing.warm && nothing.expires_ms.is_none());

    let ids = chat.say_many(&lobby, 5).await;
    let (here, gone) = (BootId::fresh(), BootId::fresh());
    chat.chat.tell_members(here, &lobby, 3).await.unwrap();
    chat.chat.tell_members(gone, &lobby, 2).await.unwrap();
    let key = chat.queue.keys.servers();
    let _: u32 = chat
        .queue
        .command(&["ZADD", &key, "1", &gone.to_string()])
        .await;

    let told = seen(&chat, "lobby").await;
    assert_eq!((told.messages, told.unflushed, told.top), (5, 5, ids[4]));
    assert_eq!((told.watermark, told.warm), (MessageId::ZERO, false));
    let age = told.now_ms - told.unflushed_since_ms.unwrap();
    assert!(age < 60_000, "{age} ms");
    assert_eq!((told.members, told.fading), (3, 2));
    assert_eq!(told.members_by_server[&here.to_string()], 3);
    assert!(told.flushing.is_none() && told.premium_until_ms.is_none());

    let _worker = chat.worker();
    chat.chat.ask_rehydrate(&lobby).await.unwrap();
    chat.is_idle().await;
    chat.chat.ask_flush(&lobby).await.unwrap();
    chat.is_idle().await;
    let told = seen(&chat, "lobby").await;
    assert_eq!(
        (told.messages, told.unflushed, told.watermark),
        (2, 0, ids[4])
    );
    assert_eq!((told.warm, told.hydrated_from), (true, Some(ids[3])));
    assert!(told.unflushed_since_ms.is_none());
    assert!(told.expires_ms.unwrap() > told.now_ms);
}

#[tokio::test]
async fn an_ask_by_hand_is_that_of_the_servers() {
    let chat = TestChat::with(windowed(10, 10)).await;
    let (lobby, rooms) = (room("lobby"), rooms(&chat));
    let parts = || (chat.queue.redis.clone(), chat.queue.keys.clone());
    let (redis, keys) = parts();
    let ada = Operator::new(redis, keys).acting_for("ada");
    assert_eq!(
        rooms.ask_flush(&ada, &lobby).await.unwrap(),
        Asked::NotNeeded
    );
    chat.say(&lobby, "1").await;

    let Asked::Enqueued(job) = rooms.ask_flush(&ada, &lobby).await.unwrap() else {
        panic!("it is not enqueued")
    };
    assert_eq!(job.to_string(), "default-1");
    assert_eq!(
        rooms.ask_flush(&ada, &lobby).await.unwrap(),
        Asked::UnderWay
    );
    let told = seen(&chat, "lobby").await;
    assert!(told.flushing.is_some() && told.flush_again, "{told:?}");
    assert!(matches!(
        rooms.ask_rehydrate(&ada, &lobby).await.unwrap(),
        Asked::Enqueued(_)
    ));
    assert_eq!(
        rooms.ask_rehydrate(&ada, &lobby).await.unwrap(),
        Asked::UnderWay
    );
    assert!(seen(&chat, "lobby").await.hydrating.is_some());

    let _worker = chat.worker();
    chat.is_idle().await;
    assert_eq!(
        rooms.ask_flush(&ada, &lobby).await.unwrap(),
        Asked::NotNeeded
    );
    assert_eq!(
        rooms.ask_rehydrate(&ada, &lobby).await.unwrap(),
        Asked::NotNeeded
    );
    assert_eq!(chat.archived(&lobby).await.len(), 1);
    let (redis, keys) = parts();
    let [latest] = &Inspector::new(redis, keys).actions(None, 1).await.unwrap()[..] else {
        panic!("nothing is written down")
    };
    let told = [&latest.by, &latest.did, &latest.of];
    assert_eq!(told, ["ada", "rehydrate", "room lobby"]);
}

#[tokio::test]
async fn rooms_are_listed_from_the_sets_that_redis_has_of_them() {
    let chat = TestChat::with(windowed(10, 10)).await;
    for name in ["a", "b", "c"] {
        chat.say(&room(name), "1").await;
    }
    chat.chat.mark_premium(&room("b")).await.unwrap();

    let page = list(&chat, Which::Dirty, 2, None).await;
    assert_eq!(names(&page), ["a", "b"]);
    let page = list(&chat, Which::Dirty, 2, page.next.as_ref()).await;
    assert_eq!(names(&page), ["c"]);
    assert!(page.next.is_none());
    let page = list(&chat, Which::Premium, 2, None).await;
    assert_eq!(names(&page), ["b"]);
    assert!(page.rooms[0].premium_until_ms.is_some());
    let overview = rooms(&chat).overview().await.unwrap();
    assert_eq!((overview.dirty, overview.premium), (3, 1));
    assert!(overview.unflushed_since_ms.is_some() && overview.servers.is_empty());
}

#[tokio::test]
async fn rooms_with_members_are_listed_once_however_many_servers_have_them() {
    let chat = TestChat::with(windowed(10, 10)).await;
    let servers = [BootId::fresh(), BootId::fresh(), BootId::fresh()];
    for (n, server) in servers.iter().enumerate() {
        chat.chat
            .tell_members(*server, &room("all"), 1)
            .await
            .unwrap();
        let own = room(&format!("own-{n}"));
        chat.chat.tell_members(*server, &own, 1).await.unwrap();
    }
    let gone = servers[2].to_string();
    let key = chat.queue.keys.servers();
    let _: u32 = chat.queue.command(&["ZADD", &key, "1", &gone]).await;

    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = list(&chat, Which::Occupied, 1, cursor.as_ref()).await;
        found.extend(names(&page).into_iter().map(str::to_owned));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }

    found.sort_unstable();
    assert_eq!(found, ["all", "own-0", "own-1"]);
    let overview = rooms(&chat).overview().await.unwrap();
    assert_eq!(overview.servers.len(), 2);
    assert!(overview.servers.iter().all(|server| server.rooms == 2));
}

#[tokio::test]
async fn a_room_that_is_in_no_set_is_found_by_the_walk() {
    let chat = TestChat::with(windowed(10, 10)).await;
    let _worker = chat.worker();
    chat.say(&room("asleep"), "1").await;
    chat.chat.ask_flush(&room("asleep")).await.unwrap();
    chat.is_idle().await;
    assert!(names(&list(&chat, Which::Dirty, 9, None).await).is_empty());

    eventually("the walk has come to it", async || {
        let mut cursor = None;
        loop {
            let page = list(&chat, Which::All, 9, cursor.as_ref()).await;
            if names(&page) == ["asleep"] {
                return Some(());
            }
            cursor = Some(page.next?);
        }
    })
    .await;
}

#[tokio::test]
async fn a_short_page_of_the_walk_does_not_bring_a_thousand_rooms() {
    let chat = TestChat::with(windowed(10, 10)).await;
    for n in 0..300 {
        chat.say(&room(&format!("room-{n}")), "1").await;
    }

    let (mut cursor, mut seen) = (None, HashSet::new());
    loop {
        let page = list(&chat, Which::All, 1, cursor.as_ref()).await;
        let names = names(&page);
        // A step looks at a hundred keys or a few more.
        assert!(names.len() <= 150, "{}", names.len());
        seen.extend(names.iter().map(ToString::to_string));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }

    assert_eq!(seen.len(), 300);
}
