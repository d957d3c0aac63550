//! A cold room comes back while people write in it.

use crate::harness::{Client, Server, Stack, stack::seen};

const ROOM: &str = "stage";

/// Messages of the conversation before the room went cold.
const BEFORE: usize = 150;

fn lines(who: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{who} {n}")).collect()
}

/// A room with a past in Postgres and nothing in Redis, and one member who did not notice.
async fn cold_room(stack: &Stack, server: &Server) -> Client {
    let mut dora = server.client("dora").await;
    dora.join(ROOM).await;
    dora.post_all(ROOM, &lines("past", BEFORE)).await;
    dora.leave(ROOM).await;
    stack.flushed(ROOM, BEFORE).await;
    dora.join(ROOM).await;
    stack.idle().await;
    stack.forget_rooms().await;
    dora
}

#[tokio::test]
async fn nobody_sees_a_hole_or_a_double_in_a_room_that_comes_back_while_people_write() {
    let stack = Stack::start().await.with("FLUSH_CHUNK", "1");
    let ((first, second), _workers) = tokio::join!(stack.two_servers(), stack.two_workers());
    let mut dora = cold_room(&stack, &second).await;
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;

    let held = stack.hold_archive("ACCESS EXCLUSIVE").await;
    ada.ask_to_join(ROOM, None).await;
    bob.ask_to_join(ROOM, None).await;
    stack.has_waiters(1).await;
    let news = lines("dora", 40);
    dora.post_all(ROOM, &news[..20]).await;
    held.release().await;
    dora.post_all(ROOM, &news[20..]).await;

    all_see_the_same(&stack, [ada, bob, dora], BEFORE + 40).await;
}

/// What was at hand has ids like any other, and nothing before them would come to who went on from there.
#[tokio::test]
async fn a_reader_whose_stream_ends_before_its_room_is_back_gets_all_of_it() {
    let stack = Stack::start().await.with("FLUSH_CHUNK", "10");
    let ((first, second), _workers) = tokio::join!(stack.two_servers(), stack.two_workers());
    let mut dora = cold_room(&stack, &second).await;

    let held = stack.hold_archive("ACCESS EXCLUSIVE").await;
    let mut eve = first.events("eve", ROOM).await;
    dora.post(ROOM, "dora writes").await;
    eve.hears("dora writes").await;
    assert_eq!(eve.texts(), ["dora writes"]);
    held.release().await;
    stack.idle().await;
    eve.come_back(second.port).await;
    eve.until("all that a newcomer gets", |seen| {
        seen.messages.len() == 100
    })
    .await;

    let all = [lines("past", BEFORE), vec!["dora writes".to_owned()]].concat();
    assert_eq!(eve.texts(), all[all.len() - 100..]);
    assert_eq!(eve.seen.resets, 1);
}

#[tokio::test]
async fn who_joined_a_room_that_did_not_come_back_in_time_is_told_when_it_has() {
    let stack = Stack::start().await.with("FLUSH_CHUNK", "10");
    let ((first, second), _workers) = tokio::join!(stack.two_servers(), stack.two_workers());
    let mut dora = cold_room(&stack, &second).await;
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;

    let held = stack.hold_archive("ACCESS EXCLUSIVE").await;
    let (for_ada, for_bob) = tokio::join!(ada.join(ROOM), bob.join(ROOM));
    assert_eq!(for_ada["complete"], false);
    assert_eq!(for_bob["complete"], false);
    assert_eq!(for_bob["partial"], true);
    dora.post(ROOM, "dora writes").await;
    ada.post(ROOM, "ada writes").await;
    bob.hears(ROOM, "ada writes").await;
    held.release().await;
    for person in [&mut ada, &mut bob] {
        person
            .until("the room's history", ROOM, |seen| {
                seen.complete && seen.messages.len() >= BEFORE + 2
            })
            .await;
        assert!(person.room(ROOM).resets > 0);
    }

    all_see_the_same(&stack, [ada, bob, dora], BEFORE + 2).await;
}

/// Waits until everybody has seen everything; then that is what the archive gets.
async fn all_see_the_same(stack: &Stack, mut people: [Client; 3], messages: usize) {
    for person in &mut people {
        person
            .until("the past and the news", ROOM, |seen| {
                seen.complete && !seen.stale && seen.messages.len() >= messages
            })
            .await;
    }
    assert_eq!(seen(&people[0], ROOM), seen(&people[1], ROOM));
    assert_eq!(seen(&people[0], ROOM), seen(&people[2], ROOM));
    for person in &mut people {
        person.leave(ROOM).await;
    }
    stack.flushed(ROOM, messages).await;
    stack.is_what_is_archived(ROOM, &people[0]).await;
    stack.idle().await;
    assert_eq!(stack.total("buried").await, 0);
}

#[tokio::test]
async fn many_who_open_a_cold_room_at_once_cause_one_rehydration() {
    let stack = Stack::start().await;
    let ((first, second), _workers) = tokio::join!(stack.two_servers(), stack.two_workers());
    drop(cold_room(&stack, &second).await);
    stack.idle().await;
    let before = stack.total("completed:default").await;

    let joined = futures_util::future::join_all((0..40).map(async |n| {
        let server = if n % 2 == 0 { &first } else { &second };
        let mut client = server.client(&format!("person-{n}")).await;
        client.join(ROOM).await;
        client
    }))
    .await;

    for client in &joined {
        assert_eq!(client.texts(ROOM), lines("past", BEFORE));
    }
    stack.idle().await;
    assert_eq!(stack.total("completed:default").await - before, 3);
}
