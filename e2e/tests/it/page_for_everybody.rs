//! The page without a mouse, by ear, in the dark and on a phone.

use std::collections::BTreeMap;

use fantoccini::key::Key;
use serde_json::{Value, json};

use crate::harness::{Browser, Stack, browser::Window};

const ROOM: &str = "stage";

/// What can be used: each must be reached by Tab, and show that it has the focus.
const USABLE: &str =
    "
    window.nameOf = (one) => one.id || `${one.tagName} ${one.getAttribute('aria-label') ?? one.className}`;
    return [...document.querySelectorAll('a[href], button, input, textarea, [tabindex=\"0\"]')]
    .filter((one) => one.checkVisibility() && !one.disabled)
    .map(nameOf)";

const FOCUSED: &str = "
    const one = document.activeElement;
    const frame = one.closest('#composer') ?? one;
    const style = getComputedStyle(one);
    const seen = style.outlineStyle !== 'none' || getComputedStyle(frame).borderColor !== window.unfocused;
    return [nameOf(one), seen]";

#[tokio::test]
async fn everything_is_reached_by_the_tab_key_and_shows_it() {
    let stack = Stack::start().await;
    let (browser, server, _worker) = tokio::join!(Browser::start(), stack.server(), stack.worker());
    let ada = browser.window("ada-tabs").await;
    let test = async |[ada]: &[Window; 1]| {
        ada.open(&server, ROOM).await;
        ada.says("something to look at").await;
        ada.shows("it", |view| view.confirmed().len() == 1).await;
        ada.run(
            "document.activeElement.blur();
             window.unfocused = getComputedStyle(document.querySelector('#composer')).borderColor",
        )
        .await;
        let usable = ada.run(USABLE).await;
        let usable: Vec<String> = serde_json::from_value(usable).expect("names");

        let mut reached = BTreeMap::new();
        for _ in 0..usable.len() + 3 {
            ada.presses(&[Key::Tab.into()]).await;
            let (name, is_seen): (String, bool) =
                serde_json::from_value(ada.run(FOCUSED).await).expect("what has the focus");
            reached.insert(name, is_seen);
        }

        for name in usable {
            assert_eq!(reached.get(&name), Some(&true), "{name} among {reached:#?}");
        }
    };
    browser.attend([ada], test).await;
}

/// What a screen reader is told, as `role "name"`.
async fn heard(window: &Window) -> Vec<(String, String)> {
    let tree = window
        .devtools("Accessibility.getFullAXTree", json!({}))
        .await;
    let nodes = tree["nodes"].as_array().expect("a tree").iter();
    let told = nodes.filter(|node| node["ignored"] != true);
    let text = |value: &Value| {
        value["value"]
            .as_str()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    told.map(|node| (text(&node["role"]), text(&node["name"])))
        .collect()
}

#[tokio::test]
async fn a_screen_reader_finds_its_way() {
    let stack = Stack::start().await;
    let (browser, server, _worker) = tokio::join!(Browser::start(), stack.server(), stack.worker());
    let ada = browser.window("ada-listens").await;
    let test = async |[ada]: &[Window; 1]| {
        ada.open(&server, ROOM).await;
        ada.says("can you hear me?").await;
        ada.shows("it", |view| view.confirmed().len() == 1).await;

        let heard = heard(ada).await;

        for (role, name) in [
            ("complementary", "Rooms and you"),
            ("navigation", "Rooms"),
            ("main", ""),
            ("heading", "stage"),
            ("status", ""),
            ("log", "Conversation"),
            ("list", "Messages"),
            ("image", "Sent"),
            ("textbox", "Message"),
            ("textbox", "Join a room by name"),
            ("textbox", "Your name"),
            ("button", "Send"),
            ("button", "Leave stage"),
            ("link", "Skip to writing a message"),
            ("article", ""),
            ("StaticText", "can you hear me?"),
        ] {
            let is_there = heard.contains(&(role.to_owned(), name.to_owned()));
            assert!(is_there, "{role} {name:?} in {heard:#?}");
        }
        for (role, name) in &heard {
            let needs_name = ["button", "link", "textbox", "image", "dialog"].contains(&&**role);
            assert!(!needs_name || !name.is_empty(), "a {role} without a name");
        }
        let live = "document.querySelector('[role=log]').getAttribute('aria-live')";
        ada.finds(live, "polite").await;
        ada.finds("document.documentElement.lang", "en").await;
    };
    browser.attend([ada], test).await;
}

/// Texts with too little contrast to what is behind them (WCAG 2.2, 1.4.3), and what is cut off at the side.
const HARD_TO_READ: &str = r"
    const luminance = (rgb) => {
      const [r, g, b] = rgb.map((one) => one / 255)
        .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      return { rgb: [r, g, b], a: a / 255 };
    };
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const { rgb, a } = rgba(getComputedStyle(at).backgroundColor);
        if (a === 1) return rgb;
      }
      return [255, 255, 255];
    };
    const hard = [];
    for (const element of document.querySelectorAll('body *')) {
      const own = [...element.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
      const isThere = element.checkVisibility({ visibilityProperty: true }) && !element.closest('[inert]');
      if (!own || !isThere || element.matches('.hidden, svg *, script, template')) continue;
      const [a, b] = [luminance(rgba(getComputedStyle(element).color).rgb), luminance(behind(element))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < 4.5) hard.push(`${element.className || element.id}: ${contrast.toFixed(2)}`);
    }
    if (document.documentElement.scrollWidth > innerWidth) hard.push('the page is wider than the window');
    return hard";

#[tokio::test]
async fn it_can_be_read_in_light_and_dark_on_a_desktop_and_a_phone() {
    let stack = Stack::start().await;
    let (browser, server, _worker) = tokio::join!(Browser::start(), stack.server(), stack.worker());
    let (ada, bob) = tokio::join!(browser.window("ada-looks"), browser.window("bob-poses"));
    let test = async |[ada, bob]: &[Window; 2]| {
        tokio::join!(ada.open(&server, ROOM), bob.open(&server, ROOM));
        bob.is_called("Bob").await;
        bob.says("https://example.com/ and a few words").await;
        ada.says("Wordswithoutanyspaces".repeat(20).as_str()).await;
        ada.shows("both", |view| view.confirmed().len() == 2).await;

        for (width, height, is_phone) in [(1280, 800, false), (390, 844, true)] {
            for scheme in ["light", "dark"] {
                let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone});
                ada.devtools("Emulation.setDeviceMetricsOverride", size)
                    .await;
                let features =
                    json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
                ada.devtools("Emulation.setEmulatedMedia", features).await;
                ada.finds(&format!("innerWidth === {width}"), true).await;
                let is_dark = scheme == "dark";
                ada.finds(
                    "matchMedia('(prefers-color-scheme: dark)').matches",
                    is_dark,
                )
                .await;

                let hard = ada.run(HARD_TO_READ).await;

                assert_eq!(hard, json!([]), "{scheme}, {width} pixels wide");
            }
        }
    };
    browser.attend([ada, bob], test).await;
}
