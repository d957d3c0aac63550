//! The dashboard, in a real browser, over queues in which something happens.

mod scene;
mod views;

use common::testing::{RedisServer, required};
use fantoccini::key::Key;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Browser, Server, Stack, browser::Window, http};
use scene::Scene;

const ADA: &str = "ada-0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef";

/// What the page says of how fresh it is.
const FRESHNESS: &str = "document.querySelector('#freshness').dataset.state";

fn with_tokens(stack: Stack) -> Stack {
    stack.with("OPS_TOKENS", &format!("ada={ADA},bob={BOB}"))
}

/// Opens a view, as somebody who has signed in.
async fn open(window: &Window, server: &Server, view: &str) {
    let address = format!("http://127.0.0.1:{}/ops#/{view}", server.port);
    window.goto(&address).await;
    window.finds(FRESHNESS, "fresh").await;
}

/// Opens a view while nothing fresh comes.
async fn open_stale(window: &Window, server: &Server, view: &str) {
    let address = format!("http://127.0.0.1:{}/ops#/{view}", server.port);
    window.goto(&address).await;
}

async fn sign_in(window: &Window, server: &Server, token: &str) {
    let address = format!("http://127.0.0.1:{}/ops", server.port);
    window.goto(&address).await;
    window
        .finds("document.querySelector('#sign-in').hidden", false)
        .await;
    window
        .types("#token", &format!("{token}{}", char::from(Key::Enter)))
        .await;
    window
        .finds("document.querySelector('#sign-in').hidden", true)
        .await;
    window
        .finds("document.querySelector('#token').value", "")
        .await;
}

/// The text of all elements that fit.
fn texts(css: &str) -> String {
    format!("[...document.querySelectorAll({css:?})].map((one) => one.textContent)")
}

fn has(css: &str, text: &str) -> String {
    format!("{}.some((one) => one.includes({text:?}))", texts(css))
}

/// Presses the button with this text, and what the dialog asks to be pressed.
async fn presses(window: &Window, button: &str, answer: &str) {
    let found = format!(
        "[...document.querySelectorAll('#view button')].find((one) => one.textContent === {button:?} && !one.disabled)"
    );
    window.finds(&format!("Boolean({found})"), true).await;
    window.run(&format!("{found}.click()")).await;
    window
        .finds("document.querySelector('#confirm').open", true)
        .await;
    window
        .finds("document.querySelector('#confirm-yes').textContent", answer)
        .await;
    window
        .run("document.querySelector('#confirm-yes').click()")
        .await;
    window
        .finds("document.querySelector('#confirm').open", false)
        .await;
}

async fn complains_of_nothing(window: &Window) {
    // A 401 before the sign-in is on the console as well, and is as it should be.
    let mut complaints = window.complaints().await;
    complaints.retain(|one| !one.contains("401"));
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[tokio::test]
async fn a_dead_job_is_seen_and_retried_a_queue_is_paused_and_both_are_written_down() {
    // What other pages may use of the chat changes nothing here.
    let stack = with_tokens(Stack::start().await).with("ORIGINS", "https://chat.example");
    let (browser, server) = tokio::join!(Browser::start(), stack.server());
    let scene = Scene::set(&stack).await;
    let ada = browser.window("ada-operates").await;
    let test = async |[ada]: &[Window; 1]| {
        let wrong = format!("wrong-0123456789{}", char::from(Key::Enter));
        ada.goto(&format!("http://127.0.0.1:{}/ops", server.port))
            .await;
        ada.finds("document.querySelector('#sign-in').hidden", false)
            .await;
        ada.types("#token", &wrong).await;
        ada.finds(&has("#sign-in-why", "nobody’s token"), true)
            .await;
        ada.run("document.querySelector('#token').value = ''").await;
        sign_in(ada, &server, ADA).await;
        ada.finds("document.querySelector('#who').textContent", "ada")
            .await;

        // The overview says what is wrong, and leads there.
        ada.finds(&has(".troubles a", "dead job"), true).await;
        let dead = scene.dead().await;
        ada.run("[...document.querySelectorAll('.troubles a')].find((one) => one.textContent.includes('dead')).click()")
            .await;
        ada.finds("document.querySelectorAll('tr[data-job]').length", dead)
            .await;
        ada.finds(&has("td.error", "card was declined"), true).await;

        // By what they died of, in the address.
        ada.types(
            "[name=error]",
            &format!("DECLINED{}", char::from(Key::Enter)),
        )
        .await;
        ada.finds("location.hash", "#/dead?error=DECLINED").await;
        ada.finds("document.querySelectorAll('tr[data-job]').length", 3)
            .await;
        let first = ada
            .run("return document.querySelector('tr[data-job]').dataset.job")
            .await;
        let first = first.as_str().expect("a job's id").to_owned();

        // One job's story, and Retry.
        ada.run(&format!(
            "document.querySelector('tr[data-job={first:?}] a').click()"
        ))
        .await;
        ada.finds("document.querySelector('h1').textContent", &*first)
            .await;
        ada.finds(&has(".payload", "4242"), true).await;
        // What a payload says is text, whatever it looks like.
        ada.finds(&has(".payload", "<img src=x onerror=alert(1)>"), true)
            .await;
        ada.finds(
            "document.querySelectorAll('.payload *, #view img').length",
            0,
        )
        .await;
        ada.finds("document.querySelector('.why').dataset.reason", "dead")
            .await;
        presses(ada, "Retry now", "Retry").await;
        ada.finds(&has("#toast", "1 retried"), true).await;
        ada.finds("document.querySelector('.why').dataset.reason !== 'dead' || document.querySelectorAll('tbody tr').length > 1", true)
            .await;
        ada.run("history.back()").await;
        ada.finds("location.hash", "#/dead?error=DECLINED").await;
        ada.finds("document.querySelector('[name=error]').value", "DECLINED")
            .await;

        // Pause a queue: everybody is told who did, by every server.
        open(ada, &server, "queues").await;
        ada.run("document.querySelector('[aria-label=\"Pause low\"]').click()")
            .await;
        ada.finds("document.querySelector('#confirm').open", true)
            .await;
        ada.finds(&has("#confirm-title", "Pause queue low?"), true)
            .await;
        ada.run("document.querySelector('#confirm-yes').click()")
            .await;
        ada.finds(&has("section[data-key=low] .mark", "paused by ada"), true)
            .await;
        open(ada, &server, "actions").await;
        let rows = "[...document.querySelectorAll('tbody tr')].slice(0, 2).map((one) => [...one.children].slice(1).map((cell) => cell.textContent).join(' '))";
        ada.finds(rows, json!(["ada pause low", format!("ada retry {first}")]))
            .await;
        complains_of_nothing(ada).await;

        // Signed out, nothing is shown, whichever way one goes.
        ada.run("document.querySelector('#sign-out').click()").await;
        ada.finds("document.querySelector('#sign-in').hidden", false)
            .await;
        ada.run("location.hash = '#/dead'").await;
        ada.reload().await;
        ada.finds("document.querySelector('#sign-in').hidden", false)
            .await;
        ada.finds("document.querySelector('#view').textContent", "")
            .await;
    };
    browser.attend([ada], test).await;
}

#[tokio::test]
async fn numbers_move_by_themselves_and_what_is_stale_is_told() {
    let stack = with_tokens(Stack::start().await);
    let (browser, mut server) = tokio::join!(Browser::start(), stack.server());
    let scene = Scene::set(&stack).await;
    let bob = browser.window("bob-watches").await;
    let test = async |[bob]: &[Window; 1]| {
        sign_in(bob, &server, BOB).await;
        let done = "[...document.querySelectorAll('tbody tr[data-key=\"mail.send\"] td')].map((one) => Number(one.textContent))[1]";
        bob.finds(&format!("{done} > 0"), true).await;
        let before = bob
            .run(&format!("return {done}"))
            .await
            .as_u64()
            .unwrap_or_default();
        let waiting = bob
            .run("return document.querySelectorAll('.chart .line-0')[0].getAttribute('d')")
            .await;

        scene.mails(50).await;

        bob.finds(&format!("{done} >= {}", before + 50), true).await;
        bob.finds(
            &format!(
                "document.querySelectorAll('.chart .line-0')[0].getAttribute('d') !== {waiting}"
            ),
            true,
        )
        .await;

        server.process.kill();
        bob.finds(FRESHNESS, "stale").await;
        bob.finds(&has("#freshness-text", "Last update"), true)
            .await;
        bob.finds("document.querySelector('#trouble').hidden", false)
            .await;
        bob.finds(
            "getComputedStyle(document.querySelector('#view')).opacity < 1",
            true,
        )
        .await;
        server.restart(&stack).await;
        bob.finds(FRESHNESS, "fresh").await;
        bob.finds("document.querySelector('#trouble').hidden", true)
            .await;
    };
    browser.attend([bob], test).await;
}

#[tokio::test]
async fn a_redis_that_is_away_is_told_and_all_goes_on_when_it_is_back() {
    let mut redis = RedisServer::start(&[]);
    let stack = Stack::on(&redis.url(), &required("DATABASE_URL")).await;
    let stack = with_tokens(stack);
    let (browser, server) = tokio::join!(Browser::start(), stack.server());
    let ada = browser.window("ada-waits").await;
    let test = async |[ada]: &[Window; 1]| {
        sign_in(ada, &server, ADA).await;
        ada.finds(FRESHNESS, "fresh").await;
        ada.finds(&has(".troubles a", "No worker is alive"), true)
            .await;

        redis.kill();
        ada.finds(FRESHNESS, "away").await;
        ada.finds(&has("#trouble", "cannot reach Redis"), true)
            .await;
        open_stale(ada, &server, "actions").await;
        ada.finds(&has(".wrong", "Redis cannot be reached"), true)
            .await;

        redis.restart();
        ada.finds(FRESHNESS, "fresh").await;
        ada.finds("document.querySelector('.wrong')", Value::Null)
            .await;
    };
    browser.attend([ada], test).await;
}

#[tokio::test]
async fn a_replay_shows_how_far_it_is_on_every_server_and_is_stopped_on_any() {
    let stack = with_tokens(Stack::start().await);
    let (browser, (first, second)) = tokio::join!(Browser::start(), stack.two_servers());
    let _scene = Scene::set(&stack).await;
    let (ada, bob) = tokio::join!(browser.window("ada-replays"), browser.window("bob-stops"));
    let test = async |[ada, bob]: &[Window; 2]| {
        tokio::join!(sign_in(ada, &first, ADA), sign_in(bob, &second, BOB));
        tokio::join!(open(ada, &first, "dead"), open(bob, &second, "dead"));

        ada.run("document.querySelector('[name=rate]').value = '0.5'")
            .await;
        presses(ada, "Replay all that fit", "Replay").await;

        bob.finds(&has(".bulks li", "by ada"), true).await;
        bob.finds(&has(".bulks li", "1 changed"), true).await;
        bob.run("document.querySelector('.bulks button').click()")
            .await;
        for window in [ada, bob] {
            window
                .finds(&has(".bulks li", "stopped (bob stopped it)"), true)
                .await;
        }
        complains_of_nothing(ada).await;
    };
    browser.attend([ada, bob], test).await;
}

#[tokio::test]
async fn a_server_with_somebody_who_looks_goes_in_time_and_they_go_on_at_another() {
    let stack = with_tokens(Stack::start().await).with("DRAIN_SECONDS", "8");
    let (browser, mut server) = tokio::join!(Browser::start(), stack.server());
    let ada = browser.window("ada-goes-on").await;
    let test = async |[ada]: &[Window; 1]| {
        sign_in(ada, &server, ADA).await;
        ada.finds(FRESHNESS, "fresh").await;
        let mut other = server.beside(&stack).await;

        let began = std::time::Instant::now();
        server.terminate();
        let code = server.process.exit_code().await;

        assert_eq!(code, Some(0));
        assert!(began.elapsed().as_secs() < 6, "{:?}", began.elapsed());
        ada.finds(FRESHNESS, "fresh").await;
        assert!(other.end().is_none());
        let ready = http::get(server.port, "/ops/api/me")
            .await
            .expect("an answer");
        assert_eq!(ready.status, 401, "{:?}", Value::from(ready.body));
    };
    browser.attend([ada], test).await;
}

/// Another stream of Ada's, elsewhere.
async fn look(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .expect("the server listens");
    let request = format!(
        "GET /ops/api/live HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {ADA}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(answer, *b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn a_page_that_is_refused_says_why_and_comes_back() {
    let stack = with_tokens(Stack::start().await);
    let (browser, server) = tokio::join!(Browser::start(), stack.server());
    let ada = browser.window("ada-is-refused").await;
    let test = async |[ada]: &[Window; 1]| {
        let mut others = Vec::new();
        for _ in 0..50 {
            others.push(look(&server).await);
        }

        sign_in(ada, &server, ADA).await;

        ada.finds(&has("#trouble:not([hidden])", "open 50 times"), true)
            .await;
        drop(others);
        ada.finds(FRESHNESS, "fresh").await;
    };
    browser.attend([ada], test).await;
}
