//! History: log and archive as one timeline, whatever of a room is where.

use common::{
    chat::{flush::FlushChunk, log::Opened, rehydrate::RehydrateChunk},
    id::{MessageId, RoomId},
    testing::TestChat,
};

use super::{Look, between, ids, room, windowed};

/// Where a room's history begins for a joiner, as a server finds out.
async fn look(chat: &TestChat, room: &RoomId, since: Option<MessageId>, limit: usize) -> Opened {
    let opened = chat.chat.log.beginning(room, since, limit).await.unwrap();
    if opened.warm && !opened.behind {
        return opened;
    }
    chat.chat
        .beginning_further(room, since, limit, opened)
        .await
        .unwrap()
}

/// Everything after an id, a few at a time.
async fn read(chat: &TestChat, room: &RoomId, mut after: MessageId) -> Vec<MessageId> {
    let mut all = Vec::new();
    loop {
        let part = chat.chat.newer(room, after, 3).await.unwrap();
        let Some(last) = part.last() else { return all };
        after = last.id;
        all.extend(ids(&part));
    }
}

/// A room of 20 messages, all in the archive, in the state that `prepare` leaves it in, and then one more.
async fn room_after(
    prepare: impl AsyncFnOnce(&TestChat, &RoomId, &[MessageId]),
) -> (TestChat, RoomId, Vec<MessageId>) {
    let chat = TestChat::with(windowed(5, 4)).await;
    let lobby = room("lobby");
    let worker = chat.worker();
    chat.warm(&lobby).await;
    let mut said = chat.say_many(&lobby, 20).await;
    chat.flush(&lobby).await;
    chat.is_idle().await;
    prepare(&chat, &lobby, &said).await;
    chat.is_idle().await;
    worker.stop().await;
    said.push(chat.say(&lobby, "21").await);
    (chat, lobby, said)
}

async fn assert_whole(chat: &TestChat, lobby: &RoomId, said: &[MessageId]) {
    for at in 0..said.len() {
        assert_eq!(
            read(chat, lobby, said[at]).await,
            said[at + 1..],
            "after {at}"
        );
        let since = look(chat, lobby, Some(said[at]), 100).await;
        assert!(since.complete && since.whole, "since {at}");
        assert_eq!(
            read(chat, lobby, since.after).await,
            said[at + 1..],
            "since {at}"
        );
    }
    let older = chat.chat.older(lobby, said[12], 9).await.unwrap();
    assert_eq!(ids(&older), said[3..12]);
    assert_eq!(read(chat, lobby, MessageId::ZERO).await, said);
    for limit in [1, 3] {
        let newest = look(chat, lobby, None, limit).await;
        assert!(newest.complete && newest.whole && newest.more);
        assert_eq!(
            read(chat, lobby, newest.after).await,
            said[said.len() - limit..]
        );
    }
    let too_many = look(chat, lobby, Some(said[1]), 3).await;
    assert!(
        !too_many.complete && too_many.whole,
        "more than it asked for"
    );
    assert_eq!(
        read(chat, lobby, too_many.after).await,
        said[said.len() - 3..]
    );
    let never = look(chat, lobby, Some(MessageId::MAX), 3).await;
    assert!(!never.complete, "the room never had it");
}

#[tokio::test]
async fn a_trimmed_room_is_read_from_the_archive_below_its_window() {
    let (chat, lobby, said) = room_after(async |_, _, _| {}).await;

    assert_eq!(chat.log(&lobby).await.len(), 6);
    assert_whole(&chat, &lobby, &said).await;
}

#[tokio::test]
async fn a_room_that_has_left_redis_is_read_from_the_archive() {
    let (chat, lobby, said) = room_after(async |chat, lobby, _| chat.expire(lobby).await).await;

    assert_eq!(chat.log(&lobby).await.len(), 1);
    assert_whole(&chat, &lobby, &said).await;
}

#[tokio::test]
async fn pieces_in_a_cold_log_hide_no_hole() {
    let (chat, lobby, said) = room_after(async |chat, lobby, said| {
        chat.expire(lobby).await;
        for (from, to) in [(2, 4), (14, 17)] {
            let piece = RehydrateChunk {
                room: lobby.clone(),
                range: between(said[from], said[to]),
            };
            chat.queue.producer().enqueue(&piece).await.unwrap();
        }
    })
    .await;

    assert_eq!(chat.log(&lobby).await.len(), 6);
    // A message whose predecessors lie in the archive and as pieces in the log.
    let all = read(&chat, &lobby, said[1]).await;
    assert_eq!(all, said[2..]);
    let since = look(&chat, &lobby, Some(said[2]), 100).await;
    assert!(since.complete && !since.warm);
    assert_eq!(read(&chat, &lobby, since.after).await, said[3..]);
    let newest = look(&chat, &lobby, None, 8).await;
    let shown = read(&chat, &lobby, newest.after).await;
    assert!(shown.len() >= 8 && said.ends_with(&shown));
}

#[tokio::test]
async fn a_cold_room_whose_flush_is_half_done_is_read_whole() {
    let (chat, lobby, mut said) = room_after(async |chat, lobby, _| chat.expire(lobby).await).await;
    for number in 22..26 {
        said.push(chat.say(&lobby, &number.to_string()).await);
    }
    let later_half = FlushChunk {
        room: lobby.clone(),
        range: between(said[22], said[24]),
    };
    let _worker = chat.worker();
    chat.queue.producer().enqueue(&later_half).await.unwrap();
    chat.is_idle().await;

    assert_whole(&chat, &lobby, &said).await;
}

#[tokio::test]
async fn what_comes_in_a_cold_room_that_somebody_looked_at_follows_what_is_archived() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let worker = chat.worker();
    let said = chat.say_many(&lobby, 3).await;
    chat.flush(&lobby).await;
    chat.is_idle().await;
    worker.stop().await;
    chat.expire(&lobby).await;

    let cold = look(&chat, &lobby, None, 10).await;
    let next = chat.say(&lobby, "4").await;
    let again = look(&chat, &lobby, None, 10).await;

    assert!(!cold.warm && cold.whole && cold.complete && !cold.more);
    assert_eq!((cold.top, again.top), (said[2], next));
    assert_eq!(chat.log(&lobby).await[0].prev, said[2]);
}

#[tokio::test]
async fn a_room_that_nobody_has_spoken_in_needs_no_job() {
    let chat = TestChat::start().await;
    let (fresh, spoken) = (room("fresh"), room("spoken"));
    let said = chat.say(&spoken, "1").await;

    let empty = look(&chat, &fresh, None, 10).await;
    let one = look(&chat, &spoken, None, 10).await;

    assert!(empty.warm && empty.complete && !empty.more);
    assert!(one.warm && one.complete && !one.more);
    assert_eq!(ids(&chat.log(&spoken).await), [said]);
    for room in [&fresh, &spoken] {
        chat.chat.ask_rehydrate(room).await.unwrap();
    }
    assert_eq!(chat.stat("enqueued:high").await, 0);
    assert!(chat.is_dirty(&spoken).await, "it is still to be flushed");
}

/// The archive is empty when it is asked; then a message comes, is flushed, and leaves Redis with the room.
#[tokio::test]
async fn a_room_is_not_taken_for_new_if_it_was_spoken_in_meanwhile() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let lock = super::TableLock::take(&chat).await;
    let opened = chat.chat.log.beginning(&lobby, None, 10).await.unwrap();
    let (own, own_lobby) = (chat.elsewhere(), lobby.clone());
    let looking =
        tokio::spawn(async move { own.beginning_further(&own_lobby, None, 10, opened).await });
    lock.is_awaited().await;
    // As if all that had happened: the mark, which was set before the archive was asked, is gone.
    chat.expire(&lobby).await;
    lock.release().await;

    let opened = looking.await.unwrap().unwrap();

    assert!(!opened.warm, "nobody can say that it is complete");
    assert!(opened.whole, "but now it can be read");
}

#[tokio::test]
async fn without_an_archive_what_the_log_tells_stays_true() {
    let (chat, lobby, said) = room_after(async |_, _, _| {}).await;
    let lock = super::TableLock::take(&chat).await;

    let behind = chat
        .chat
        .log
        .beginning(&lobby, Some(said[3]), 100)
        .await
        .unwrap();
    let further = chat
        .chat
        .beginning_further(&lobby, Some(said[3]), 100, behind.clone())
        .await;
    let unread = chat.chat.newer(&lobby, said[3], 10).await;
    let level = chat.chat.newer(&lobby, said[14], 10).await.unwrap();
    lock.release().await;

    assert!(behind.behind && !behind.complete);
    assert!(further.is_err() && unread.is_err());
    assert_eq!(ids(&level), said[15..], "the log has all of that");
}
