//! What people do with the page, by keyboard.

use fantoccini::key::Key;

use crate::harness::{Browser, Stack, browser::Window};

const ROOM: &str = "stage";

const TEXTS: &str =
    "[...document.querySelectorAll('#messages .message-text')].map((one) => one.textContent)";

fn key(key: Key) -> char {
    key.into()
}

#[tokio::test]
async fn own_messages_are_edited_and_deleted_and_everybody_sees_it() {
    let stack = Stack::start().await;
    let (browser, (first, second), _worker) =
        tokio::join!(Browser::start(), stack.two_servers(), stack.worker());
    let (ada, bob) = tokio::join!(browser.window("ada-edits"), browser.window("bob-sees"));
    let test = async |[ada, bob]: &[Window; 2]| {
        tokio::join!(ada.open(&first, ROOM), bob.open(&second, ROOM));
        ada.says("helo").await;
        ada.says("never mind").await;
        bob.shows("both", |view| view.confirmed() == ["helo", "never mind"])
            .await;

        // Up from the list: the newest, then the one before. `e` edits it.
        ada.run("document.querySelector('#messages').focus()").await;
        let up = key(Key::Up);
        ada.presses(&[up, up, 'e']).await;
        ada.finds("document.querySelector('#message').value", "helo")
            .await;
        ada.presses(&[key(Key::Backspace), 'l', 'o', key(Key::Enter)])
            .await;
        for window in [ada, bob] {
            window
                .shows("the edit", |view| {
                    view.confirmed() == ["hello", "never mind"] && view.pending().is_empty()
                })
                .await;
            window
                .finds(
                    "document.querySelectorAll('.edited:not([hidden])').length",
                    1,
                )
                .await;
        }

        // With nothing written the arrow up edits the last message; Escape leaves it as it was.
        ada.presses(&[up]).await;
        ada.finds("document.querySelector('#message').value", "never mind")
            .await;
        ada.presses(&[key(Key::Escape)]).await;
        ada.finds("document.querySelector('#message').value", "")
            .await;

        // Deleting asks first, and Cancel is what Enter would press.
        ada.run("document.querySelector('#messages').focus()").await;
        ada.presses(&[up, key(Key::Delete)]).await;
        ada.finds("document.querySelector('#confirm').open", true)
            .await;
        ada.presses(&[key(Key::Tab), key(Key::Enter)]).await;
        for window in [ada, bob] {
            window
                .finds(TEXTS, vec!["hello", "This message was deleted"])
                .await;
        }

        // And so it stays after a reload.
        bob.reload().await;
        bob.finds(TEXTS, vec!["hello", "This message was deleted"])
            .await;
        let tools = "document.querySelectorAll('.tools').length";
        assert_eq!(bob.run(&format!("return {tools}")).await, 0);
    };
    browser.attend([ada, bob], test).await;
}

#[tokio::test]
async fn what_is_said_in_another_room_is_unread_until_it_is_looked_at() {
    let stack = Stack::start().await;
    let (browser, server, _worker) = tokio::join!(Browser::start(), stack.server(), stack.worker());
    let (ada, bob) = tokio::join!(browser.window("ada-reads"), browser.window("bob-writes"));
    let test = async |[ada, bob]: &[Window; 2]| {
        const STAGE: &str = "document.querySelector('#rooms [data-room=stage]')";
        tokio::join!(ada.open(&server, ROOM), bob.open(&server, ROOM));
        bob.is_called("Bob").await;
        ada.shows("two members", |view| view.members() == "2").await;
        ada.open(&server, "foyer").await;

        bob.says("one").await;
        bob.says("two").await;

        let unread = format!("{STAGE}?.querySelector('.unread:not([hidden])')?.textContent");
        ada.finds(&unread, "2 unread").await;
        ada.finds(
            &format!("{STAGE}.querySelector('.last').textContent"),
            "Bob: two",
        )
        .await;
        ada.finds("document.title", "(2) #foyer · Rhubarb").await;

        // To the next room with something unread.
        ada.presses(&[key(Key::Alt), key(Key::Shift), key(Key::Down)])
            .await;
        ada.shows("the room", |view| view.confirmed() == ["one", "two"])
            .await;
        ada.finds("document.title", "#stage · Rhubarb").await;
        ada.finds(&format!("{STAGE}.querySelector('.unread').hidden"), true)
            .await;
        let news = "[...document.querySelectorAll('#messages .news:not([hidden])')]
            .map((one) => one.closest('li').querySelector('.message-text').textContent)";
        ada.finds(news, vec!["one"]).await;
    };
    browser.attend([ada, bob], test).await;
}

#[tokio::test]
async fn a_draft_stays_with_its_room() {
    let stack = Stack::start().await;
    let (browser, server) = tokio::join!(Browser::start(), stack.server());
    let ada = browser.window("ada-drafts").await;
    let test = async |[ada]: &[Window; 1]| {
        const WRITTEN: &str = "document.querySelector('#message').value";
        ada.open(&server, ROOM).await;
        ada.types("#message", "half").await;

        ada.open(&server, "foyer").await;
        ada.finds(WRITTEN, "").await;
        ada.open(&server, ROOM).await;
        ada.finds(WRITTEN, "half").await;
        ada.reload().await;

        ada.finds(WRITTEN, "half").await;
    };
    browser.attend([ada], test).await;
}

#[tokio::test]
async fn being_offline_is_told_and_what_failed_can_be_retried_and_dropped() {
    let stack = Stack::start().await.with("SERVER_LEASE", "1");
    let (browser, mut server, _worker) =
        tokio::join!(Browser::start(), stack.server(), stack.worker());
    let ada = browser.window("ada-offline").await;
    let test = async |[ada]: &[Window; 1]| {
        ada.open(&server, ROOM).await;
        // What no server takes; a person cannot type it.
        ada.run(
            "document.querySelector('#message').value = 'bad \\0';
             document.querySelector('#composer').requestSubmit()",
        )
        .await;
        let reason = "document.querySelector('#messages li.failed .reason')?.textContent";
        ada.finds(&format!("{reason}?.startsWith('Not sent:')"), true)
            .await;

        server.process.kill();
        ada.finds("document.querySelector('#trouble').hidden", false)
            .await;
        ada.says("good").await;
        ada.shows("it is kept for later", |view| view.pending() == ["good"])
            .await;
        ada.run("document.querySelector('#messages li.failed .retry').click()")
            .await;
        ada.shows("both wait", |view| view.pending() == ["bad \0", "good"])
            .await;
        server.restart(&stack).await;

        ada.finds("document.querySelector('#trouble').hidden", true)
            .await;
        ada.shows("the good one is kept", |view| view.confirmed() == ["good"])
            .await;
        ada.finds("document.querySelectorAll('#messages li.failed').length", 1)
            .await;
        ada.run("document.querySelector('#messages li.failed .discard').click()")
            .await;
        ada.finds(TEXTS, vec!["good"]).await;
    };
    browser.attend([ada], test).await;
}
