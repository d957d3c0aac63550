//! The client library for browsers, in a browser. Its unit tests (`e2e/js`) run in Node as well; here
//! they show that nothing hangs on that. And it meets real servers that are killed.

use common::testing::eventually;
use serde_json::Value;

use crate::harness::{Browser, Stack};

#[tokio::test]
async fn the_unit_tests_of_the_client_library_pass_in_a_browser() {
    let browser = Browser::start().await;
    let window = browser.window("unit-tests").await;
    browser
        .attend([window], async |[window]| {
            let page = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/js/tests.html");
            window.goto(page).await;

            let outcome = eventually("the tests have run", async || {
                let outcome = window.run("return globalThis.outcome ?? null").await;
                (outcome != Value::Null).then_some(outcome)
            })
            .await;

            assert_eq!(outcome["failures"], Value::Array(Vec::new()));
            assert!(outcome["count"].as_u64() > Some(40), "{outcome}");
        })
        .await;
}
