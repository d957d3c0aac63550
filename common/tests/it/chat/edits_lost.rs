//! Edits and deletions that Redis loses, as a machine's failure may have it: what the archive knows of them counts
//! when the room comes back.

use common::{
    chat::flush::{FlushChunk, FlushDone},
    id::{MessageId, RoomId},
    testing::TestChat,
};

use super::{
    Look, between,
    edits::{Edit, deleted, deletes, edited, edits, marks},
    room, texts,
};

/// What Redis knows of a room at some moment.
struct Saved<'a> {
    chat: &'a TestChat,
    keys: Vec<String>,
}

impl<'a> Saved<'a> {
    async fn now(chat: &'a TestChat, room: &RoomId) -> Self {
        let keys = &chat.queue.keys;
        let keys = vec![
            keys.log(room),
            keys.meta(room),
            keys.changed(room),
            keys.sent(room),
            keys.dirty(),
        ];
        let saved = Self { chat, keys };
        for key in &saved.keys {
            saved.copy(key, &format!("{key}:saved")).await;
        }
        saved
    }

    /// Redis comes back as it was then.
    async fn again(self) {
        for key in &self.keys {
            self.copy(&format!("{key}:saved"), key).await;
        }
    }

    async fn copy(&self, from: &str, to: &str) {
        let _: i64 = self.chat.queue.command(&["DEL", to]).await;
        let _: i64 = self.chat.queue.command(&["COPY", from, to]).await;
    }
}

/// A child stores a range, and Redis is lost before what follows it.
async fn store(chat: &TestChat, room: &RoomId, after: MessageId, to: MessageId) {
    let child = FlushChunk {
        room: room.clone(),
        range: between(after, to),
    };
    chat.queue.producer().enqueue(&child).await.unwrap();
    chat.is_idle().await;
}

/// What was flushed may show what Redis has lost; what Redis has kept shows in the end.
#[tokio::test]
async fn an_edit_survives_a_later_one_that_redis_lost() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say(&lobby, "1").await;
    chat.flush(&lobby).await;
    let kept = chat.edit(&lobby, said, "kept").await;
    let saved = Saved::now(&chat, &lobby).await;

    // A later edit comes, a child stores the earlier one, and Redis loses the later one.
    chat.edit(&lobby, said, "lost").await;
    store(&chat, &lobby, said, kept).await;
    saved.again().await;
    chat.flush(&lobby).await;

    assert_eq!(texts(&chat.archived(&lobby).await), ["kept", "kept"]);
    assert_eq!(chat.log(&lobby).await, chat.archived(&lobby).await);
}

#[tokio::test]
async fn changes_that_were_stored_and_then_lost_show_when_the_room_comes_back() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, 2).await;
    chat.warm(&lobby).await;
    chat.flush(&lobby).await;
    let saved = Saved::now(&chat, &lobby).await;
    let first = chat.edit(&lobby, said[0], "one").await;
    let second = chat.edit(&lobby, said[0], "uno").await;
    let deletion = chat.delete(&lobby, said[1]).await;
    store(&chat, &lobby, said[1], deletion).await;

    saved.again().await;

    let opened = chat
        .chat
        .log
        .open(&lobby, Some(deletion), 10)
        .await
        .unwrap();
    assert!(!opened.complete, "who saw the changes is told to reload");
    assert_eq!(texts(&opened.entries), ["1", "2"], "while the room stays");
    chat.is_idle().await;
    chat.expire(&lobby).await;
    chat.warm(&lobby).await;
    let log = chat.log(&lobby).await;
    assert_eq!(texts(&log), ["uno", "", "", "uno", ""]);
    let mut replaced = edits(said[0]);
    replaced.edited_at = Some(second);
    let expected = [
        edited(second),
        deleted(deletion),
        replaced,
        edits(said[0]),
        deletes(said[1]),
    ];
    assert_eq!(marks(&log), expected, "{first} was replaced");
    assert_eq!(log, chat.archived(&lobby).await);
}

/// The other way round: the archive shows on the message what no entry tells any more.
#[tokio::test]
async fn a_change_that_the_archive_shows_stays_though_redis_lost_its_entry() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, 2).await;
    chat.warm(&lobby).await;
    chat.flush(&lobby).await;
    let saved = Saved::now(&chat, &lobby).await;
    let edit = chat.edit(&lobby, said[0], "one").await;
    let deletion = chat.delete(&lobby, said[1]).await;
    let done = FlushDone {
        room: lobby.clone(),
        after: MessageId::ZERO,
        to: said[1],
        begun_ms: None,
    };
    chat.queue.producer().enqueue(&done).await.unwrap();
    chat.is_idle().await;

    saved.again().await;

    assert_eq!(
        texts(&chat.log(&lobby).await),
        ["1", "2"],
        "while the room stays"
    );
    let late = chat.edit(&lobby, said[1], "of what is deleted").await;
    chat.flush(&lobby).await;
    chat.is_idle().await;
    chat.expire(&lobby).await;
    chat.warm(&lobby).await;
    let log = chat.log(&lobby).await;
    assert_eq!(texts(&log)[..2], ["one", ""]);
    let expected = [edited(edit), deleted(deletion), edits(said[1])];
    assert_eq!(marks(&log), expected, "{late} came too late");
    assert_eq!(log, chat.archived(&lobby).await);
}
