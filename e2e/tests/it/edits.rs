//! Edits, deletions, and acks from the archive, over real sockets.

use common::{
    id::MessageId,
    testing::{TestPostgres, required},
};
use serde_json::{Value, json};

use crate::harness::{Client, Stack};

const ROOM: &str = "stage";

async fn change(client: &mut Client, kind: &str, message: i64, text: Option<&str>) -> Value {
    let payload = json!({"roomId": ROOM, "clientId": format!("{kind} {message}"), "messageId": message, "message": text});
    client.request(kind, &payload).await
}

fn code(reply: &Value) -> &str {
    reply["payload"]["code"].as_str().unwrap_or("no code")
}

#[tokio::test]
async fn what_its_author_edits_and_deletes_is_so_in_windows_in_the_log_and_in_the_archive() {
    let stack = Stack::start().await;
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut ada = first.client("ada").await;
    let mut bob = second.client("bob").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    let (one, two) = (ada.post(ROOM, "one").await, ada.post(ROOM, "two").await);

    let edited = change(&mut ada, "edit", one.id, Some("uno")).await;
    let deleted = change(&mut ada, "delete", two.id, None).await;
    let refused = change(&mut bob, "edit", one.id, Some("eins")).await;
    let again = change(&mut bob, "delete", two.id, None).await;

    let by = |reply: &Value| reply["payload"]["messageId"].as_i64().unwrap();
    assert_eq!(edited["type"], "ack", "{edited}");
    assert_eq!((code(&refused), code(&again)), ("not_author", "not_author"));
    assert_eq!(
        code(&change(&mut ada, "edit", by(&edited), Some("x")).await),
        "not_a_message"
    );
    assert_eq!(
        code(&change(&mut ada, "edit", two.id, Some("x")).await),
        "deleted"
    );
    assert_eq!(
        code(&change(&mut ada, "delete", MessageId::MAX.0, None).await),
        "not_found"
    );
    // Open windows hear the changes, in the one order.
    bob.until("both changes", ROOM, |seen| seen.messages.len() == 4)
        .await;
    assert_eq!(bob.texts(ROOM), ["one", "two", "uno", ""]);

    // The log has the new state, and so has the archive, where it goes and from where it comes back.
    let path = format!("/rooms/{ROOM}/messages");
    let expected = json!([
        {"message": "uno", "editedAt": by(&edited)},
        {"message": "", "editedAt": by(&deleted), "deleted": true},
        {"message": "uno", "edits": one.id},
        {"message": "", "deletes": two.id},
    ]);
    assert_eq!(shown(&first.get(&path).await.json()), expected);
    ada.leave(ROOM).await;
    bob.leave(ROOM).await;
    stack.flushed(ROOM, 4).await;
    stack.idle().await;
    stack.forget_rooms().await;
    assert_eq!(shown(&second.get(&path).await.json()), expected);
    ada.join(ROOM).await;
    assert_eq!(ada.texts(ROOM), ["uno", "", "uno", ""]);
}

/// What a page's messages show, and what they have to do with changes.
fn shown(page: &Value) -> Value {
    let fields = ["message", "edits", "deletes", "editedAt", "deleted"];
    let messages = page["messages"].as_array().unwrap().iter();
    messages
        .map(|message| {
            let of = fields.iter().filter_map(|field| {
                let value = message.get(*field)?;
                Some(((*field).to_owned(), value.clone()))
            });
            Value::Object(of.collect())
        })
        .collect()
}

#[tokio::test]
async fn an_ack_from_the_archive_comes_when_it_is_there_and_a_late_one_is_told() {
    let mut postgres = TestPostgres::start();
    let stack = Stack::on(&required("REDIS_URL"), &postgres.url())
        .await
        .with("FLUSH_AGE", "3600")
        .with("DB_ACK_SECONDS", "1");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let payload = |text: &str| json!({"roomId": ROOM, "clientId": format!("c-{text}"), "message": text, "ack": "db"});

    let archived = ada.request("message", &payload("one")).await;
    assert_eq!(archived["payload"]["archived"], true, "{archived}");
    assert_eq!(stack.rows(ROOM).await.unwrap().len(), 1);
    let plain = ada.post(ROOM, "two").await;
    assert!(!plain.duplicate);

    postgres.stop();
    let late = ada.request("message", &payload("three")).await;
    assert_eq!(code(&late), "not_archived");
    assert!(late["payload"]["retryAfterMs"].as_u64().is_some());
    ada.hears(ROOM, "three").await;
    postgres.restart();
    // Sent again until it is there, as a client does; it is said once.
    let archived = loop {
        let reply = ada.request("message", &payload("three")).await;
        if reply["type"] == "ack" {
            break reply;
        }
        assert_eq!(code(&reply), "not_archived");
    };
    assert_eq!(archived["payload"]["duplicate"], true);
    assert_eq!(archived["payload"]["archived"], true);
    stack.archived(ROOM, 3).await;
}
