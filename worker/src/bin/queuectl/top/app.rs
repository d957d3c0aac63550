//! What `queuectl top` shows, and what keys do.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use common::{
    chat::inspect::{Overview, RoomStatus},
    queue::{
        Queue,
        inspect::{list::Row, status::Status, tasks::TaskTotals},
    },
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::panes;

/// Refreshes that are remembered: the widest sparkline.
const REMEMBERED: usize = 200;
/// A rate is that of so many last refreshes: less than that jumps.
const SMOOTHED: usize = 5;

/// What a refresh has brought.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) status: Status,
    /// Jobs that are being run, if that pane is open.
    pub(super) running: Vec<Row>,
    pub(super) tasks: BTreeMap<String, TaskTotals>,
    pub(super) rooms: Vec<RoomStatus>,
    pub(super) overview: Option<Overview>,
}

impl Seen {
    pub(super) fn new(status: Status) -> Self {
        Self {
            status,
            running: Vec::new(),
            tasks: BTreeMap::new(),
            rooms: Vec::new(),
            overview: None,
        }
    }
}

/// What is below the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Workers,
    Running,
    Tasks,
    Rooms,
}

impl Pane {
    pub(super) const ALL: [Self; 4] = [Self::Workers, Self::Running, Self::Tasks, Self::Rooms];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Workers => "Workers",
            Self::Running => "Running",
            Self::Tasks => "Tasks",
            Self::Rooms => "Rooms",
        }
    }
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Refresh,
    Quit,
}

/// How a queue was at one refresh.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    at_ms: u64,
    waiting: u64,
    enqueued: i64,
    completed: i64,
}

/// What is on the screen.
pub(super) struct App {
    pub(super) address: String,
    pub(super) namespace: String,
    pub(super) every: Duration,
    pub(super) pane: Pane,
    pub(super) seen: Option<Seen>,
    /// Since when Redis does not answer, and what it said last.
    pub(super) away: Option<(Instant, String)>,
    pub(super) help: bool,
    /// Rows of the pane that are passed over.
    pub(super) scroll: usize,
    /// By which column each pane is sorted, and whether the other way round.
    sorts: [usize; 4],
    pub(super) reversed: bool,
    paused: bool,
    past: BTreeMap<Queue, VecDeque<Past>>,
}

impl App {
    pub(super) fn new(address: String, prefix: &str, every: Duration) -> Self {
        Self {
            address,
            namespace: prefix.trim_matches(['{', '}', ':']).to_owned(),
            every,
            pane: Pane::Workers,
            seen: None,
            away: None,
            help: false,
            scroll: 0,
            sorts: [0; 4],
            reversed: false,
            paused: false,
            past: BTreeMap::new(),
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Takes what a refresh has brought, or why it has not.
    pub(super) fn take(&mut self, seen: Result<Seen, String>) {
        match seen {
            Ok(seen) => {
                self.away = None;
                self.remember(&seen.status);
                self.seen = Some(seen);
            }
            Err(error) => {
                let since = self
                    .away
                    .take()
                    .map_or_else(Instant::now, |(since, _)| since);
                self.away = Some((since, error));
            }
        }
    }

    fn remember(&mut self, status: &Status) {
        for queue in &status.queues {
            let total = |what: &str| {
                let name = format!("{what}:{}", queue.queue);
                status.totals.get(&name).copied().unwrap_or(0)
            };
            let past = self.past.entry(queue.queue).or_default();
            if past.len() == REMEMBERED {
                past.pop_front();
            }
            past.push_back(Past {
                at_ms: status.now_ms,
                waiting: queue.waiting,
                enqueued: total("enqueued"),
                completed: total("completed"),
            });
        }
    }

    /// Jobs a second that came into a queue, and that were completed; none before the second refresh.
    pub(super) fn rates(&self, queue: Queue) -> Option<(f64, f64)> {
        let past = self.past.get(&queue)?;
        let last = past.back()?;
        let first = past.get(past.len().saturating_sub(SMOOTHED + 1))?;
        let ms = last.at_ms.checked_sub(first.at_ms).filter(|ms| *ms > 0)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a rate for people; counts are far below 2^52"
        )]
        let rate = |now: i64, then: i64| (now - then).max(0) as f64 * 1000.0 / ms as f64;
        Some((
            rate(last.enqueued, first.enqueued),
            rate(last.completed, first.completed),
        ))
    }

    /// How many waited in a queue at each of the last refreshes, the latest last.
    pub(super) fn waited(&self, queue: Queue, most: usize) -> Vec<u64> {
        let past = self.past.get(&queue).into_iter().flatten();
        let all: Vec<_> = past.map(|past| past.waiting).collect();
        all[all.len().saturating_sub(most)..].to_vec()
    }

    pub(super) fn sort(&self) -> usize {
        self.sorts[self.pane as usize]
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Told {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Told::Quit,
            KeyCode::Char('q') => return Told::Quit,
            KeyCode::Esc if !self.help => return Told::Quit,
            _ if self.help => {
                self.help = false;
                return Told::Nothing;
            }
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Char('p' | ' ') => {
                self.paused = !self.paused;
                return Told::Refresh;
            }
            KeyCode::Char('s') => {
                let columns = panes::columns(self.pane).len();
                let sort = &mut self.sorts[self.pane as usize];
                *sort = (*sort + 1) % columns;
            }
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Tab | KeyCode::Right => return self.turn(1),
            KeyCode::BackTab | KeyCode::Left => return self.turn(Pane::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => {
                let wanted = digit as usize - '1' as usize;
                let here = self.pane as usize;
                return self.turn(wanted + Pane::ALL.len() - here);
            }
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = self.scroll.saturating_add(10),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(10),
            KeyCode::Home => self.scroll = 0,
            _ => {}
        }
        Told::Nothing
    }

    /// Opens the pane so many further on, which asks something else of Redis.
    fn turn(&mut self, by: usize) -> Told {
        let at = (self.pane as usize + by) % Pane::ALL.len();
        self.pane = Pane::ALL[at];
        self.scroll = 0;
        Told::Refresh
    }
}
