//! docs/backup.md: Redis is lost entirely; Postgres comes back as it was some time ago.

use common::testing::{PATIENCE, RedisServer, TestPostgres, eventually, required, unique};

use crate::harness::{Stack, stack::seen};

const PAGE: &str = include_str!("../../../docs/backup.md");
const ROOM: &str = "stage";

fn lines(what: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{what} {n}")).collect()
}

#[tokio::test]
async fn a_redis_that_is_lost_entirely_costs_what_was_not_archived_and_tells_so() {
    let mut redis = RedisServer::start(&[]);
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let (mut server, mut worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    let mut bob = server.client("bob").await;
    ada.join(ROOM).await;
    ada.post_all(ROOM, &lines("archived", 10)).await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 10).await;
    for person in [&mut ada, &mut bob] {
        person.join(ROOM).await;
    }
    ada.post_all(ROOM, &lines("in Redis alone", 3)).await;
    bob.hears(ROOM, "in Redis alone 2").await;
    let highest = bob.room(ROOM).cursor;

    redis.lose();
    redis.restart();

    // Who was there is told that what it saw is gone, and reloads the room: cold, from the archive.
    for person in [&mut ada, &mut bob] {
        person
            .until("what the archive has", ROOM, |seen| {
                seen.resets > 0 && !seen.stale && seen.messages.len() == 10
            })
            .await;
        assert_eq!(person.texts(ROOM), lines("archived", 10));
    }
    let ack = eventually("a message is taken again", async || {
        bob.try_post(ROOM, "my-1", "after").await.ok()
    })
    .await;
    assert!(ack.id > highest, "no id is given out twice");
    bob.hears(ROOM, "after").await;

    // Nothing waits; the worker is known again, and does what is new.
    bob.leave(ROOM).await;
    ada.leave(ROOM).await;
    let rows = stack.flushed(ROOM, 11).await;
    assert_eq!(rows.last().map(|row| row.id), Some(ack.id));
    stack.is_what_is_archived(ROOM, &bob).await;
    assert_eq!(stack.queuectl(&["audit"]).await.0, Some(0));
    assert!(server.process.end().is_none() && worker.end().is_none());
}

#[tokio::test]
async fn a_postgres_as_it_was_some_time_ago_gets_all_that_redis_still_holds() {
    let mut postgres = TestPostgres::start();
    let stack = Stack::on(&required("REDIS_URL"), &postgres.url()).await;
    let dump = std::env::temp_dir().join(unique("rhubarb-dump-"));
    let dump = dump.to_str().expect("a name of text");
    let (server, mut worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    ada.post_all(ROOM, &lines("before", 10)).await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 10).await;
    let url = postgres.url();
    let word = |text: &str| PAGE.contains(text);
    assert!(word("pg_dump --format=custom --file=rhubarb.dump"));
    postgres.run(
        "pg_dump",
        &["--format=custom", &format!("--file={dump}"), &url],
    );

    // After the backup: messages that are archived, and rooms that the backup does not know.
    for room in [ROOM, "new"] {
        ada.join(room).await;
        ada.post_all(room, &lines("since", 10)).await;
        ada.leave(room).await;
    }
    stack.flushed(ROOM, 20).await;
    stack.flushed("new", 10).await;

    // The order of the page: workers stop, all in Redis is held, the database comes back, workers start.
    worker.kill();
    postgres.stop();
    let (code, told) = stack.queuectl(&["reflush"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("30 messages of 2 rooms"), "{told}");
    ada.join(ROOM).await;
    ada.post_all(ROOM, &lines("meanwhile", 5)).await;
    ada.hears(ROOM, "meanwhile 4").await;
    postgres.restart();
    assert!(word("pg_restore --clean --if-exists --single-transaction"));
    let into = format!("--dbname={url}");
    postgres.run(
        "pg_restore",
        &[
            "--clean",
            "--if-exists",
            "--single-transaction",
            &into,
            dump,
        ],
    );
    assert_eq!(stack.queuectl(&["migrate"]).await.0, Some(0));
    let _worker = stack.worker().await;

    ada.leave(ROOM).await;
    stack.flushed(ROOM, 25).await;
    eventually("the other room is archived, too", async || {
        // Its members left long ago: as the sweep does when its messages are old enough.
        let asked = stack
            .queuectl(&["enqueue", "chat.flush_room", r#"{"room":"new"}"#])
            .await;
        assert_eq!(asked.0, Some(0), "{}", asked.1);
        (stack.rows("new").await?.len() == 10).then_some(())
    })
    .await;
    stack.is_what_is_archived(ROOM, &ada).await;
    assert_eq!(seen(&ada, ROOM).len(), 25);

    // The page's question for holes has no answer; with one it has.
    assert_eq!(holes(&stack).await, 0);
    let third = seen(&ada, ROOM)[2].0;
    stack
        .database
        .execute(&format!("DELETE FROM messages WHERE id = {third}"))
        .await;
    assert_eq!(holes(&stack).await, 1);
    let _ = std::fs::remove_file(dump);
}

/// How many messages follow one that is missing, by the question of the page.
async fn holes(stack: &Stack) -> usize {
    #[derive(diesel::QueryableByName)]
    #[expect(dead_code, reason = "only their number counts")]
    struct Hole {
        #[diesel(sql_type = diesel::sql_types::Text)]
        room_id: String,
    }
    use diesel_async::RunQueryDsl;
    let sql = PAGE
        .split("```sql\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let sql = sql.expect("a question in SQL").trim().trim_end_matches(';');
    let mut connection = stack.database.connect().await;
    let asked = tokio::time::timeout(
        PATIENCE,
        diesel::sql_query(sql).load::<Hole>(&mut connection),
    );
    asked
        .await
        .expect("an answer in time")
        .expect("an answer")
        .len()
}
