//! Open: what somebody gets who joins, whatever is at hand.

use common::{
    chat::{
        log::{Opened, Seen},
        rehydrate::RehydrateChunk,
    },
    id::{MessageId, RoomId},
    testing::TestChat,
};

use super::{Look, assert_chain, between, ids, room, windowed};

async fn open(chat: &TestChat, room: &RoomId, since: Option<MessageId>, limit: usize) -> Opened {
    chat.chat.log.open(room, since, limit).await.unwrap()
}

/// A warm room with so many messages.
async fn warm_room(chat: &TestChat, count: usize) -> (RoomId, Vec<MessageId>) {
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, count).await;
    chat.flush(&lobby).await;
    chat.warm(&lobby).await;
    chat.is_idle().await;
    (lobby, said)
}

/// A warm room of 30 messages whose log holds the newest 10.
async fn trimmed_room() -> (TestChat, RoomId, Vec<MessageId>) {
    let chat = TestChat::with(windowed(10, 4)).await;
    let (lobby, said) = warm_room(&chat, 29).await;
    let mut said = said;
    said.push(chat.say(&lobby, "30").await);
    let _worker = chat.worker();
    chat.flush(&lobby).await;
    chat.is_idle().await;
    assert_eq!(ids(&chat.log(&lobby).await), said[20..]);
    (chat, lobby, said)
}

#[tokio::test]
async fn a_cold_room_never_looks_complete() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let empty = open(&chat, &lobby, None, 10).await;

    let said = chat.say_many(&lobby, 2).await;
    let newest = open(&chat, &lobby, None, 10).await;
    let since = open(&chat, &lobby, Some(said[0]), 10).await;

    assert!(!empty.warm && !empty.complete);
    assert!(!newest.warm && !newest.complete);
    assert!(!since.warm && !since.complete);
    assert_eq!(ids(&newest.entries), said);
    assert_eq!(newest.top, said[1]);
}

#[tokio::test]
async fn a_new_room_is_complete_and_empty() {
    let chat = TestChat::start().await;

    let (lobby, _) = warm_room(&chat, 0).await;

    let opened = open(&chat, &lobby, None, 10).await;
    assert!(opened.warm && opened.complete && !opened.more);
    assert!(opened.entries.is_empty());
    let first = chat.say(&lobby, "1").await;
    let opened = open(&chat, &lobby, Some(MessageId::ZERO), 10).await;
    assert!(opened.complete);
    assert_eq!(ids(&opened.entries), [first]);
}

#[tokio::test]
async fn without_a_last_id_the_newest_come() {
    let chat = TestChat::start().await;
    let (lobby, said) = warm_room(&chat, 9).await;

    let all = open(&chat, &lobby, None, 9).await;
    let some = open(&chat, &lobby, None, 4).await;

    assert!(all.complete && !all.more);
    assert_eq!(ids(&all.entries), said);
    assert!(some.complete && some.more);
    assert_eq!(ids(&some.entries), said[5..]);
    assert_eq!(some.top, said[8]);
}

#[tokio::test]
async fn with_a_last_id_exactly_what_is_newer_comes() {
    let chat = TestChat::start().await;
    let (lobby, said) = warm_room(&chat, 9).await;

    let from_first = open(&chat, &lobby, Some(MessageId::ZERO), 9).await;
    let some = open(&chat, &lobby, Some(said[5]), 3).await;
    let none = open(&chat, &lobby, Some(said[8]), 3).await;

    assert!(from_first.complete && some.complete && none.complete);
    assert_eq!(ids(&from_first.entries), said);
    assert_eq!(ids(&some.entries), said[6..]);
    assert_chain(&some.entries, said[5]);
    assert!(none.entries.is_empty());
}

#[tokio::test]
async fn more_than_the_limit_since_the_last_id_is_told_and_the_newest_come() {
    let chat = TestChat::start().await;
    let (lobby, said) = warm_room(&chat, 9).await;

    let opened = open(&chat, &lobby, Some(said[4]), 3).await;

    assert!(!opened.complete && opened.warm && opened.more);
    assert_eq!(ids(&opened.entries), said[6..]);
}

#[tokio::test]
async fn a_last_id_that_the_room_never_had_is_told() {
    let chat = TestChat::start().await;
    let (lobby, said) = warm_room(&chat, 9).await;

    for beyond in [said[8].0 + 1, MessageId::MAX.0, i64::MAX] {
        let opened = open(&chat, &lobby, Some(MessageId(beyond)), 3).await;

        assert!(!opened.complete, "{beyond}");
        assert_eq!(ids(&opened.entries), said[6..]);
    }
}

#[tokio::test]
async fn a_trimmed_log_is_complete_for_who_saw_the_message_before_its_first() {
    let (chat, lobby, said) = trimmed_room().await;

    let level = open(&chat, &lobby, Some(said[19]), 100).await;
    let within = open(&chat, &lobby, Some(said[20]), 100).await;
    let behind = open(&chat, &lobby, Some(said[18]), 100).await;
    let newest = open(&chat, &lobby, None, 100).await;

    assert!(level.complete && within.complete);
    assert_eq!(ids(&level.entries), said[20..]);
    assert!(!behind.complete && behind.more);
    assert!(newest.complete && newest.more);
    assert_eq!(newest.hydrated_from, said[20]);
}

#[tokio::test]
async fn what_a_late_child_brings_back_below_the_window_is_not_shown_as_history() {
    let (chat, lobby, said) = trimmed_room().await;
    let late = RehydrateChunk {
        room: lobby.clone(),
        range: between(MessageId::ZERO, said[4]),
    };

    let _worker = chat.worker();
    chat.queue.producer().enqueue(&late).await.unwrap();
    chat.is_idle().await;

    let newest = open(&chat, &lobby, None, 100).await;
    assert!(newest.complete && newest.more);
    assert_eq!(ids(&newest.entries), said[20..]);
    let since = open(&chat, &lobby, Some(said[1]), 100).await;
    assert!(!since.complete, "messages 6 to 20 are not there");
    assert_eq!(ids(&since.entries), said[20..]);
    let (page, from) = chat
        .chat
        .log
        .before(&lobby, MessageId::MAX, 12)
        .await
        .unwrap();
    assert_eq!((ids(&page), from), (said[20..].to_vec(), Some(said[20])));

    // The next flush takes the pieces away and does not take them for the room's beginning.
    let newer = chat.say(&lobby, "31").await;
    chat.flush(&lobby).await;
    let newest = open(&chat, &lobby, None, 100).await;
    assert_eq!(newest.hydrated_from, said[21]);
    assert_eq!(
        ids(&chat.log(&lobby).await),
        [&said[21..], &[newer]].concat()
    );
}

#[tokio::test]
async fn a_log_that_was_deleted_by_hand_comes_back() {
    let chat = TestChat::start().await;
    let (lobby, said) = warm_room(&chat, 5).await;
    let _worker = chat.worker();
    let _: usize = chat
        .queue
        .command(&["DEL", &chat.queue.keys.log(&lobby)])
        .await;

    let (page, from) = chat
        .chat
        .log
        .before(&lobby, MessageId::MAX, 12)
        .await
        .unwrap();
    let (newer, newer_from) = chat.chat.log.after(&lobby, said[1], 12).await.unwrap();
    let gone = open(&chat, &lobby, None, 10).await;
    let gone_since = open(&chat, &lobby, Some(said[1]), 10).await;
    chat.warm(&lobby).await;
    let back = open(&chat, &lobby, None, 10).await;

    assert!(page.is_empty() && from.is_none(), "the archive is asked");
    assert!(newer.is_empty() && newer_from.is_none());
    assert!(!gone.warm && !gone.complete && !gone_since.complete);
    assert!(back.complete);
    assert_eq!(ids(&back.entries), said);
}

#[tokio::test]
async fn pages_tell_from_which_id_on_they_are_complete() {
    let (chat, lobby, said) = trimmed_room().await;
    let log = &chat.chat.log;

    let (older, from) = log.before(&lobby, said[25], 3).await.unwrap();
    let (oldest, _) = log.before(&lobby, said[22], 9).await.unwrap();
    let (newer, from_too) = log.after(&lobby, said[25], 3).await.unwrap();
    let (cold, nowhere) = log.before(&room("other"), said[25], 3).await.unwrap();

    assert_eq!((from, from_too), (Some(said[20]), Some(said[20])));
    assert_eq!(ids(&older), said[22..25]);
    assert_eq!(ids(&oldest), said[20..22]);
    assert_eq!(ids(&newer), said[26..29]);
    assert!(cold.is_empty() && nowhere.is_none());
}

#[tokio::test]
async fn a_look_at_a_room_changes_nothing() {
    let chat = TestChat::with(windowed(10, 4)).await;
    let lobby = room("lobby");
    let look = async || chat.chat.log.look(&lobby).await.unwrap();
    let nothing = look().await;
    let keys: Vec<String> = chat.queue.command(&["KEYS", &all_keys(&chat)]).await;
    let said = chat.say_many(&lobby, 3).await;
    let cold = look().await;
    let still_cold = look().await;
    let _worker = chat.worker();
    chat.flush(&lobby).await;
    chat.warm(&lobby).await;
    let warm = look().await;
    let log = chat.chat.log.keys().log(&lobby);
    let _: u64 = chat.queue.command(&["DEL", &log]).await;
    let deleted = look().await;

    let seen = |top, warm| Seen {
        warm,
        top,
        members: 0,
    };
    assert_eq!(nothing, seen(MessageId::ZERO, false));
    assert_eq!(keys, [""; 0]);
    assert_eq!((cold, still_cold), (seen(said[2], false), cold));
    assert_eq!(warm, seen(said[2], true));
    assert_eq!(deleted, seen(said[2], false));
}

fn all_keys(chat: &TestChat) -> String {
    format!("{}*", chat.queue.keys.prefix())
}
