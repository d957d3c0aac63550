//! Clients that come back: each knows both servers, and does as the crate `client` does when its connection
//! ends or the server sends it away. Each checks that it goes on where it was.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use serde::Deserialize;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    time::sleep,
};

use super::{
    client::Shown,
    crowd::{due, kind, number},
    socket::{Frames, Socket, Writer},
};
use crate::{
    chaos::seed::Dice,
    machine::now_ns,
    number::{count, nanos},
};

/// Between two attempts to connect, at first and at most, as the crate `client` has them.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Connections under way at once while all gather.
const IN_FLIGHT: usize = 64;

/// What all clients share.
#[derive(Debug)]
pub(super) struct Plaza {
    pub(super) ports: [u16; 2],
    /// Members of each room, one after another.
    pub(super) size: usize,
    pub(super) rooms: Vec<String>,
    /// Clients that have joined over their first connection, and over another one.
    pub(super) gathered: AtomicUsize,
    pub(super) returned: AtomicUsize,
    /// Answers to joins that did not go on from where the client was, and `reset`s.
    pub(super) begun_anew: AtomicU64,
    /// Messages that are due in this time are measured, where the client keeps its connection.
    pub(super) measured: Mutex<(u64, u64)>,
    /// Due to receipt, in µs.
    pub(super) delivery_us: Mutex<Histogram<u64>>,
    /// From the end of a connection to the answer to the join over the next, in µs.
    pub(super) away_us: Mutex<Histogram<u64>>,
    trouble: Mutex<Option<String>>,
    connecting: Semaphore,
}

/// One client.
#[derive(Debug)]
pub(super) struct Returning {
    pub(super) number: usize,
    state: Mutex<State>,
    leaves: Notify,
}

#[derive(Debug, Default)]
struct State {
    connections: u32,
    last: Option<i64>,
    messages: u64,
    joined: bool,
    /// When the last connection ended.
    left_at: u64,
    leave_after: Duration,
    /// As one of a crowd it comes back within so long.
    return_within_ms: u64,
    writer: Option<Writer>,
}

/// The answer to a join, or more of it.
#[derive(Deserialize)]
struct Frame {
    payload: Part,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    continues: bool,
    #[serde(rename = "reconnectInMs", default)]
    reconnect_in_ms: Option<[u64; 2]>,
    #[serde(default)]
    top: i64,
    messages: Vec<Shown>,
}

/// How a connection ends.
enum End {
    /// The server had asked for it.
    Moves,
    Lost,
}

impl Plaza {
    pub(super) fn new(ports: [u16; 2], rooms: Vec<String>, size: usize) -> Result<Arc<Self>> {
        let histogram = || Histogram::new_with_max(120_000_000, 3).context("make a histogram");
        Ok(Arc::new(Self {
            ports,
            size,
            rooms,
            gathered: AtomicUsize::new(0),
            returned: AtomicUsize::new(0),
            begun_anew: AtomicU64::new(0),
            measured: Mutex::new((u64::MAX, u64::MAX)),
            delivery_us: Mutex::new(histogram()?),
            away_us: Mutex::new(histogram()?),
            trouble: Mutex::default(),
            connecting: Semaphore::new(IN_FLIGHT),
        }))
    }

    /// Starts all clients; those of the first server on a thread of their own, so that their coming back does
    /// not delay what the others measure.
    pub(super) fn fill(self: &Arc<Self>, apart: &Handle) -> Vec<Arc<Returning>> {
        let clients = (0..self.rooms.len() * self.size).map(|number| {
            let client = Arc::new(Returning {
                number,
                state: Mutex::default(),
                leaves: Notify::new(),
            });
            let living = Arc::clone(&client).live(Arc::clone(self));
            if client.is_of_first() {
                apart.spawn(living);
            } else {
                tokio::spawn(living);
            }
            client
        });
        clients.collect()
    }

    /// Fails if anything was not as it should be.
    pub(super) fn expect_well(&self) -> Result<()> {
        let trouble = lock(&self.trouble);
        ensure!(
            trouble.is_none(),
            "{}",
            trouble.as_deref().unwrap_or_default()
        );
        Ok(())
    }

    fn ails(&self, why: impl FnOnce() -> String) {
        lock(&self.trouble).get_or_insert_with(why);
    }
}

impl Returning {
    /// Whether it connects to the first server first, which is the one that is restarted.
    pub(super) fn is_of_first(&self) -> bool {
        self.number.is_multiple_of(2)
    }

    /// Messages that it has got, live or when it came back; and the last.
    pub(super) fn has(&self) -> (u64, Option<i64>) {
        let state = self.state();
        (state.messages, state.last)
    }

    /// Where its frames are written, while it has a connection.
    pub(super) fn writer(&self) -> Option<Writer> {
        self.state().writer.clone()
    }

    async fn live(self: Arc<Self>, plaza: Arc<Plaza>) {
        let mut dice = Dice::new(1, &[count(self.number)]);
        let user = format!("{}-{}", plaza.rooms[0], self.number);
        let path = format!("/ws?userId={user}&username={user}");
        let (mut attempt, mut wait) = (self.number, RETRY.0);
        loop {
            let port = plaza.ports[attempt % 2];
            let is_first = self.state().connections == 0;
            let connected = {
                // What comes back does not wait for others.
                let _turn = if is_first {
                    plaza.connecting.acquire().await.ok()
                } else {
                    None
                };
                Socket::connect(port, &path).await
            };
            if !is_first || connected.is_ok() {
                attempt += 1;
            }
            if let Ok(socket) = connected {
                wait = RETRY.0;
                let end = self.speak(socket, &plaza, &mut dice).await;
                let return_within_ms = {
                    let mut state = self.state();
                    state.joined = false;
                    state.writer = None;
                    state.left_at = now_ns();
                    std::mem::take(&mut state.return_within_ms)
                };
                if matches!(end, End::Moves) {
                    continue;
                }
                if return_within_ms > 0 {
                    let rest = dice.between(0, return_within_ms);
                    sleep(Duration::from_millis(rest)).await;
                    continue;
                }
            }
            let most = nanos(wait);
            sleep(Duration::from_nanos(dice.between(most / 2, most))).await;
            wait = (wait * 2).min(RETRY.1);
        }
    }

    async fn speak(&self, socket: Socket, plaza: &Plaza, dice: &mut Dice) -> End {
        let writer = socket.writer();
        let join = {
            let mut state = self.state();
            state.connections += 1;
            state.writer = Some(writer.clone());
            self.join(plaza, state.last)
        };
        if writer.text(&join).await.is_err() {
            return End::Lost;
        }
        let hear = |frames: &mut Frames<'_>| {
            let now = now_ns();
            for text in &mut *frames {
                self.hear(text, now, plaza, &writer, dice);
            }
        };
        tokio::select! {
            _ = socket.listen(hear) => End::Lost,
            () = self.leave() => End::Moves,
        }
    }

    async fn leave(&self) {
        self.leaves.notified().await;
        let after = self.state().leave_after;
        sleep(after).await;
    }

    fn join(&self, plaza: &Plaza, since: Option<i64>) -> String {
        let room = &plaza.rooms[self.number / plaza.size];
        let from = since.map_or(r#""limit":1"#.to_owned(), |since| {
            format!(r#""since":{since}"#)
        });
        format!(r#"{{"type":"join","id":1,"payload":{{"roomId":"{room}",{from}}}}}"#)
    }

    fn hear(&self, text: &[u8], now: u64, plaza: &Plaza, writer: &Writer, dice: &mut Dice) {
        match kind(text) {
            b"message" => self.message(text, now, plaza),
            b"joined" | b"history" => match serde_json::from_slice::<Frame>(text) {
                Ok(frame) => self.part(kind(text) == b"joined", &frame.payload, now, plaza),
                Err(error) => plaza.ails(|| format!("a history cannot be read: {error}")),
            },
            b"goaway" => {
                let at = memchr::memchr(b'[', text).unwrap_or_default();
                let range = text[at + 1..].split(|byte| matches!(byte, b',' | b']'));
                let mut range = range.map(|ms| String::from_utf8_lossy(ms).parse().unwrap_or(0));
                let (from, to): (u64, u64) = (range.next().unwrap_or(0), range.next().unwrap_or(0));
                let wait = dice.between(from, to.max(from));
                self.state().leave_after = Duration::from_millis(wait);
                self.leaves.notify_one();
            }
            b"reset" => {
                plaza.begun_anew.fetch_add(1, Relaxed);
                let (join, writer) = (self.join(plaza, self.state().last), writer.clone());
                // If it cannot be sent, the connection ends.
                tokio::spawn(async move { writer.text(&join).await });
            }
            b"error" => {
                plaza.ails(|| format!("REFUSED: {}", String::from_utf8_lossy(text)));
            }
            _ => {}
        }
    }

    fn message(&self, text: &[u8], now: u64, plaza: &Plaza) {
        let id = number(text, br#""messageId":"#).unwrap_or_default();
        let prev = number(text, br#""prev":"#).unwrap_or_default();
        self.follow(id, prev, plaza);
        let (from, to) = *lock(&plaza.measured);
        let due = due(text).map_or(0, i64::unsigned_abs);
        if !self.is_of_first() && (from..to).contains(&due) {
            let mut delivery = lock(&plaza.delivery_us);
            delivery.saturating_record(now.saturating_sub(due) / 1000);
        }
    }

    fn follow(&self, id: i64, prev: i64, plaza: &Plaza) {
        let mut state = self.state();
        let last = state.last.unwrap_or_default();
        if prev != last {
            plaza.ails(|| {
                let number = self.number;
                format!("DISORDER: client {number} got {id}, which follows {prev}, after {last}")
            });
        }
        state.last = Some(id);
        state.messages += 1;
    }

    /// A part of the answer to a join.
    fn part(&self, is_answer: bool, part: &Part, now: u64, plaza: &Plaza) {
        let resumes = self.state().last.is_some();
        if is_answer && resumes && !part.complete {
            plaza.begun_anew.fetch_add(1, Relaxed);
        }
        if resumes {
            for message in &part.messages {
                self.follow(message.message_id, message.prev, plaza);
            }
        } else if is_answer {
            self.state().last = Some(part.top);
        }
        let mut state = self.state();
        if let Some([_, most]) = part.reconnect_in_ms {
            state.return_within_ms = most;
        }
        if part.continues || std::mem::replace(&mut state.joined, true) {
            return;
        }
        if state.connections == 1 {
            plaza.gathered.fetch_add(1, Relaxed);
            return;
        }
        lock(&plaza.away_us).saturating_record(now.saturating_sub(state.left_at) / 1000);
        if self.is_of_first() && state.connections == 2 {
            plaza.returned.fetch_add(1, Relaxed);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
