//! A room over HTTP: what it tells, and messages into it.

use serde_json::json;

use crate::harness::Stack;

const ROOM: &str = "stage:left";

#[tokio::test]
async fn a_message_that_is_posted_is_heard_by_sockets_and_a_resend_is_no_double() {
    let stack = Stack::start().await;
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut bob = second.client("bob").await;
    bob.join(ROOM).await;
    let body = json!({"clientId": "my-1", "message": "over HTTP"}).to_string();

    let posted = first.say("ada", ROOM, "", &body).await;
    bob.hears(ROOM, "over HTTP").await;
    let again = second.say("ada", ROOM, "", &body).await;
    let keyed = json!({"message": "over HTTP"}).to_string();
    let by_header = second
        .say(
            "ada",
            "stage%3Aleft",
            "Idempotency-Key: \"my-1\"\r\n",
            &keyed,
        )
        .await;
    let mut ada = first.client("ada").await;
    ada.join(ROOM).await;
    let by_socket = ada.post_as(ROOM, "my-1", "over HTTP").await;
    let of_another = first.say("bob", ROOM, "", &body).await;

    assert_eq!(posted.status, 201);
    let id = posted.json()["messageId"].as_i64().expect("an id");
    assert_eq!(
        posted.json(),
        json!({"roomId": ROOM, "clientId": "my-1", "messageId": id, "duplicate": false})
    );
    for duplicate in [again, by_header] {
        assert_eq!(duplicate.status, 200, "{}", duplicate.body);
        assert_eq!(duplicate.json()["messageId"], id);
        assert_eq!(duplicate.json()["duplicate"], true);
    }
    assert_eq!((by_socket.id, by_socket.duplicate), (id, true));
    assert_eq!(of_another.status, 201);
    bob.until("Bob's own", ROOM, |seen| seen.messages.len() == 2)
        .await;
    assert_eq!(bob.room(ROOM).messages[0].id, id);
}

#[tokio::test]
async fn who_asks_for_the_archive_is_answered_when_the_message_is_there() {
    let stack = Stack::start().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let body = json!({"clientId": "my-1", "message": "for ever", "ack": "db"}).to_string();

    let posted = server.say("ada", ROOM, "", &body).await;
    let rows = stack.rows(ROOM).await.expect("the archive");

    assert_eq!(posted.status, 201, "{}", posted.body);
    assert_eq!(posted.json()["archived"], true);
    assert_eq!(rows.len(), 1);
    assert_eq!(posted.json()["messageId"], rows[0].id);
}

#[tokio::test]
async fn an_author_edits_and_deletes_over_http_and_a_resend_is_no_second_change() {
    let stack = Stack::start().await;
    let ((first, second), _worker) = tokio::join!(stack.two_servers(), stack.worker());
    let mut bob = second.client("bob").await;
    bob.join(ROOM).await;
    let body = json!({"clientId": "my-1", "message": "helo"}).to_string();
    let posted = first.say("ada", ROOM, "", &body).await;
    let id = posted.json()["messageId"].as_i64().expect("an id");
    let hello = json!({"clientId": "my-2", "message": "hello", "ack": "db"});

    let edited = first.edit("ada", ROOM, id, &hello).await;
    let edited_again = second.edit("ada", ROOM, id, &hello).await;
    let by_another = first.edit("bob", ROOM, id, &hello).await;
    let deleted = second.delete("ada", ROOM, id, "my-3").await;
    let deleted_again = first.delete("ada", ROOM, id, "my-3").await;
    let too_late = first.delete("ada", ROOM, id, "my-4").await;
    let of_nothing = first.delete("ada", ROOM, 1, "my-5").await;
    let no_id = first.get(&format!("/rooms/{ROOM}/messages/x")).await;

    let change = edited.json()["messageId"].as_i64().expect("an id");
    assert!(change > id, "the change is an entry of its own");
    let expected = json!({"roomId": ROOM, "clientId": "my-2", "messageId": change, "duplicate": false, "archived": true});
    assert_eq!((edited.status, edited.json()), (200, expected));
    assert_eq!(edited_again.json()["messageId"], change);
    assert_eq!(edited_again.json()["duplicate"], true);
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    assert_eq!(
        deleted_again.json()["messageId"],
        deleted.json()["messageId"]
    );
    for (refused, status, code) in [
        (by_another, 403, "not_author"),
        (too_late, 410, "deleted"),
        (of_nothing, 404, "not_found"),
        (no_id, 405, "method_not_allowed"),
    ] {
        let told = refused.json()["code"].as_str().map(str::to_owned);
        assert_eq!(
            (refused.status, told.as_deref()),
            (status, Some(code)),
            "{}",
            refused.body
        );
    }
    bob.until("both changes", ROOM, |seen| seen.messages.len() == 3)
        .await;
    assert_eq!(bob.texts(ROOM), ["helo", "hello", ""]);
    let (page, _) = second.history(ROOM, "").await;
    assert_eq!(page[0].text, "", "it is deleted wherever it is read");
}

async fn enqueued(stack: &Stack) -> u64 {
    let mut total = 0;
    for queue in ["high", "default", "low"] {
        total += stack.total(&format!("enqueued:{queue}")).await;
    }
    total
}

#[tokio::test]
async fn a_room_is_looked_at_without_a_trace() {
    let stack = Stack::start().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let nothing = server.room(ROOM).await;
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let id = ada.post(ROOM, "one").await.id;
    ada.counts_members(ROOM, 1).await;
    let live = server.room(ROOM).await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 1).await;
    stack.idle().await;
    stack.forget_rooms().await;
    let jobs = enqueued(&stack).await;

    let cold = server.room(ROOM).await;

    let shown =
        |members, top, warm| json!({"roomId": ROOM, "members": members, "top": top, "warm": warm});
    assert_eq!(nothing, shown(0, 0, false));
    assert_eq!(live, shown(1, id, true));
    assert_eq!(cold, shown(0, id, false));
    stack.has_no_room_keys().await;
    assert_eq!(enqueued(&stack).await, jobs, "nobody asked for the room");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told() {
    let stack = Stack::start().await;
    let server = stack.server().await;
    let said = async |room: &str, headers: &str, body: &str| {
        let reply = server.say("ada", room, headers, body).await;
        (
            reply.status,
            reply.json()["code"].as_str().unwrap_or("none").to_owned(),
        )
    };
    let wrong = |status: u16, code: &str| (status, code.to_owned());
    let long = json!({"message": "x".repeat(20_000)}).to_string();
    let huge = json!({"message": "x".repeat(70_000)}).to_string();
    let good = json!({"clientId": "a", "message": "hi"}).to_string();

    assert_eq!(said("r", "", "hi").await, wrong(400, "bad_json"));
    assert_eq!(said("r", "", "{}").await, wrong(400, "bad_payload"));
    assert_eq!(
        said("r", "", r#"{"message":""}"#).await,
        wrong(400, "bad_message")
    );
    assert_eq!(said("r", "", &long).await, wrong(400, "bad_message"));
    assert_eq!(said("r", "", &huge).await, wrong(413, "too_large"));
    assert_eq!(said("a%20b", "", &good).await, wrong(400, "bad_request"));
    assert_eq!(
        said("r", "Idempotency-Key: b\r\n", &good).await,
        wrong(400, "bad_message")
    );
    let other_room = json!({"roomId": "q", "message": "hi"}).to_string();
    assert_eq!(said("r", "", &other_room).await, wrong(400, "bad_room"));
    let since = server.get("/rooms/r/events?since=yesterday").await;
    assert_eq!(since.status, 400, "{}", since.body);
    let name = server.get("/rooms/r/events?userId=a%20b").await;
    assert_eq!(name.json()["code"], "bad_name");
}
