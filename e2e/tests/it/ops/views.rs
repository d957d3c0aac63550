//! Every view, light and dark, on a phone and on a desk.

use serde_json::{Value, json};

use super::{ADA, complains_of_nothing, open, scene::Scene, sign_in, with_tokens};
use crate::harness::{Browser, Stack, browser::Window};

/// Each has a name and a size.
const SCREENS: [(&str, u32, u32, bool); 2] =
    [("desktop", 1280, 800, false), ("phone", 390, 844, true)];

/// What is wrong with how a view is made: for eyes, ears and fingers.
const FAULTS: &str = "
    const faults = [];
    const wide = document.documentElement.scrollWidth - innerWidth;
    if (wide > 1) faults.push(`wider than the screen by ${wide}`);
    if (document.querySelectorAll('h1').length - document.querySelectorAll('#sign-in h1').length !== 1) faults.push('not one h1');
    for (const one of document.querySelectorAll('#view :is(button, input, select, a[href]), #top :is(button, a[href]), #views a')) {
      if (!one.checkVisibility()) continue;
      const name = one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.[0]?.textContent.trim();
      if (!name) faults.push(`no name: ${one.outerHTML.slice(0, 120)}`);
    }
    for (const one of document.querySelectorAll('th:not([scope])')) if (!one.textContent) faults.push('an empty head of a column');
    for (const one of document.querySelectorAll('svg[role=img]')) if (!one.getAttribute('aria-label')) faults.push('a picture without words');
    if (document.querySelectorAll('[style]').length) faults.push('an inline style');
    return faults";

async fn resize(window: &Window, (_, width, height, mobile): (&str, u32, u32, bool)) {
    let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
    window
        .devtools("Emulation.setDeviceMetricsOverride", size)
        .await;
}

#[tokio::test]
async fn every_view_fits_its_screen_and_is_told_in_words() {
    let stack = with_tokens(Stack::start().await);
    let (browser, server) = tokio::join!(Browser::start(), stack.server());
    let scene = Scene::set(&stack).await;
    let ada = browser.window("ada-looks").await;
    for (room, text) in [
        ("stage", "hello"),
        ("stage", "<b>secret words</b>"),
        ("foyer", "hi"),
    ] {
        let body = json!({"message": text}).to_string();
        let reply = server.say("ada", room, "", &body).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
    let member = server.client("bob").await;
    let test = async |[ada]: &[Window; 1]| {
        sign_in(ada, &server, ADA).await;
        let master = format!("job/{}", scene.report);
        let dead = ada.run("return fetch('/ops/api/jobs?state=dead').then((told) => told.json()).then((page) => page.jobs.find((job) => job.task === 'payments.charge').id)").await;
        let dead = format!("job/{}", dead.as_str().expect("a dead job's id"));
        let views = [
            "overview",
            "queues",
            "workers",
            "jobs",
            "jobs?state=laned",
            "jobs?state=scheduled",
            "jobs?state=claimed",
            "jobs?state=parked",
            "dead",
            "schedule",
            "rooms",
            "room/stage",
            "actions",
            &master,
            &dead,
            "job/high-999",
        ];
        for theme in ["light", "dark"] {
            let media = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
            ada.devtools("Emulation.setEmulatedMedia", media).await;
            for screen in SCREENS {
                resize(ada, screen).await;
                for view in &views {
                    open(ada, &server, view).await;
                    ada.finds("document.querySelector('#view h1') !== null && !document.querySelector('#view').textContent.includes('Loading')", true).await;
                    let faults = ada.run(FAULTS).await;
                    assert_eq!(faults, json!([]), "{view}, {theme}, {}", screen.0);
                    if *view == master {
                        // Children that run, that failed, that are done.
                        let tree = "[...document.querySelectorAll('.tree li li')].map((one) => one.dataset.state).sort()";
                        let running = ["claimed"; 5];
                        let states = running.into_iter().chain(["dead", "dead", "done"]);
                        ada.finds(tree, json!(states.collect::<Vec<_>>())).await;
                    }
                    let said = ada
                        .run("return document.body.textContent.includes('secret words')")
                        .await;
                    assert_eq!(said, Value::Bool(false), "{view} shows what was said");
                    let name = view.replace(['/', '?', '='], "-");
                    ada.keep_screen_as(&format!("ops-{name}-{theme}-{}", screen.0))
                        .await;
                }
            }
        }
        complains_of_nothing(ada).await;
        drop(member);
    };
    browser.attend([ada], test).await;
}

#[tokio::test]
async fn the_dashboard_is_used_by_keyboard_alone() {
    let stack = with_tokens(Stack::start().await);
    let (browser, server) = tokio::join!(Browser::start(), stack.server());
    let _scene = Scene::set(&stack).await;
    let ada = browser.window("ada-types").await;
    let test = async |[ada]: &[Window; 1]| {
        use fantoccini::key::Key;
        sign_in(ada, &server, ADA).await;
        open(ada, &server, "queues").await;
        let focused = "document.activeElement.getAttribute('aria-label')";
        // From the top, past the menu, to the first button of the view.
        for _ in 0..40 {
            ada.presses(&[Key::Tab.into()]).await;
            if ada.run(&format!("return {focused}")).await == "Pause high" {
                break;
            }
        }
        ada.finds(focused, "Pause high").await;
        ada.presses(&[Key::Enter.into()]).await;
        ada.finds("document.querySelector('#confirm').open", true)
            .await;
        // What is pressed without a thought changes nothing.
        ada.presses(&[Key::Enter.into()]).await;
        ada.finds("document.querySelector('#confirm').open", false)
            .await;
        ada.finds(focused, "Pause high").await;
        ada.presses(&[Key::Enter.into()]).await;
        ada.finds("document.querySelector('#confirm').open", true)
            .await;
        ada.presses(&[Key::Tab.into(), Key::Enter.into()]).await;
        ada.finds(
            "document.querySelector('[aria-label=\"Resume high\"]') !== null",
            true,
        )
        .await;
        complains_of_nothing(ada).await;
    };
    browser.attend([ada], test).await;
}
