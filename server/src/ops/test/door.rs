//! Who is let in, and from where.

use http::{StatusCode, header};
use serde_json::json;

use super::{ADA, BOB, Desk, given_limits, json_of, serve};

const READS: [&str; 12] = [
    "me",
    "live",
    "status",
    "jobs",
    "jobs/high-1",
    "jobs/high-1/children",
    "periodic",
    "lanes",
    "rooms",
    "rooms/stage",
    "actions",
    "samples",
];
const CHANGES: [&str; 12] = [
    "jobs/retry",
    "jobs/discard",
    "jobs/cancel",
    "dead/retry",
    "dead/discard",
    "bulks/stop",
    "queues/pause",
    "queues/resume",
    "periodic/pause",
    "periodic/forget",
    "rooms/flush",
    "rooms/rehydrate",
];

#[tokio::test]
async fn without_a_token_of_the_servers_nothing_is_there() {
    let routes = serve(None, &given_limits());
    let reads = READS.map(|path| ("GET", format!("/ops/api/{path}")));
    let changes = CHANGES.map(|path| ("POST", format!("/ops/api/{path}")));
    let others = ["/ops", "/ops/", "/ops/static/app.js", "/ops/api/session"];
    let others = others.map(|path| ("GET", path.to_owned()));
    for (method, path) in reads.into_iter().chain(changes).chain(others) {
        let request = warp::test::request().method(method).path(&path);
        let response = request.reply(&routes).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method} {path}");
    }
}

#[tokio::test]
async fn the_page_is_there_and_nothing_inline_may_run_in_it() {
    let desk = Desk::set();
    for (path, kind) in [
        ("/ops", "text/html; charset=utf-8"),
        ("/ops/static/app.js", "text/javascript; charset=utf-8"),
        ("/ops/static/views/job.js", "text/javascript; charset=utf-8"),
        ("/ops/static/ops.css", "text/css; charset=utf-8"),
    ] {
        let response = desk.ask("GET", path, &[], "").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(response.headers()["content-type"], kind, "{path}");
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    for path in ["/ops/app.js", "/ops/static/", "/ops/static/../index.html"] {
        let response = desk.ask("GET", path, &[], "").await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn nobody_sees_or_changes_anything_without_a_token_or_a_cookie() {
    let desk = Desk::set();
    let [basic, wrong] = [format!("Basic {ADA}"), format!("Bearer {ADA}x")];
    for (name, value) in [
        ("x-other", ""),
        ("authorization", &*basic),
        ("authorization", &*wrong),
        ("cookie", "rhubarb_ops=x"),
        ("cookie", ADA),
    ] {
        // As many wrong tokens as an address may send at once.
        for (method, path) in [("GET", READS[2]), ("POST", CHANGES[6]), ("GET", "none")] {
            let path = format!("/ops/api/{path}");
            let headers = [(name, value), ("x-rhubarb-ops", "1")];
            let response = desk
                .ask(method, &path, &headers, r#"{"queue":"low"}"#)
                .await;
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{method} {path}"
            );
            assert_eq!(json_of(&response)["code"], "unauthorized");
        }
    }
    for (method, paths) in [("GET", READS), ("POST", CHANGES)] {
        for path in paths {
            let path = format!("/ops/api/{path}");
            let response = desk
                .ask(method, &path, &[("x-rhubarb-ops", "1")], "{}")
                .await;
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{method} {path}"
            );
        }
    }
    assert!(desk.queue.key_names().await.is_empty());
}

#[tokio::test]
async fn a_cookie_lets_in_until_it_is_given_back() {
    let desk = Desk::set();

    let cookie = desk.sign_in(BOB).await;

    let headers = [("cookie", &*cookie)];
    let me = desk.ask("GET", "/ops/api/me", &headers, "").await;
    assert_eq!(me.status(), StatusCode::OK);
    assert_eq!(me.headers()["cache-control"], "no-store");
    let me = json_of(&me);
    assert_eq!(me["name"], "bob");
    let until = me["until"].as_u64().unwrap();
    assert!(until > 1_700_000_000, "{until}");
    assert!(!cookie.contains(BOB));
    let over = desk.ask("DELETE", "/ops/api/session", &headers, "").await;
    let set = over.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(
        set.starts_with("rhubarb_ops=; Path=/ops; Max-Age=0;"),
        "{set}"
    );
    let by_https = [("origin", "https://ops.example"), ("host", "ops.example")];
    let body = json!({ "token": BOB }).to_string();
    let response = desk.ask("POST", "/ops/api/session", &by_https, &body).await;
    let set = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(
        set.ends_with("; HttpOnly; SameSite=Strict; Secure"),
        "{set}"
    );
}

#[tokio::test]
async fn wrong_tokens_are_slowed_down_by_address() {
    let desk = Desk::set();
    let guess = async |token: &str| {
        let body = json!({ "token": token }).to_string();
        desk.ask("POST", "/ops/api/session", &[], &body).await
    };
    let mut last = StatusCode::OK;
    for n in 0..30 {
        let response = guess(&format!("wrong-0123456789-{n}")).await;
        last = response.status();
        if last == StatusCode::TOO_MANY_REQUESTS {
            assert!(response.headers().contains_key("retry-after"));
            break;
        }
        assert_eq!(last, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    // Whoever guesses here keeps nobody else out.
    assert_eq!(guess(ADA).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_page_elsewhere_cannot_change_anything_through_a_browser_that_is_signed_in() {
    let desk = Desk::set();
    let cookie = desk.sign_in(ADA).await;
    let pause = async |more: &[(&str, &str)]| {
        let mut headers = vec![("cookie", &*cookie), ("host", "ops.example")];
        headers.extend(more);
        let body = r#"{"queue":"low"}"#;
        let response = desk
            .ask("POST", "/ops/api/queues/pause", &headers, body)
            .await;
        (response.status(), json_of(&response)["code"].clone())
    };
    let forbidden = |code: &str| (StatusCode::FORBIDDEN, json!(code));

    assert_eq!(pause(&[]).await, forbidden("forged"));
    let own = ("x-rhubarb-ops", "1");
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        assert_eq!(
            pause(&[own, (name, value)]).await,
            forbidden("forbidden_origin")
        );
    }
    let paused = desk.queue.keys.paused();
    assert_eq!(desk.queue.command::<usize>(&["HLEN", &paused]).await, 0);
    let here = [
        own,
        ("origin", "https://ops.example"),
        ("sec-fetch-site", "same-origin"),
    ];
    assert_eq!(pause(&here).await.0, StatusCode::OK);
    assert_eq!(desk.queue.command::<usize>(&["HLEN", &paused]).await, 1);
    desk.is_acted("ada", "pause", "low").await;
}
