//! Windows of a real browser, headless, each with a profile of its own.

use std::{panic::AssertUnwindSafe, path::PathBuf};

use common::testing::{eventually, unique};
use fantoccini::{Client, ClientBuilder, Locator, key::Key};
use futures_util::FutureExt;
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use super::{Process, Server, http};

/// The driver and its windows.
pub(crate) struct Browser {
    port: u16,
    home: PathBuf,
    process: Process,
}

/// One window, as one person's browser.
pub(crate) struct Window {
    name: &'static str,
    client: Client,
    driver: u16,
}

/// What a window shows.
#[derive(Debug)]
pub(crate) struct View(Value);

impl Browser {
    /// Starts the driver, and waits until it listens.
    pub(crate) async fn start() -> Self {
        let driver = std::env::var_os("RHUBARB_CHROMEDRIVER");
        let driver = driver.map_or("/usr/bin/chromedriver".into(), PathBuf::from);
        let home = std::env::temp_dir().join(unique("rhubarb-browser-"));
        std::fs::create_dir_all(&home).expect("a folder for the browser");
        let environment = [("HOME", home.display().to_string())];
        let process = Process::start("chromedriver", &driver, &["--port=0"], &environment);
        let mut browser = Self {
            port: 0,
            home,
            process,
        };
        browser
            .process
            .writes("started successfully on port ")
            .await;
        let output = browser.process.output();
        let (_, rest) = output.split_once("successfully on port ").expect("a port");
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        browser.port = digits.parse().expect("a port");
        browser
    }

    /// Opens a window.
    pub(crate) async fn window(&self, name: &'static str) -> Window {
        let chromium = std::env::var("RHUBARB_CHROMIUM");
        let chromium = chromium.unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
        let profile = self.home.join(name);
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1100,800",
            // Modules of files may import one another: the tests of the client library.
            "--allow-file-access-from-files",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let wishes = json!({
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wishes.as_object().expect("wishes").clone())
            .connect(&format!("http://127.0.0.1:{}", self.port))
            .await
            .unwrap_or_else(|error| panic!("open a window for {name}: {error}"));
        Window {
            name,
            client,
            driver: self.port,
        }
    }

    /// Runs a test on some windows and closes them; if it fails, the screen of each is kept first.
    pub(crate) async fn attend<const N: usize>(
        &self,
        windows: [Window; N],
        test: impl AsyncFnOnce(&[Window; N]),
    ) {
        let outcome = AssertUnwindSafe(test(&windows)).catch_unwind().await;
        for window in windows {
            if outcome.is_err() {
                window.keep_screen().await;
            }
            // Or its processes would outlive the driver.
            let _ = window.client.close().await;
        }
        if let Err(failure) = outcome {
            std::panic::resume_unwind(failure);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.process.kill();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

impl Window {
    /// Opens a room of a server.
    pub(crate) async fn open(&self, server: &Server, room: &str) {
        self.goto(&format!("http://127.0.0.1:{}/#{room}", server.port))
            .await;
        self.shows("it is connected", |view| view.state() == "connected")
            .await;
    }

    /// Goes to another page. The browser keeps this one, to bring it back.
    pub(crate) async fn leave_page(&self) {
        self.goto("about:blank").await;
    }

    /// Comes back from another page.
    pub(crate) async fn come_back(&self) {
        self.client.back().await.expect("the page before");
    }

    /// Goes to an address.
    pub(crate) async fn goto(&self, address: &str) {
        let gone = self.client.goto(address).await;
        gone.unwrap_or_else(|error| panic!("{} goes to {address}: {error}", self.name));
    }

    /// Loads the page anew.
    pub(crate) async fn reload(&self) {
        self.client.refresh().await.expect("a reload");
    }

    /// Writes a message and sends it.
    pub(crate) async fn says(&self, text: &str) {
        self.types("#message", &format!("{text}{}", char::from(Key::Enter)))
            .await;
    }

    /// Takes a name.
    pub(crate) async fn is_called(&self, name: &str) {
        // All that stands there is selected, and overwritten.
        let (control, release) = (char::from(Key::Control), char::from(Key::Null));
        let keys = format!("{control}a{release}{name}{}", char::from(Key::Enter));
        self.types("#username", &keys).await;
        self.shows("it is connected again", |view| view.state() == "connected")
            .await;
    }

    /// Types into a field.
    pub(crate) async fn types(&self, css: &str, keys: &str) {
        let field = self.client.find(Locator::Css(css)).await;
        let field = field.unwrap_or_else(|error| panic!("{} finds {css}: {error}", self.name));
        field.send_keys(keys).await.expect("keys that are typed");
    }

    /// Presses keys, wherever the focus is. What follows a modifier is pressed with it.
    pub(crate) async fn presses(&self, keys: &[char]) {
        let keys: String = keys.iter().chain([&char::from(Key::Null)]).collect();
        let focused = self.client.active_element().await;
        let focused = focused.unwrap_or_else(|error| panic!("{} has a focus: {error}", self.name));
        focused.send_keys(&keys).await.expect("keys that are typed");
    }

    /// Waits until an expression of JavaScript has this value in the page.
    pub(crate) async fn finds(&self, expression: &str, wanted: impl Into<Value>) {
        let wanted = wanted.into();
        let what = format!("{}: {expression} is {wanted}", self.name);
        let look = format!("return {expression}");
        eventually(&what, async || {
            (self.run(&look).await == wanted).then_some(())
        })
        .await;
    }

    /// Asks the browser itself, by its devtools protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let session = self.client.session_id().await.expect("a session");
        let session = session.expect("a session");
        let path = format!("/session/{session}/goog/cdp/execute");
        let body = json!({"cmd": command, "params": parameters});
        let reply = http::post(self.driver, &path, &body).await;
        let reply = reply.expect("an answer of the browser").json();
        assert!(reply["value"]["error"].is_null(), "{command}: {reply}");
        reply["value"].clone()
    }

    /// Waits until the page looks as `wanted`.
    pub(crate) async fn shows(&self, what: &str, wanted: impl Fn(&View) -> bool) -> View {
        let what = format!("{}: {what}", self.name);
        eventually(&what, async || {
            let view = self.view().await;
            wanted(&view).then_some(view)
        })
        .await
    }

    /// What the page shows now.
    pub(crate) async fn view(&self) -> View {
        let look = "
            const all = (css) => [...document.querySelectorAll(css)];
            const texts = (css) => all(css).map((element) => element.textContent);
            return {
              state: document.querySelector('#status')?.dataset.state,
              members: document.querySelector('#members')?.dataset.count,
              history: document.querySelector('#history-notice')?.dataset.state,
              confirmed: texts('#messages li[data-message-id] .message-text'),
              pending: texts('#messages li.pending .message-text'),
              authors: texts('#messages li[data-message-id] .author'),
              elements: all('.message-text *').map((element) => element.tagName),
              injected: all('#messages img, #messages script, #messages b').length,
            }";
        View(self.run(look).await)
    }

    /// Runs JavaScript in the page.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let ran = self.client.execute(script, Vec::new()).await;
        ran.unwrap_or_else(|error| panic!("{} runs {script}: {error}", self.name))
    }

    /// Warnings and errors on the console since the last look.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let session = self.client.session_id().await.expect("a session");
        let path = format!("/session/{}/se/log", session.expect("a session"));
        let reply = http::post(self.driver, &path, &json!({"type": "browser"})).await;
        let log = reply.expect("the console's log").json();
        let entries = log["value"].as_array().expect("a log").clone();
        let grave = entries.iter().filter(|entry| {
            let level = entry["level"].as_str().unwrap_or_default();
            level == "SEVERE" || level == "WARNING"
        });
        grave.map(|entry| entry["message"].to_string()).collect()
    }

    /// Puts a picture of the screen beside the build.
    async fn keep_screen(&self) {
        self.keep_screen_as(self.name).await;
    }

    /// The same under another name.
    pub(crate) async fn keep_screen_as(&self, name: &str) {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.png"));
        if let Ok(picture) = self.client.screenshot().await {
            let _ = std::fs::write(&path, picture);
            println!("the screen of {} is in {}", self.name, path.display());
        }
    }
}

impl View {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        let texts = self.0[name].as_array().into_iter().flatten();
        texts.filter_map(Value::as_str).collect()
    }

    pub(crate) fn state(&self) -> &str {
        self.text("state")
    }

    pub(crate) fn members(&self) -> &str {
        self.text("members")
    }

    pub(crate) fn history(&self) -> &str {
        self.text("history")
    }

    /// Texts of messages that are kept.
    pub(crate) fn confirmed(&self) -> Vec<&str> {
        self.texts("confirmed")
    }

    /// Texts of messages that are on their way.
    pub(crate) fn pending(&self) -> Vec<&str> {
        self.texts("pending")
    }

    pub(crate) fn authors(&self) -> Vec<&str> {
        self.texts("authors")
    }

    /// Elements that a message's text has become; links are meant to.
    pub(crate) fn elements_from_text(&self) -> Vec<&str> {
        self.texts("elements")
    }

    /// Elements that nobody but a message can have brought.
    pub(crate) fn injected(&self) -> u64 {
        self.0["injected"].as_u64().unwrap_or_default()
    }
}
