//! The page in a real browser.

use crate::harness::{Browser, Stack};

const ROOM: &str = "stage";

/// What would run or show if a message's text were taken for HTML.
const LOOKS_LIKE_HTML: &str = "<img src=x onerror=alert(1)> <b>bold</b> &amp; <script>boo</script>";

#[tokio::test]
async fn two_windows_on_two_servers_chat_reload_and_find_the_history_after_redis_was_emptied() {
    let stack = Stack::start().await.with("FLUSH_CHUNK", "2");
    let (browser, (first, second), _workers) =
        tokio::join!(Browser::start(), stack.two_servers(), stack.two_workers());
    let (ada, bob) = tokio::join!(browser.window("ada"), browser.window("bob"));
    let test = async |[ada, bob]: &_| {
        let (ada, bob): (&crate::harness::browser::Window, &_) = (ada, bob);

        tokio::join!(ada.open(&first, ROOM), bob.open(&second, ROOM));
        ada.is_called("Ada").await;
        bob.is_called("Bob").await;
        for window in [ada, bob] {
            window
                .shows("two members", |view| view.members() == "2")
                .await;
        }

        // They chat. What they write is text, whatever it looks like.
        let conversation = [
            "Hello?",
            "Hello, Ada",
            LOOKS_LIKE_HTML,
            "https://example.com/a?b=1&c",
        ];
        for (n, text) in conversation.iter().enumerate() {
            let (speaker, listener) = if n % 2 == 0 { (ada, bob) } else { (bob, ada) };
            speaker.says(text).await;
            for window in [listener, speaker] {
                window
                    .shows(text, |view| view.confirmed() == conversation[..=n])
                    .await;
            }
        }
        for window in [ada, bob] {
            let view = window.view().await;
            assert_eq!(view.injected(), 0);
            assert_eq!(view.elements_from_text(), ["A"], "the link, and no more");
            assert_eq!(view.pending(), [""; 0]);
            assert_eq!(view.history(), "start", "it is no empty room any more");
        }
        assert_eq!(ada.view().await.authors()[1], "Bob");
        assert_eq!(bob.view().await.authors()[0], "Ada");

        // A reload keeps the history.
        ada.reload().await;
        ada.shows("the history after a reload", |view| {
            view.confirmed() == conversation && view.members() == "2"
        })
        .await;

        // Who goes to another page is no member any more, and is one again when back.
        ada.leave_page().await;
        bob.shows("one member", |view| view.members() == "1").await;
        ada.come_back().await;
        bob.shows("two members again", |view| view.members() == "2")
            .await;

        // All leave; the room goes to Postgres; Redis is emptied; the history is there.
        ada.leave_page().await;
        bob.leave_page().await;
        stack.flushed(ROOM, conversation.len()).await;
        stack.idle().await;
        stack.empty_redis().await;
        tokio::join!(ada.open(&second, ROOM), bob.open(&first, ROOM));
        for window in [ada, bob] {
            window
                .shows("the history from Postgres", |view| {
                    view.confirmed() == conversation && view.history() == "start"
                })
                .await;
        }
        bob.says("as if nothing had happened").await;
        ada.shows("a message after all that", |view| {
            view.confirmed().last() == Some(&"as if nothing had happened")
        })
        .await;

        for window in [ada, bob] {
            let complaints = window.complaints().await;
            assert!(complaints.is_empty(), "on the console: {complaints:#?}");
        }
    };
    browser.attend([ada, bob], test).await;
}

#[tokio::test]
async fn a_message_that_is_written_while_the_server_is_away_is_sent_when_another_answers() {
    let stack = Stack::start().await.with("SERVER_LEASE", "1");
    let (browser, mut server, _worker) =
        tokio::join!(Browser::start(), stack.server(), stack.worker());
    let ada = browser.window("ada").await;
    browser
        .attend([ada], async |[ada]| {
            ada.open(&server, ROOM).await;
            ada.says("before").await;
            ada.shows("it is kept", |view| view.confirmed() == ["before"])
                .await;

            server.process.kill();
            ada.shows("it is not connected", |view| view.state() != "connected")
                .await;
            ada.says("during").await;
            ada.shows("it is pending", |view| view.pending() == ["during"])
                .await;
            server.restart(&stack).await;

            ada.shows("it is kept, once", |view| {
                view.confirmed() == ["before", "during"] && view.pending().is_empty()
            })
            .await;
        })
        .await;
}

#[tokio::test]
async fn nothing_inline_and_nothing_from_elsewhere_runs_in_the_page() {
    let stack = Stack::start().await;
    let (browser, server) = tokio::join!(Browser::start(), stack.server());
    let page = server.get("/").await;
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let ada = browser.window("ada").await;
    browser
        .attend([ada], async |[ada]| {
            ada.open(&server, ROOM).await;

            let ran = ada
                .run(
                    "const ran = () => { window.ran = true; };
                     const script = document.createElement('script');
                     const picture = document.createElement('img');
                     const attempts = [
                       () => { script.append('window.ran = true'); document.head.append(script); },
                       () => { script.textContent = 'window.ran = true'; ran(); },
                       () => { picture.setAttribute('onerror', 'window.ran = true'); ran(); },
                       () => { document.body.insertAdjacentHTML('beforeend', '<b>markup</b>'); ran(); },
                     ];
                     for (const attempt of attempts) {
                       try {
                         attempt();
                       } catch {
                         // as it should be
                       }
                     }
                     return window.ran === true",
                )
                .await;

            assert_eq!(ran, false);
            let complaints = ada.complaints().await;
            assert!(
                complaints.iter().any(|text| text.contains("TrustedScript")),
                "{complaints:#?}"
            );
        })
        .await;
}
