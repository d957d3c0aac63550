//! Edits and deletions: in the log, and what is refused.

use common::{
    chat::{
        Appended, ChangeError, Content, Entry,
        bus::{Bus, BusEvent},
        change::Unchangeable,
        message::Marks,
    },
    id::{MessageId, RoomId},
    testing::TestChat,
};

use super::{Look, assert_chain, by_ada, ids, room, texts};

/// What Ada does to a message; the text is its own id too.
pub(crate) trait Edit {
    async fn edit(&self, room: &RoomId, message: MessageId, text: &str) -> MessageId;
    async fn delete(&self, room: &RoomId, message: MessageId) -> MessageId;
    /// Why Ada cannot edit and delete a message.
    async fn why_not(&self, room: &RoomId, message: MessageId) -> Unchangeable;
    async fn by_bob(&self, room: &RoomId, message: MessageId) -> Unchangeable;
}

fn why(changed: Result<Appended, ChangeError>) -> Unchangeable {
    match changed {
        Err(ChangeError::Refused(why)) => why,
        other => panic!("{other:?} is no refusal"),
    }
}

impl Edit for TestChat {
    async fn edit(&self, room: &RoomId, message: MessageId, text: &str) -> MessageId {
        let edited = self.chat.edit(room, message, &by_ada(text)).await;
        edited.unwrap().id
    }

    async fn delete(&self, room: &RoomId, message: MessageId) -> MessageId {
        let text = format!("deletes {message}");
        let deleted = self.chat.delete(room, message, &by_ada(&text)).await;
        deleted.unwrap().id
    }

    async fn why_not(&self, room: &RoomId, message: MessageId) -> Unchangeable {
        let content = by_ada("why not");
        let refused = why(self.chat.edit(room, message, &content).await);
        assert_eq!(
            refused,
            why(self.chat.delete(room, message, &content).await)
        );
        refused
    }

    async fn by_bob(&self, room: &RoomId, message: MessageId) -> Unchangeable {
        let content = Content {
            user_id: "bob".into(),
            ..by_ada("by bob")
        };
        why(self.chat.edit(room, message, &content).await)
    }
}

pub(crate) fn edited(by: MessageId) -> Marks {
    Marks {
        edited_at: Some(by),
        ..Marks::default()
    }
}

pub(crate) fn deleted(by: MessageId) -> Marks {
    Marks {
        deleted: true,
        ..edited(by)
    }
}

pub(crate) fn edits(message: MessageId) -> Marks {
    Marks {
        edits: Some(message),
        ..Marks::default()
    }
}

pub(crate) fn deletes(message: MessageId) -> Marks {
    Marks {
        deletes: Some(message),
        ..Marks::default()
    }
}

pub(crate) fn marks(entries: &[Entry]) -> Vec<Marks> {
    entries.iter().map(Entry::marks).collect()
}

#[tokio::test]
async fn a_change_is_an_entry_that_is_heard_and_the_message_shows_it() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let (bus, mut events) = Bus::start(chat.queue.redis.clone(), chat.queue.keys.clone());
    assert!(bus.subscribe(&lobby).await);
    let said = chat.say_many(&lobby, 3).await;

    let edit = chat.edit(&lobby, said[0], "one").await;
    let deletion = chat.delete(&lobby, said[1]).await;

    let log = chat.log(&lobby).await;
    assert_chain(&log, MessageId::ZERO);
    assert_eq!(texts(&log), ["one", "", "3", "one", ""]);
    let plain = Marks::default();
    let expected = [
        edited(edit),
        deleted(deletion),
        plain,
        edits(said[0]),
        deletes(said[1]),
    ];
    assert_eq!(marks(&log), expected);
    for _ in 0..3 {
        events.recv().await.unwrap();
    }
    for change in &log[3..] {
        let heard = BusEvent::Messages(lobby.clone(), vec![change.clone()]);
        assert_eq!(events.recv().await, Some(heard));
    }
    let frame = log[3].frame(&lobby);
    assert!(
        frame.ends_with(&format!(r#""message":"one","edits":{}}}}}"#, said[0])),
        "{frame}"
    );
}

#[tokio::test]
async fn what_may_not_be_changed_is_refused_from_the_log_and_from_the_archive_alike() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let said = chat.say_many(&lobby, 2).await;
    let edit = chat.edit(&lobby, said[0], "one").await;
    let deletion = chat.delete(&lobby, said[1]).await;

    for cold in [false, true] {
        if cold {
            chat.flush(&lobby).await;
            chat.expire(&lobby).await;
        }
        let entries = chat.log(&lobby).await.len();
        assert_eq!(chat.by_bob(&lobby, said[0]).await, Unchangeable::NotAuthor);
        for change in [edit, deletion] {
            let refused = chat.why_not(&lobby, change).await;
            assert_eq!(refused, Unchangeable::NotAMessage);
        }
        assert_eq!(chat.why_not(&lobby, said[1]).await, Unchangeable::Deleted);
        for nothing in [MessageId(1), MessageId::MAX, MessageId(-1)] {
            let refused = chat.why_not(&lobby, nothing).await;
            assert_eq!(refused, Unchangeable::NotFound);
        }
        assert_eq!(chat.log(&lobby).await.len(), entries, "a refusal is none");
    }
}

#[tokio::test]
async fn an_author_is_who_has_the_whole_user_id() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let odd = |user: &'static str| Content {
        user_id: user.into(),
        ..by_ada("1")
    };
    let said = chat.chat.post(&lobby, &odd("a\"b")).await.unwrap().id;

    for other in [
        "a",
        "a\\",
        "a\\\"b",
        "a\"",
        "a\"b\"",
        "a\",\"username\":\"x",
    ] {
        let refused = why(chat.chat.edit(&lobby, said, &odd(other)).await);
        assert_eq!(refused, Unchangeable::NotAuthor, "{other}");
    }
    let own = Content {
        client_id: "2".into(),
        ..odd("a\"b")
    };
    chat.chat.edit(&lobby, said, &own).await.unwrap();
}

#[tokio::test]
async fn a_change_that_is_sent_again_is_made_once() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let said = chat.say_many(&lobby, 2).await;
    let edit = chat.edit(&lobby, said[0], "one").await;
    let deletion = chat.delete(&lobby, said[1]).await;
    chat.edit(&lobby, said[0], "uno").await;

    let elsewhere = chat.elsewhere();
    let again = elsewhere
        .edit(&lobby, said[0], &by_ada("one"))
        .await
        .unwrap();
    let content = by_ada("deletes");
    let deleted = Content {
        client_id: format!("deletes {}", said[1]).into(),
        ..content
    };
    let gone = elsewhere.delete(&lobby, said[1], &deleted).await.unwrap();

    assert_eq!((again.id, again.duplicate), (edit, true));
    assert_eq!((gone.id, gone.duplicate), (deletion, true));
    assert_eq!(
        texts(&chat.log(&lobby).await),
        ["uno", "", "one", "", "uno"]
    );
}

#[tokio::test]
async fn any_text_can_be_edited_into_any_other() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let odd = [
        r#"","edits":1}"#,
        r#"x","message":"y","editedAt":9,"deleted":true}"#,
        "\u{1}\"\\ 1 2 {} \u{2028}\u{1F389}",
        "%d %%",
    ];
    let said = chat.say_many(&lobby, odd.len()).await;
    for (id, text) in said.iter().zip(odd) {
        chat.edit(&lobby, *id, text).await;
    }
    for (id, text) in said.iter().zip(odd) {
        let content = Content {
            client_id: format!("2{id}").into(),
            ..by_ada(text)
        };
        chat.chat.edit(&lobby, *id, &content).await.unwrap();
    }
    assert_eq!(texts(&chat.log(&lobby).await)[..4], odd);

    chat.flush(&lobby).await;
    let flushed = chat.log(&lobby).await;
    chat.expire(&lobby).await;
    chat.warm(&lobby).await;

    assert_eq!(chat.log(&lobby).await, flushed);
    assert_eq!(texts(&flushed)[..4], odd);
    assert_eq!(
        texts(&flushed)[4..8],
        ["", "", "", ""],
        "replaced edits lose their text"
    );
    assert_eq!(texts(&flushed)[8..], odd);
}

#[tokio::test]
async fn who_was_away_gets_the_change_and_who_comes_gets_what_it_made() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.warm(&lobby).await;
    let said = chat.say_many(&lobby, 3).await;
    let edit = chat.edit(&lobby, said[0], "one").await;

    let away = chat.chat.log.open(&lobby, Some(said[2]), 10).await.unwrap();
    let new = chat.chat.log.open(&lobby, None, 10).await.unwrap();
    let (page, _) = chat.chat.log.before(&lobby, said[1], 10).await.unwrap();

    assert_eq!(ids(&away.entries), [edit]);
    assert_eq!(marks(&away.entries), [edits(said[0])]);
    assert_eq!(texts(&new.entries), ["one", "2", "3", "one"]);
    assert_eq!(texts(&page), ["one"]);
}
