//! What is told and changed.

use std::time::Duration;

use common::{
    queue::{Options, When},
    testing::eventually,
};
use http::StatusCode;
use serde_json::json;

use super::{Charge, Desk};

#[tokio::test]
async fn jobs_are_listed_by_state_found_by_what_they_are_and_told_whole() {
    let desk = Desk::set();
    let dead = desk.dead(3).await;
    let producer = desk.queue.producer();
    let later = Options {
        when: When::In(Duration::from_secs(3600)),
        ..Options::default()
    };
    let card = Charge {
        card: "x".to_owned(),
    };
    producer.enqueue(&card).await.unwrap();
    producer.enqueue_with(&card, &later).await.unwrap();

    let ids = async |query: &str| {
        let page = desk.get(&format!("jobs?{query}")).await;
        let jobs = page["jobs"].as_array().unwrap().clone();
        jobs.iter()
            .map(|job| job["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("state=waiting").await, ["default-4"]);
    assert_eq!(
        ids("state=waiting&task=demo.charge&queue=default").await,
        ["default-4"]
    );
    assert!(ids("state=waiting&task=other").await.is_empty());
    assert!(ids("state=waiting&queue=high").await.is_empty());
    assert_eq!(ids("state=scheduled&task=demo.charge").await, ["default+1"]);
    assert!(ids("state=scheduled&queue=low").await.is_empty());
    assert_eq!(ids("state=dead").await.len(), 3);
    assert_eq!(
        ids("state=dead&error=CARD+1+was").await,
        [dead[1].to_string()]
    );
    let page = desk.get("jobs?state=dead&limit=2").await;
    let next = page["next"].as_str().unwrap();
    assert_eq!(
        ids(&format!("state=dead&limit=2&cursor={next}"))
            .await
            .len(),
        1
    );

    assert!(
        page["jobs"][0]["args"].is_null(),
        "for who looks at one job"
    );
    let story = desk.get(&format!("jobs/{}", dead[0])).await;
    assert_eq!(story["known"], "job");
    assert_eq!(story["job"]["args"]["card"], "0");
    assert_eq!(story["job"]["history"][0]["event"], "buried");
    assert_eq!(story["why"]["reason"], "dead");
    assert_eq!(
        desk.get("jobs/default%2B1").await["job"]["state"],
        "scheduled"
    );
    assert_eq!(desk.get("jobs/high-9").await["known"], "never");
}

#[tokio::test]
async fn jobs_are_retried_cancelled_and_discarded_in_somebodys_name() {
    let desk = Desk::set();
    let dead = desk.dead(3).await;
    let [first, second, third] = [0, 1, 2].map(|n| dead[n].to_string());

    let (_, told) = desk
        .post("jobs/retry", &json!({"ids": [first, "high-7"]}))
        .await;
    assert_eq!(told["changed"], 1);
    let (_, told) = desk.post("jobs/cancel", &json!({"ids": [first]})).await;
    assert_eq!((&told["changed"], &told["asked"]), (&json!(1), &json!(0)));
    let (_, told) = desk.post("jobs/discard", &json!({"ids": [second]})).await;
    assert_eq!(told["changed"], 1);

    desk.is_acted("ada", "retry", &format!("{first} high-7"))
        .await;
    desk.is_acted("ada", "cancel", &first).await;
    desk.is_acted("ada", "discard", &second).await;
    let left = desk.get("jobs?state=dead").await;
    assert_eq!(left["jobs"][0]["id"], third);
    for (path, body) in [
        ("jobs/retry", json!({"ids": []})),
        ("jobs/retry", json!({"ids": ["nonsense"]})),
        ("jobs/retry", json!([])),
        ("dead/retry", json!({"rate": 0})),
        ("dead/retry", json!({"queue": "none"})),
    ] {
        let (status, told) = desk.post(path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {told}");
    }
    let (status, _) = desk.post("jobs/forget", &json!({"ids": ["high-1"]})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn queues_rooms_and_periodic_tasks_are_changed_in_somebodys_name() {
    let desk = Desk::set();
    for (verb, field) in [("pause", "paused"), ("drain", "draining")] {
        let (_, told) = desk
            .post(&format!("queues/{verb}"), &json!({"queue": "high"}))
            .await;
        assert_eq!(told["changed"], 1);
        let status = desk.get("status").await;
        assert_eq!(status["queues"][0][field]["by"], "ada");
        desk.is_acted("ada", verb, "high").await;
    }
    desk.post("queues/resume", &json!({"queue": "high"})).await;
    assert!(desk.get("status").await["queues"][0]["paused"].is_null());

    let (_, told) = desk.post("rooms/flush", &json!({"room": "stage"})).await;
    assert_eq!(told["outcome"], "not_needed");
    desk.is_acted("ada", "flush", "room stage").await;
    let (_, told) = desk
        .post("rooms/rehydrate", &json!({"room": "stage"}))
        .await;
    assert_eq!(told["outcome"], "enqueued");
    let job = told["job"].as_str().unwrap();
    assert_eq!(
        desk.get(&format!("jobs/{job}")).await["job"]["task"],
        "chat.rehydrate_room"
    );
    assert_eq!(desk.get("rooms/stage").await["hydrating"], "default");

    let (_, told) = desk
        .post("periodic/pause", &json!({"name": "nightly"}))
        .await;
    assert_eq!(told["outcome"], "unknown");
    desk.is_acted("ada", "pause", "periodic task nightly").await;
    let lists = [
        ("periodic", "entries"),
        ("rooms?which=occupied", "rooms"),
        ("samples", "samples"),
    ];
    for (path, field) in lists {
        assert_eq!(desk.get(path).await[field], json!([]), "{path}");
    }
    assert_eq!(desk.get("lanes").await, json!([]));
}

#[tokio::test]
async fn a_slip_in_a_name_is_refused_and_not_taken_for_no_bound() {
    let desk = Desk::set();
    desk.dead(2).await;
    for (path, body) in [
        ("dead/discard", json!({"tasks": "demo.charge"})),
        ("dead/discard", json!({"task": "other", "Queue": "low"})),
        ("dead/retry", json!({"since": 1})),
        ("dead/discard", json!({})),
        ("dead/discard", json!({"rate": 5})),
        ("dead/discard", json!({"error": "", "task": null})),
        ("dead/discard", json!({"all": false})),
        ("jobs/retry", json!({"ids": ["high-1"], "rate": 1})),
        ("queues/pause", json!({"queue": "low", "until": 1})),
        ("dead/discard?task=other", json!({"all": true})),
    ] {
        let (status, told) = desk.post(path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}: {told}");
    }
    for path in [
        "jobs?state=dead&tasks=demo.charge",
        "jobs/high-1?cursor=1",
        "lanes?before=1",
        "rooms?wich=all",
        "actions?after=1",
        "samples?since=1",
        "status?queue=low",
    ] {
        assert_eq!(desk.wrong(path).await, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(desk.get("status").await["dead"], 2);
    assert_eq!(desk.get("actions").await["actions"], json!([]));

    let (status, _) = desk.post("dead/discard", &json!({"all": true})).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    eventually("all are gone", async || {
        (desk.get("status").await["dead"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn places_that_are_too_far_are_refused_and_redis_is_not_blamed() {
    let desk = Desk::set();
    let (far, most) = ("18446744073709551615", "9007199254740992");
    for path in [
        "lanes?after=",
        "rooms?cursor=dirty:",
        "rooms?which=all&cursor=all:",
        "jobs?state=dead&cursor=dead:",
        "jobs?state=dead&since_ms=",
        "jobs?state=dead&before_ms=",
        "jobs/high-1/children?cursor=",
        "samples?since_ms=",
    ] {
        let far = format!("{path}{far}");
        assert_eq!(desk.wrong(&far).await, StatusCode::BAD_REQUEST, "{far}");
        desk.get(&format!("{path}{most}")).await;
    }
    for before in ["0-0", "1-", "x"] {
        let path = format!("actions?before={before}");
        assert_eq!(desk.wrong(&path).await, StatusCode::BAD_REQUEST, "{path}");
    }
    desk.get(&format!("actions?before={far}-{far}")).await;
}
