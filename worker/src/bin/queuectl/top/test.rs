//! The screen, drawn from a real Redis.

use std::time::Duration;

use common::{
    queue::{Queue, operate::Operator},
    testing::TestQueue,
};
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};

use super::{App, Pane, Told, draw, look};
use crate::connect::Connection;

struct Stage {
    queue: TestQueue,
    connection: Connection,
    app: App,
}

impl Stage {
    fn set() -> Self {
        let queue = TestQueue::start();
        let connection = Connection {
            redis: queue.redis.clone(),
            keys: queue.keys.clone(),
            by: "ada".to_owned(),
        };
        let every = Duration::from_secs(1);
        let app = App::new("redis:1".to_owned(), queue.keys.prefix(), every);
        Self {
            queue,
            connection,
            app,
        }
    }

    async fn refresh(&mut self) {
        let seen = look(&self.connection, self.app.pane).await;
        self.app.take(Ok(seen.expect("Redis answers")));
    }

    fn press(&mut self, key: KeyCode) -> Told {
        self.app.press(KeyEvent::new(key, KeyModifiers::NONE))
    }

    fn screen(&self, wide: u16, high: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(wide, high)).expect("a screen");
        let drawn = terminal.draw(|frame| draw::draw(&self.app, frame));
        drawn.expect("a drawing");
        let buffer = terminal.backend().buffer();
        let cells = buffer.content.iter().map(ratatui::buffer::Cell::symbol);
        let cells: Vec<_> = cells.collect();
        let lines = cells.chunks(usize::from(wide)).map(<[_]>::concat);
        lines
            .map(|line| line.trim_end().to_owned() + "\n")
            .collect()
    }

    async fn enqueue(&self, n: usize) {
        let bodies = vec![r#"{"task":"demo.a","args":null}"#; n];
        let inbox = self.queue.keys.inbox(Queue::Low);
        for body in bodies {
            let _: u64 = self.queue.command(&["LPUSH", &inbox, body]).await;
        }
        let registry = common::queue::Registry::new();
        let worker = self.queue.worker(registry, TestQueue::options("high=1"));
        common::testing::eventually("all are jobs", async || {
            let status = self.connection.inspector().status().await.ok()?;
            (status.jobs >= n as u64).then_some(())
        })
        .await;
        worker.stop().await;
    }
}

#[tokio::test]
async fn the_screen_shows_queues_totals_and_who_paused_what() {
    let mut stage = Stage::set();
    stage.refresh().await;
    stage.enqueue(3).await;
    let (redis, keys) = (stage.queue.redis.clone(), stage.queue.keys.clone());
    let ada = Operator::new(redis, keys).acting_for("ada");
    ada.pause(Queue::High).await.expect("Redis answers");
    stage.refresh().await;

    let screen = stage.screen(80, 24);

    assert!(screen.starts_with("queuectl top  test-"), "{screen}");
    assert!(
        screen.contains("running 0 of 0  workers 0  scheduled 0"),
        "{screen}"
    );
    assert!(screen.contains("\nhigh "), "{screen}");
    assert!(screen.contains("paused for 0 s by ada"), "{screen}");
    let low = screen.lines().find(|line| line.starts_with("low "));
    let words: Vec<_> = low.expect("the queue").split_whitespace().collect();
    assert_eq!(words[1], "3", "{screen}");
    assert_eq!(words.last(), Some(&"█"), "{screen}");
    assert!(screen.contains("No worker is running."), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80));
}

#[tokio::test]
async fn workers_are_listed_and_sorted_and_the_rest_is_a_key_away() {
    let mut stage = Stage::set();
    let registry = common::queue::Registry::new;
    let options = TestQueue::options("high=4,low=2");
    let worker = stage.queue.worker(registry(), options);
    common::testing::eventually("it beats", async || {
        let status = stage.connection.inspector().status().await.ok()?;
        (!status.workers.is_empty()).then_some(())
    })
    .await;
    stage.refresh().await;

    let screen = stage.screen(100, 30);
    let name = &worker.id.to_string()[..8];
    let row = screen.lines().find(|line| line.contains(name));
    let row = row.expect("the worker");
    assert!(
        row.contains("0/4  ──────────") && row.contains("high=4,low=2"),
        "{screen}"
    );

    for (key, pane, nothing) in [
        (KeyCode::Tab, Pane::Running, "No job is being run."),
        (KeyCode::Char('4'), Pane::Rooms, "All that was written"),
        (KeyCode::Left, Pane::Tasks, "No worker has told"),
    ] {
        assert_eq!(stage.press(key), Told::Refresh);
        assert_eq!(stage.app.pane, pane);
        stage.refresh().await;
        let screen = stage.screen(80, 24);
        assert!(screen.contains(nothing), "{screen}");
    }
    assert_eq!(stage.press(KeyCode::Char('?')), Told::Nothing);
    assert!(stage.screen(80, 24).contains("sort by the next column"));
    stage.press(KeyCode::Esc);
    assert!(!stage.screen(80, 24).contains("sort by the next column"));
    assert_eq!(stage.press(KeyCode::Esc), Told::Quit);
    worker.stop().await;
}

#[tokio::test]
async fn that_redis_is_away_is_told_until_it_is_back() {
    let mut stage = Stage::set();
    stage.refresh().await;

    stage.app.take(Err("connection refused".to_owned()));
    let screen = stage.screen(80, 24);
    let told = "queuectl top  REDIS AWAY for 0 s: connection refused";
    assert!(screen.starts_with(told), "{screen}");
    assert!(
        screen.contains("\nhigh "),
        "what was seen last stays: {screen}"
    );

    stage.refresh().await;
    assert!(!stage.screen(80, 24).contains("AWAY"));
}

#[tokio::test]
async fn a_terminal_that_is_too_small_says_so() {
    let stage = Stage::set();
    let screen = stage.screen(40, 10);
    assert!(
        screen.starts_with("The terminal is too small (40×10)"),
        "{screen}"
    );
}

#[tokio::test]
async fn a_pause_holds_the_picture_until_the_next_press() {
    let mut stage = Stage::set();
    stage.refresh().await;
    stage.press(KeyCode::Char('p'));
    assert!(stage.app.is_paused());
    assert!(stage.screen(80, 24).contains("PAUSED"));
    assert_eq!(stage.press(KeyCode::Char(' ')), Told::Refresh);
    assert!(!stage.app.is_paused());
}
