//! The routes of jobs, as clients see them.

use common::{
    queue::{Queue, enqueue::MAX_BODY, operate::Operator},
    testing::TestQueue,
};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use warp::{Filter, filters::BoxedFilter, hyper::body::Bytes};

use super::jobs::Jobs;
use crate::{error::render_rejection, routes};

const TOKEN: &str = "0123456789abcdef-token";

struct Desk {
    queue: TestQueue,
    routes: BoxedFilter<(warp::reply::Response,)>,
}

fn serve(jobs: Option<Jobs>) -> BoxedFilter<(warp::reply::Response,)> {
    routes::enqueue(jobs.clone())
        .or(routes::job(jobs))
        .recover(render_rejection)
        .map(warp::Reply::into_response)
        .boxed()
}

impl Desk {
    fn set() -> Self {
        let queue = TestQueue::start();
        let token = TOKEN.parse().unwrap();
        let jobs = Jobs::new(token, queue.redis.clone(), queue.keys.clone());
        Self {
            queue,
            routes: serve(Some(jobs)),
        }
    }

    async fn post(&self, body: impl AsRef<[u8]>) -> (StatusCode, Value) {
        let request = warp::test::request()
            .method("POST")
            .path("/jobs")
            .header("authorization", format!("Bearer {TOKEN}"))
            .body(body);
        read(&request.reply(&self.routes).await)
    }

    async fn get(&self, id: &str) -> (StatusCode, Value) {
        let request = warp::test::request()
            .path(&format!("/jobs/{id}"))
            .header("authorization", format!("bearer {TOKEN}"));
        read(&request.reply(&self.routes).await)
    }
}

fn read(response: &Response<Bytes>) -> (StatusCode, Value) {
    let body = serde_json::from_slice(response.body()).unwrap();
    (response.status(), body)
}

#[tokio::test]
async fn a_job_is_accepted_lies_in_its_queue_and_is_told_of() {
    let desk = Desk::set();

    let wanted =
        r#"{"task":"demo.a","args":{"n":12345678901234567890},"queue":"high","max_attempts":3}"#;
    let (status, answer) = desk.post(wanted).await;

    assert_eq!(
        (status, answer),
        (StatusCode::ACCEPTED, json!({"id": "high-1"}))
    );
    let body = desk.queue.body("high-1".parse().unwrap()).await.unwrap();
    assert!(
        body.ends_with(r#""task":"demo.a","args":{"n":12345678901234567890},"max_attempts":3}"#),
        "{body}"
    );
    let (status, state) = desk.get("high-1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&state["state"], &state["task"]),
        (&json!("waiting"), &json!("demo.a"))
    );

    let later = r#"{"task":"demo.a","in_ms":3600000}"#;
    assert_eq!(desk.post(later).await.1["id"], "default+1");
    let then = r#"{"task":"demo.a","at":"2126-09-21T14:13:20Z"}"#;
    assert_eq!(desk.post(then).await.1["id"], "default+2");
    assert_eq!(desk.get("default%2B1").await.1["id"], "default+1");
    let (_, state) = desk.get("default+2").await;
    assert_eq!(state["state"], "scheduled");
    assert_eq!(state["due_ms"], 4_945_673_600_000_u64);
}

#[tokio::test]
async fn what_became_of_a_job_is_told_as_long_as_it_is_known() {
    let desk = Desk::set();
    for _ in 0..2 {
        desk.post(r#"{"task":"demo.a"}"#).await;
    }
    let operator = Operator::new(desk.queue.redis.clone(), desk.queue.keys.clone());
    operator
        .discard(&["default-1".parse().unwrap()])
        .await
        .unwrap();

    let finished = json!({"id": "default-1", "state": "finished"});
    assert_eq!(desk.get("default-1").await, (StatusCode::OK, finished));
    for unknown in ["default-3", "low-1", "nonsense", "%20"] {
        assert_eq!(
            desk.get(unknown).await.0,
            StatusCode::NOT_FOUND,
            "{unknown}"
        );
    }
}

#[tokio::test]
async fn without_a_token_of_the_servers_the_routes_are_not_there() {
    let routes = serve(None);
    for (method, path) in [("POST", "/jobs"), ("GET", "/jobs"), ("GET", "/jobs/high-1")] {
        let request = warp::test::request().method(method).path(path);
        let response = request.reply(&routes).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method} {path}");
    }
}

#[tokio::test]
async fn without_the_clients_token_nothing_is_done_or_told() {
    let desk = Desk::set();
    let wrong = format!("Bearer {}x", &TOKEN[1..]);
    let short = format!("Bearer {}", &TOKEN[1..]);
    let basic = format!("Basic {TOKEN}");
    let longer = format!("Bearer {TOKEN}{TOKEN}");
    let headers: [Option<&[u8]>; 8] = [
        None,
        Some(b""),
        Some(b"Bearer"),
        Some(wrong.as_bytes()),
        Some(short.as_bytes()),
        Some(basic.as_bytes()),
        Some(longer.as_bytes()),
        Some(b"Bearer \xff\xff"),
    ];
    for header in headers {
        for (method, path) in [("POST", "/jobs"), ("GET", "/jobs/high-1")] {
            let mut request = warp::test::request().method(method).path(path);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let response = request
                .body(r#"{"task":"demo.a"}"#)
                .reply(&desk.routes)
                .await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{header:?}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            assert_eq!(read(&response).1["code"], "unauthorized");
        }
    }
    assert!(desk.queue.key_names().await.is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_and_nothing_is_enqueued() {
    let desk = Desk::set();
    let large = format!(r#"{{"task":"t","args":"{}"}}"#, "x".repeat(MAX_BODY));
    let larger = format!(r#"{{"task":"t","args":"{}"}}"#, "x".repeat(2 * MAX_BODY));
    for (body, status, told) in [
        ("", 400, "not JSON"),
        ("{", 400, "not JSON"),
        (r#"{"task":"t"} x"#, 400, "not JSON"),
        ("[]", 422, "not a JSON object"),
        (r#"["t",1,"low",1,null,1]"#, 422, "not a JSON object"),
        ("17", 422, "not a JSON object"),
        ("{}", 422, "missing field `task`"),
        (r#"{"task":""}"#, 422, "`task` is empty"),
        (r#"{"task":7}"#, 422, "expected a string"),
        (r#"{"task":"t","queue":"mid"}"#, 422, "high, default or low"),
        (
            r#"{"task":"t","group":"low-1"}"#,
            422,
            "unknown field `group`",
        ),
        (r#"{"task":"t","max_attempts":0}"#, 422, "at least 1"),
        (r#"{"task":"t","in_ms":-1}"#, 422, "invalid value"),
        (r#"{"task":"t","at":"noon"}"#, 422, "2026-09-21T14:13:20Z"),
        (
            r#"{"task":"t","at":"2126-09-21T14:13:20Z","in_ms":1}"#,
            422,
            "not both",
        ),
        (&large, 413, "1048576 bytes"),
        (&larger, 413, "1048576 bytes"),
    ] {
        let (answered, answer) = desk.post(body).await;
        assert_eq!(answered, status, "{body:.60}: {answer}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(told), "{body:.60}: {message}");
    }
    assert!(desk.queue.key_names().await.is_empty());
}

#[tokio::test]
async fn a_queue_that_drains_and_a_redis_that_is_away_are_told_with_503() {
    let desk = Desk::set();
    let operator = Operator::new(desk.queue.redis.clone(), desk.queue.keys.clone());
    operator
        .clone()
        .acting_for("ada")
        .drain(Queue::Low)
        .await
        .unwrap();

    let (status, answer) = desk.post(r#"{"task":"t","queue":"low"}"#).await;

    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["code"], "queue_drains");
    let away = common::kv::Redis::new("redis://127.0.0.1:1/0").unwrap();
    let jobs = Jobs::new(TOKEN.parse().unwrap(), away, desk.queue.keys.clone());
    let routes = serve(Some(jobs));
    let request = warp::test::request()
        .method("POST")
        .path("/jobs")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(r#"{"task":"t"}"#);
    let response = request.reply(&routes).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(read(&response).1["code"], "unavailable");
}
