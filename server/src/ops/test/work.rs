//! What goes on beside the calls: snapshots, bulk changes.

use std::sync::atomic::Ordering;

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

use super::{ADA, Desk, live};

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

#[tokio::test]
async fn one_snapshot_a_second_is_shared_by_all_who_look_and_none_is_taken_for_nobody() {
    let desk = Desk::set();
    let taken = || desk.ops.live.taken.load(Ordering::Relaxed);
    let address = std::net::IpAddr::from([192, 0, 2, 1]).into();
    let who = desk.ops.people.by_token(ADA).unwrap();
    let look = || live::events(&desk.ops, address, &who).unwrap();
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
    let address = std::net::IpAddr::from([192, 0, 2, 1]).into();
    let who = desk.ops.people.by_token(ADA).unwrap();
    let events = live::events(&desk.ops, address, &who).unwrap();
    assert_eq!(desk.ops.host.connections.count(), 1);

    desk.ops.host.drain.begin(1);
    desk.drain.now();

    text(events, usize::MAX).await; // it ends
    desk.ops.host.connections.none().await;
    assert!(live::events(&desk.ops, address, &who).is_err());
}

/// So many events of a stream, or all until its end.
async fn text(
    events: impl futures_util::Stream<Item = Result<String, std::convert::Infallible>>,
    most: usize,
) -> String {
    let parts: Vec<_> = events.take(most).collect().await;
    parts.into_iter().flatten().collect()
}
