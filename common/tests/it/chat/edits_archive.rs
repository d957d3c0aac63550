//! Edits and deletions: in the archive, and on the way between it and the log.

use common::{
    chat::{
        ChangeError,
        change::Unchangeable,
        flush::{FlushChunk, FlushDone},
        message::Marks,
        rehydrate::RehydrateChunk,
    },
    id::{MessageId, RoomId},
    testing::TestChat,
};

use super::{
    Look, between, by_ada,
    edits::{Edit, deleted, deletes, edited, edits, marks},
    ids, room, texts, windowed,
};

#[tokio::test]
async fn children_may_store_a_change_before_its_message_and_an_earlier_change_after_a_later_one() {
    let chat = TestChat::with(windowed(1000, 1)).await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, 2).await;
    let old: Vec<_> = chat.log(&lobby).await;
    let first = chat.edit(&lobby, said[0], "one").await;
    let second = chat.edit(&lobby, said[0], "uno").await;
    let deletion = chat.delete(&lobby, said[1]).await;

    for (after, to) in [(second, deletion), (first, second), (said[1], first)] {
        let child = FlushChunk {
            room: lobby.clone(),
            range: between(after, to),
        };
        chat.queue.producer().enqueue(&child).await.unwrap();
        chat.is_idle().await;
    }
    // A child that read the log before the changes, and stores what it read after them.
    chat.chat.archive.insert(&lobby, &old).await.unwrap();
    let done = FlushDone {
        room: lobby.clone(),
        after: MessageId::ZERO,
        to: deletion,
        begun_ms: None,
    };
    for _twice in 0..2 {
        chat.queue.producer().enqueue(&done).await.unwrap();
        chat.is_idle().await;
        let late = chat.chat.archive.insert(&lobby, &old).await.unwrap();
        assert_eq!(late, 0);
    }

    let archived = chat.archived(&lobby).await;
    assert_eq!(texts(&archived), ["uno", "", "", "uno", ""]);
    let replaced = Marks {
        edited_at: Some(second),
        ..edits(said[0])
    };
    let expected = [
        edited(second),
        deleted(deletion),
        replaced,
        edits(said[0]),
        deletes(said[1]),
    ];
    assert_eq!(marks(&archived), expected);
    assert_eq!(
        chat.log(&lobby).await,
        archived,
        "log and archive are the same"
    );
}

/// Messages of a warm room, all of them in the archive and the newest in the log. No worker runs any more.
async fn say_and_archive(chat: &TestChat, room: &RoomId, count: usize) -> Vec<MessageId> {
    let worker = chat.worker();
    let said = chat.say_many(room, count).await;
    chat.warm(room).await;
    chat.flush(room).await;
    chat.is_idle().await;
    worker.stop().await;
    said
}

#[tokio::test]
async fn what_is_in_the_archive_only_is_changed_there_at_once() {
    let chat = TestChat::with(windowed(3, 2)).await;
    let lobby = room("lobby");
    let said = say_and_archive(&chat, &lobby, 8).await;
    assert_eq!(ids(&chat.log(&lobby).await), said[5..]);

    let edit = chat.edit(&lobby, said[0], "one").await;
    let gone = chat.delete(&lobby, said[1]).await;
    let again = chat.edit(&lobby, said[0], "uno").await;

    // No worker has flushed anything.
    let archived = chat.archived(&lobby).await;
    assert_eq!(texts(&archived)[..3], ["uno", "", "3"]);
    assert_eq!(marks(&archived)[..2], [edited(again), deleted(gone)]);
    assert_eq!(chat.why_not(&lobby, said[1]).await, Unchangeable::Deleted);
    assert_eq!(
        ids(&chat.log(&lobby).await),
        [&said[5..], &[edit, gone, again]].concat()
    );

    let _worker = chat.worker();
    chat.flush(&lobby).await;
    let archived = chat.archived(&lobby).await;
    assert_eq!(ids(&archived)[8..], [edit, gone, again]);
    assert_eq!(texts(&archived)[8..], ["", "", "uno"]);
    assert_eq!(
        chat.life_of(&chat.queue.keys.changed(&lobby)).await,
        -2,
        "the archive knows"
    );
}

#[tokio::test]
async fn a_deletion_that_the_archive_does_not_know_yet_counts() {
    let chat = TestChat::with(windowed(2, 2)).await;
    let lobby = room("lobby");
    let said = say_and_archive(&chat, &lobby, 5).await;
    chat.delete(&lobby, said[0]).await;

    // As if the server had died before it told the archive.
    chat.database
        .execute("UPDATE messages SET body = '1', deleted = false, edited_id = NULL")
        .await;

    assert_eq!(chat.why_not(&lobby, said[0]).await, Unchangeable::Deleted);
    let _worker = chat.worker();
    chat.flush(&lobby).await;
    assert_eq!(texts(&chat.archived(&lobby).await)[0], "");
    assert_eq!(chat.why_not(&lobby, said[0]).await, Unchangeable::Deleted);
}

#[tokio::test]
async fn a_change_of_a_room_that_comes_back_meanwhile_is_not_forgotten() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let worker = chat.worker();
    let said = chat.say_many(&lobby, 4).await;
    chat.edit(&lobby, said[3], "vier").await;
    chat.flush(&lobby).await;
    chat.is_idle().await;
    chat.expire(&lobby).await;
    chat.chat.log.begin_rehydration(&lobby).await.unwrap();
    let restore = async |to: MessageId| {
        let child = RehydrateChunk {
            room: lobby.clone(),
            range: between(MessageId::ZERO, to),
        };
        chat.queue.producer().enqueue(&child).await.unwrap();
        chat.is_idle().await;
    };
    // One piece is there before the changes.
    restore(said[1]).await;

    let edit = chat.edit(&lobby, said[0], "one").await;
    let deletion = chat.delete(&lobby, said[2]).await;
    let again = chat.edit(&lobby, said[3], "four").await;
    // What a child has read before the changes, and restores after them.
    chat.database
        .execute(
            "UPDATE messages SET deleted = false, edited_id = NULL, \
             body = CASE prev_id WHEN 0 THEN '1' ELSE 'old' END WHERE edits IS NULL; \
             UPDATE messages SET body = 'vier', edited_id = NULL WHERE edits IS NOT NULL",
        )
        .await;
    restore(MessageId::MAX).await;

    let log = chat.log(&lobby).await;
    assert_eq!(texts(&log), ["one", "2", "", "four", "", "one", "", "four"]);
    assert_eq!(
        marks(&log)[..4],
        [
            edited(edit),
            Marks::default(),
            deleted(deletion),
            edited(again)
        ]
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_stale_piece_in_a_cold_log_gives_way_to_the_archive() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, 3).await;
    chat.flush(&lobby).await;
    let stale = chat.log(&lobby).await;
    chat.edit(&lobby, said[0], "one").await;
    chat.delete(&lobby, said[1]).await;
    chat.flush(&lobby).await;
    let whole = chat.log(&lobby).await;
    chat.is_idle().await;
    chat.expire(&lobby).await;
    let log = chat.queue.keys.log(&lobby);
    for entry in &stale {
        let (id, text) = (entry.id.to_string(), entry.text());
        let _: i64 = chat.queue.command(&["ZADD", &log, &id, &text]).await;
    }

    assert_eq!(chat.why_not(&lobby, said[1]).await, Unchangeable::Deleted);
    chat.warm(&lobby).await;

    assert_eq!(chat.log(&lobby).await, whole);
}

#[tokio::test]
async fn without_postgres_what_is_in_the_log_can_be_changed_and_the_rest_is_told() {
    let chat = TestChat::with(windowed(2, 2)).await;
    let (lobby, fresh) = (room("lobby"), room("fresh"));
    let said = say_and_archive(&chat, &lobby, 4).await;
    chat.database
        .execute("ALTER TABLE messages RENAME TO away")
        .await;

    chat.edit(&lobby, said[3], "four").await;
    let cold = chat.chat.edit(&lobby, said[0], &by_ada("one")).await;
    // A room that nobody has opened so far, whose archive could not be asked.
    let first = chat.say(&fresh, "first").await;
    chat.delete(&fresh, first).await;

    assert!(matches!(cold, Err(ChangeError::Archive(_))), "{cold:?}");
    chat.database
        .execute("ALTER TABLE away RENAME TO messages")
        .await;
    let _worker = chat.worker();
    chat.edit(&lobby, said[0], "one").await;
    chat.flush(&lobby).await;
    assert_eq!(
        texts(&chat.archived(&lobby).await),
        ["one", "2", "3", "four", "four", "one"]
    );
}

#[tokio::test]
async fn what_the_archive_does_not_take_at_once_is_not_acknowledged_before_it_has_it() {
    let chat = TestChat::with(windowed(2, 2)).await;
    let lobby = room("lobby");
    let said = say_and_archive(&chat, &lobby, 4).await;
    // It can be read, and goes before it is written.
    chat.database
        .execute("ALTER TABLE messages ADD CONSTRAINT away CHECK (body <> 'one') NOT VALID")
        .await;

    let one = by_ada("one");
    let edit = || chat.chat.edit(&lobby, said[0], &one);
    for _ in 0..2 {
        let away = edit().await;
        assert!(matches!(away, Err(ChangeError::Archive(_))), "{away:?}");
    }
    chat.database
        .execute("ALTER TABLE messages DROP CONSTRAINT away")
        .await;
    let again = edit().await.unwrap();

    assert!(again.duplicate);
    let archived = chat.archived(&lobby).await;
    assert_eq!(texts(&archived), ["one", "2", "3", "4"]);
    assert_eq!(marks(&archived)[0], edited(again.id));
    // What the log shows needs no archive, though it is sent again.
    chat.database
        .execute("ALTER TABLE messages RENAME TO away")
        .await;
    for _ in 0..2 {
        chat.edit(&lobby, said[3], "four").await;
    }
}

#[tokio::test]
async fn a_change_is_above_what_it_changes_even_if_the_clock_went_back() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let meta = chat.queue.keys.meta(&lobby);
    let ahead = MessageId::MAX.0 - 1000;
    let _: i64 = chat
        .queue
        .command(&["HSET", &meta, "top", &ahead.to_string()])
        .await;
    let said = chat.say(&lobby, "1").await;
    chat.flush(&lobby).await;
    chat.expire(&lobby).await;

    let edit = chat.edit(&lobby, said, "one").await;

    assert!(edit > said);
    chat.flush(&lobby).await;
    chat.expire(&lobby).await;
    chat.warm(&lobby).await;
    assert_eq!(texts(&chat.log(&lobby).await), ["one", "one"]);
}

#[tokio::test]
async fn what_leaves_the_log_before_its_change_is_flushed_shows_it_all_the_same() {
    let chat = TestChat::with(windowed(2, 10)).await;
    let lobby = room("lobby");
    let worker = chat.worker();
    chat.warm(&lobby).await;
    chat.is_idle().await;
    worker.stop().await;
    let said = chat.say_many(&lobby, 6).await;
    let child = FlushChunk {
        room: lobby.clone(),
        range: between(MessageId::ZERO, said[5]),
    };
    let done = FlushDone {
        room: lobby.clone(),
        after: MessageId::ZERO,
        to: said[5],
        begun_ms: None,
    };
    // What a child has read before the changes.
    let read = chat.log(&lobby).await;
    chat.chat.archive.insert(&lobby, &read).await.unwrap();
    chat.queue.producer().enqueue(&child).await.unwrap();
    let deletion = chat.delete(&lobby, said[0]).await;
    chat.edit(&lobby, said[1], "two").await;

    chat.queue.producer().enqueue(&done).await.unwrap();
    let worker = chat.worker();
    chat.is_idle().await;
    worker.stop().await;

    assert!(chat.is_dirty(&lobby).await, "the changes are not flushed");
    assert_eq!(chat.log(&lobby).await[0].id, deletion, "the log is trimmed");
    let archived = chat.archived(&lobby).await;
    assert_eq!(texts(&archived), ["", "two", "3", "4", "5", "6"]);
    assert_eq!(chat.why_not(&lobby, said[0]).await, Unchangeable::Deleted);
}
