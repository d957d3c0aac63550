//! Live: what the dashboard shows, as server-sent events. One snapshot a second, shared by all who look here,
//! and none while nobody does. The last minutes' points are kept for charts, as far as somebody looked.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{
    chat::inspect::{Overview, Rooms},
    error::Chain,
    kv::KvError,
    queue::{
        bulks::{Bulk, Bulks},
        inspect::{Inspector, status::Status, tasks::TaskTotals},
    },
};
use futures_util::{Stream, stream};
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use warp::reply::{Reply, Response};

use super::{Host, Ops, people::Who};
use crate::{alarm::until, app::Open, error::ApiError, limits::Seat};

/// How often a snapshot is taken.
const EVERY: Duration = Duration::from_secs(1);
/// Redis is away if it does not answer for so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// Points that are kept: ten minutes.
const POINTS: usize = 600;
/// A browser comes back after so many ms.
const RETRY_MS: u64 = 1000;

/// Takes snapshots while somebody looks.
pub(super) struct Live {
    inspector: Inspector,
    bulks: Bulks,
    rooms: Rooms,
    /// The latest event, as it is written.
    latest: watch::Sender<Arc<str>>,
    points: Mutex<VecDeque<Point>>,
    pub(super) is_looking: Mutex<bool>,
    /// How many snapshots were taken.
    pub(super) taken: AtomicU64,
}

/// The queues at one instant.
#[derive(Serialize)]
struct Snapshot<'a> {
    status: &'a Status,
    tasks: BTreeMap<String, TaskTotals>,
    rooms: Overview,
    bulks: Vec<Bulk>,
    point: &'a Point,
}

/// What charts show of it.
#[derive(Debug, Clone, Serialize)]
struct Point {
    at_ms: u64,
    queues: BTreeMap<String, QueuePoint>,
    dead: u64,
    claimed: u64,
    scheduled: u64,
    workers: usize,
}

#[derive(Debug, Clone, Serialize)]
struct QueuePoint {
    waiting: u64,
    /// How long the oldest has waited.
    age_ms: u64,
    /// Enqueued since ever, and ended in any way.
    enqueued: i64,
    ended: i64,
}

impl Point {
    fn of(status: &Status) -> Self {
        let total = |kind: &str, queue: &str| {
            let name = format!("{kind}:{queue}");
            status.totals.get(&name).copied().unwrap_or_default()
        };
        let queues = status.queues.iter().map(|one| {
            let name = one.queue.to_string();
            let since = one.waiting_since_ms.unwrap_or(status.now_ms);
            let ways = ["completed", "discarded", "cancelled", "expired"];
            let point = QueuePoint {
                waiting: one.waiting,
                age_ms: status.now_ms.saturating_sub(since),
                enqueued: total("enqueued", &name),
                ended: ways.map(|way| total(way, &name)).iter().sum(),
            };
            (name, point)
        });
        Self {
            at_ms: status.now_ms,
            queues: queues.collect(),
            dead: status.dead,
            claimed: status.claimed,
            scheduled: status.scheduled,
            workers: status.workers.len(),
        }
    }
}

impl Live {
    pub(super) fn new(inspector: Inspector, bulks: Bulks, rooms: Rooms) -> Self {
        Self {
            inspector,
            bulks,
            rooms,
            latest: watch::Sender::new("".into()),
            points: Mutex::default(),
            is_looking: Mutex::new(false),
            taken: AtomicU64::new(0),
        }
    }

    /// Hears each snapshot from now on, after what was kept of those before.
    pub(super) fn watch(self: &Arc<Self>) -> (String, watch::Receiver<Arc<str>>) {
        let mut latest = self.latest.subscribe();
        let mut is_looking = lock(&self.is_looking);
        if *is_looking {
            latest.mark_changed();
        } else {
            *is_looking = true;
            latest.mark_unchanged(); // it is of the last time that somebody looked
            tokio::spawn(Arc::clone(self).look());
        }
        drop(is_looking);
        let recent = serde_json::to_string(&*lock(&self.points)).unwrap_or_default();
        let first = format!("retry: {RETRY_MS}\n{}", event("recent", &recent));
        (first, latest)
    }

    /// Takes snapshots until nobody looks any more.
    async fn look(self: Arc<Self>) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            {
                let mut is_looking = lock(&self.is_looking);
                if self.latest.receiver_count() == 0 {
                    *is_looking = false;
                    return;
                }
            }
            let text = match timeout(PATIENCE, self.snapshot()).await {
                Ok(Ok(text)) => event("snapshot", &text),
                Ok(Err(error)) => {
                    tracing::debug!(error = %Chain(&error), "no snapshot for the dashboard");
                    event("away", "{}")
                }
                Err(_) => event("away", "{}"),
            };
            self.latest.send_replace(text.into());
        }
    }

    async fn snapshot(&self) -> Result<String, KvError> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let status = self.inspector.status().await?;
        let (tasks, rooms, bulks) = tokio::try_join!(
            self.inspector.tasks(),
            self.rooms.overview(),
            self.bulks.list(status.now_ms)
        )?;
        let point = Point::of(&status);
        let snapshot = Snapshot {
            status: &status,
            tasks,
            rooms,
            bulks,
            point: &point,
        };
        let text = serde_json::to_string(&snapshot).unwrap_or_default();
        let mut points = lock(&self.points);
        points.push_back(point);
        if points.len() > POINTS {
            points.pop_front();
        }
        Ok(text)
    }
}

/// Answers with a stream of snapshots.
pub(super) fn listen(ops: &Ops, who: &Who) -> Result<Response, ApiError> {
    let events = events(ops, who)?;
    let mut response = warp::reply::stream(events).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE.as_str(), "text/event-stream"),
        ("x-accel-buffering", "no"), // a proxy that collects events delivers none
    ] {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// Snapshots, until the reader leaves, the cookie is over, or the server drains. Such a reader counts as a
/// connection: it holds a socket, and the drain waits for it.
pub(super) fn events(
    ops: &Ops,
    who: &Who,
) -> Result<impl Stream<Item = Result<String, Infallible>> + use<>, ApiError> {
    let seat = ops.host.limits.look(&who.name)?;
    if ops.host.shutdown.is_asked() {
        return Err(ApiError::Draining);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map(|now| now.as_secs()).unwrap_or_default();
    let left = |until: u64| Instant::now() + Duration::from_secs(until.saturating_sub(now));
    let (first, latest) = ops.live.watch();
    let reader = Reader {
        first: Some(first),
        latest,
        host: ops.host.clone(),
        ends_at: who.until.map(left),
        _open: ops.host.connections.enter(None),
        _seat: seat,
    };
    Ok(reader.events())
}

/// One who looks. A slow one gets the latest snapshot when it has taken the one before, and no other.
struct Reader {
    first: Option<String>,
    latest: watch::Receiver<Arc<str>>,
    host: Host,
    ends_at: Option<Instant>,
    _open: Open,
    _seat: Seat,
}

impl Reader {
    fn events(self) -> impl Stream<Item = Result<String, Infallible>> {
        stream::unfold(self, async |mut reader| {
            let event = reader.next().await?;
            Some((Ok(event), reader))
        })
    }

    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let host = self.host.clone();
        tokio::select! {
            changed = self.latest.changed() => {
                changed.ok()?;
                Some(self.latest.borrow_and_update().to_string())
            }
            () = until(self.ends_at) => None,
            // Like all streams, at a moment of its own.
            () = async {
                host.shutdown.asked().await;
                sleep_until(host.drain.farewell().reader_leaves_at()).await;
            } => None,
            () = host.closing.asked() => None,
        }
    }
}

fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
