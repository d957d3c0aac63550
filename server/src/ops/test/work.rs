//! What goes on beside the calls: snapshots, bulk changes.

use std::{sync::atomic::Ordering, time::Duration};

use common::{
    queue::{
        bulks::{Bulk, Bulks, Course},
        dead::{Done, Fate, Filter},
    },
    testing::{TestQueue, eventually},
};
use futures_util::{StreamExt, future};
use http::StatusCode;
use serde_json::json;

use super::{super::bulk, ADA, BOB, Desk, live};

#[tokio::test]
async fn a_bulk_change_is_told_of_and_stopped_through_any_server() {
    let desk = Desk::set();
    desk.dead(30).await;
    let bulks = Bulks::new(desk.queue.redis.clone(), desk.queue.keys.clone());
    let list = async || {
        bulks
            .list(desk.ops.operator.now_ms().await.unwrap())
            .await
            .unwrap()
    };

    let slow = json!({"task": "demo.charge", "rate": 2});
    let (status, told) = desk.post("dead/retry", &slow).await;

    assert_eq!(status, StatusCode::ACCEPTED);
    let id = told["id"].as_str().unwrap();
    let bulk = eventually("it goes on", async || {
        let bulk = list().await.pop()?;
        (bulk.done.changed > 0).then_some(bulk)
    })
    .await;
    assert_eq!((&*bulk.id, &*bulk.by, bulk.dead), (id, "ada", 30));
    assert_eq!(
        (bulk.state, bulk.filter.task.as_deref()),
        (Course::Running, Some("demo.charge"))
    );
    let (_, told) = desk.post("bulks/stop", &json!({ "id": id })).await;
    assert_eq!(told["changed"], 1);
    let bulk = eventually("it stops", async || {
        let bulk = list().await.pop()?;
        (bulk.state == Course::Stopped).then_some(bulk)
    })
    .await;
    assert_eq!(bulk.why.as_deref(), Some("ada stopped it"));
    assert!(bulk.done.changed < 30, "{bulk:?}");
    let (_, told) = desk.post("bulks/stop", &json!({ "id": id })).await;
    assert_eq!(told["changed"], 0, "it has ended");

    // Another to its end; and one that ends with its server.
    desk.post(
        "dead/discard",
        &json!({"since_ms": bulk.done.at_ms, "error": "declined"}),
    )
    .await;
    eventually("all are gone", async || {
        let one = list()
            .await
            .into_iter()
            .find(|one| one.fate == Fate::Discard)?;
        (one.state == Course::Done && one.done.changed + bulk.done.changed == 30).then_some(())
    })
    .await;
    desk.dead(30).await;
    desk.post("dead/retry", &json!({"rate": 1})).await;
    desk.drain.now();
    eventually("the last one tells why it ended", async || {
        let one = list().await.into_iter().next()?;
        (one.why.as_deref() == Some("the server was told to stop")).then_some(())
    })
    .await;
    super::super::ended(Some(desk.ops.clone())).await;
    desk.is_acted("ada", "retry", "all dead jobs of task demo.charge")
        .await;
}

#[tokio::test]
async fn a_bulk_change_whose_server_was_killed_is_lost_and_says_where_it_was() {
    let queue = TestQueue::start();
    let bulks = Bulks::new(queue.redis.clone(), queue.keys.clone());
    let mut bulk = Bulk {
        id: "x".to_owned(),
        by: "ada".to_owned(),
        fate: Fate::Retry,
        filter: Filter::default(),
        rate: None,
        begun_ms: 1000,
        told_ms: 5000,
        dead: 9,
        done: Done {
            at_ms: 4321,
            ..Done::default()
        },
        state: Course::Running,
        why: None,
    };
    bulks.tell(&bulk).await.unwrap();

    let course = async |now_ms| bulks.list(now_ms).await.unwrap()[0].state;
    assert_eq!(course(6000).await, Course::Running);
    assert_eq!(course(16_000).await, Course::Lost);
    assert!(!bulks.ask_stop("x", 16_000, "bob").await.unwrap());
    assert_eq!(bulks.list(16_000).await.unwrap()[0].done.at_ms, 4321);

    // The last twenty that have ended are kept.
    for n in 0..30 {
        bulk.id = format!("{n}");
        bulk.begun_ms = 2000 + n;
        bulk.state = Course::Done;
        bulks.tell(&bulk).await.unwrap();
    }
    bulks.tidy(16_000).await.unwrap();
    let left = bulks.list(16_000).await.unwrap();
    assert_eq!((left.len(), &*left[0].id), (20, "29"));
}

/// Makes every command at a key fail, until [`mend`].
async fn break_key(desk: &Desk, key: &str) {
    let script = r#"redis.call("RENAME", KEYS[1], KEYS[1] .. ":aside")
        redis.call("SET", KEYS[1], "x")"#;
    let call = ["EVAL", script, "1", key];
    desk.queue.command::<redis::Value>(&call).await;
}

async fn mend(desk: &Desk, key: &str) {
    let aside = format!("{key}:aside");
    desk.queue.command::<()>(&["RENAME", &aside, key]).await;
}

#[tokio::test]
async fn what_redis_fails_goes_on_where_it_was() {
    let desk = Desk::set();
    desk.dead(20).await;
    let bulks = Bulks::new(desk.queue.redis.clone(), desk.queue.keys.clone());
    let only = async || {
        let now_ms = desk.ops.operator.now_ms().await.unwrap();
        bulks.list(now_ms).await.unwrap().pop()
    };
    let slow = json!({"all": true, "rate": 10});
    desk.post("dead/discard", &slow).await;
    eventually("it goes on", async || {
        only().await.filter(|bulk| bulk.done.changed > 0)
    })
    .await;

    let (dead, told) = (desk.queue.keys.dead(), desk.queue.keys.bulks());
    break_key(&desk, &dead).await;
    let bulk = eventually("it says what is wrong", async || {
        only().await.filter(|bulk| bulk.why.is_some())
    })
    .await;
    assert_eq!(bulk.state, Course::Running, "{bulk:?}");
    mend(&desk, &dead).await;
    eventually("nothing is wrong any more", async || {
        only().await.filter(|bulk| bulk.why.is_none())
    })
    .await;
    // How it ends cannot be told at once.
    break_key(&desk, &told).await;
    eventually("all are gone", async || {
        (desk.ops.operator.count_dead().await.unwrap() == 0).then_some(())
    })
    .await;
    mend(&desk, &told).await;

    let bulk = eventually("it has ended", async || {
        only().await.filter(|bulk| bulk.state != Course::Running)
    })
    .await;
    assert_eq!((bulk.state, bulk.why), (Course::Done, None));
    assert_eq!(bulk.done.changed, 20);
    let actions = desk.get("actions").await;
    assert_eq!(actions["actions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_redis_fails_for_long_is_given_up() {
    let desk = Desk::set();
    desk.dead(1).await;
    let filter = Filter::default();
    let begun = desk.ops.operator.begin_all_dead(Fate::Retry, &filter);
    let bulk = Bulk {
        id: "x".to_owned(),
        by: "ada".to_owned(),
        fate: Fate::Retry,
        filter: filter.clone(),
        rate: None,
        begun_ms: 1000,
        told_ms: 1000,
        dead: 1,
        done: begun.await.unwrap(),
        state: Course::Running,
        why: None,
    };
    break_key(&desk, &desk.queue.keys.dead()).await;
    let progress = bulk::Progress::from(bulk.done);

    let ended = bulk::work(&desk.ops.operator, &bulk, Duration::ZERO, &progress).await;

    assert!(ended.is_err());
}

#[tokio::test]
async fn who_looks_is_not_held_by_how_the_chats_clients_connect() {
    let desk = Desk::set();
    let address = std::net::IpAddr::from([192, 0, 2, 1]).into();
    let limits = &desk.ops.host.limits;
    let clients: Vec<_> = std::iter::repeat_with(|| limits.connect(address))
        .take_while(Result::is_ok)
        .collect();
    assert!(!clients.is_empty());
    let [ada, bob] = [ADA, BOB].map(|token| desk.ops.people.by_token(token).unwrap());

    let all = (0..50).map(|_| live::events(&desk.ops, &ada).ok().unwrap());
    let all: Vec<_> = all.collect();

    assert_eq!(desk.ops.host.connections.count(), 50);
    assert!(live::events(&desk.ops, &ada).is_err(), "so many are enough");
    assert!(live::events(&desk.ops, &bob).is_ok());
    drop(all);
    assert_eq!(desk.ops.host.connections.count(), 0);
    assert!(live::events(&desk.ops, &ada).is_ok());
}

#[tokio::test]
async fn one_snapshot_a_second_is_shared_by_all_who_look_and_none_is_taken_for_nobody() {
    let desk = Desk::set();
    let taken = || desk.ops.live.taken.load(Ordering::Relaxed);
    let who = desk.ops.people.by_token(ADA).unwrap();
    let look = || live::events(&desk.ops, &who).unwrap();
    assert_eq!(taken(), 0);

    let began = tokio::time::Instant::now();
    let readers = (0..10).map(|_| async {
        let body = text(look(), 4).await;
        assert!(body.contains("event: recent\ndata: ["), "{body}");
        assert!(
            body.contains("event: snapshot\ndata: {\"status\""),
            "{body}"
        );
    });
    future::join_all(readers).await;
    let seconds = began.elapsed().as_secs();

    assert!(
        (2..=seconds + 2).contains(&taken()),
        "{} in {seconds} s",
        taken()
    );
    eventually("nobody looks", async || {
        (!*live::lock(&desk.ops.live.is_looking)).then_some(())
    })
    .await;
    let before = taken();
    desk.get("status").await;
    assert_eq!(taken(), before);
    assert_eq!(desk.ops.host.connections.count(), 0);
}

#[tokio::test]
async fn who_looks_is_sent_away_when_the_server_drains() {
    let desk = Desk::set();
    let who = desk.ops.people.by_token(ADA).unwrap();
    let events = live::events(&desk.ops, &who).unwrap();
    assert_eq!(desk.ops.host.connections.count(), 1);

    desk.ops.host.drain.begin(1);
    desk.drain.now();

    text(events, usize::MAX).await; // it ends
    desk.ops.host.connections.none().await;
    assert!(live::events(&desk.ops, &who).is_err());
}

/// So many events of a stream, or all until its end.
async fn text(
    events: impl futures_util::Stream<Item = Result<String, std::convert::Infallible>>,
    most: usize,
) -> String {
    let parts: Vec<_> = events.take(most).collect().await;
    parts.into_iter().flatten().collect()
}
