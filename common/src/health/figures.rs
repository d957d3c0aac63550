//! Figures: what Redis tells of the queues and rooms, and the pool of Postgres, as gauges. Every process asks when it
//! is scraped, so that they are there whichever of them live; all tell the same, so take the largest, not the sum.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::InfoDict;
use tokio::{sync::Mutex, time::timeout};

use super::{ARCHIVE_PATIENCE, FRESH};
use crate::{
    chat::Chat,
    kv::KvError,
    queue::{
        Queue,
        inspect::{
            Inspector,
            status::{QueueStatus, Status},
        },
    },
    telemetry::metric::seconds_since_1970,
};

/// Looks at what all processes share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Figures(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    inspector: Inspector,
    chat: Chat,
    looked: Mutex<Looked>,
}

/// The last look.
#[derive(Debug, Default)]
struct Looked {
    at: Option<Instant>,
    totals: Totals,
}

/// By metric and queue: what Redis counted last, and what is shown.
type Totals = HashMap<(&'static str, Queue), (u64, u64)>;

/// What Redis told.
struct Seen {
    status: Status,
    dirty_rooms: u64,
    /// The room that has been dirty for longest, and since when, ms.
    oldest: Option<(String, u64)>,
    used_bytes: u64,
    max_bytes: u64,
    /// By how much this machine's clock is ahead.
    offset: f64,
}

impl Figures {
    /// Figures of what the chat's Redis and Postgres hold.
    pub fn new(chat: Chat) -> Self {
        let inspector = Inspector::new(chat.log.redis().clone(), chat.log.keys().clone());
        Self(Arc::new(Inner {
            inspector,
            chat,
            looked: Mutex::default(),
        }))
    }

    /// Brings the gauges up to date. While Redis is away those that it tells are not a number: unknown, and no
    /// figure of before.
    pub async fn refresh(&self) {
        self.tell_pool();
        let mut looked = self.0.looked.lock().await;
        if looked.at.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        let outbox = timeout(ARCHIVE_PATIENCE, self.0.chat.archive.oldest_of_outbox());
        let (seen, outbox) = tokio::join!(self.look(), outbox);
        tell(seen.ok().as_ref(), &mut looked.totals);
        let age = match outbox {
            Ok(Ok(age)) => age.unwrap_or(0.0),
            _ => f64::NAN,
        };
        metrics::gauge!("rhubarb_outbox_oldest_seconds").set(age);
        looked.at = Some(Instant::now());
    }

    async fn look(&self) -> Result<Seen, KvError> {
        let redis = self.0.chat.log.redis();
        let dirty = self.0.chat.log.keys().dirty();
        let mut commands = redis::pipe();
        commands
            .cmd("TIME")
            .zcard(&dirty)
            .zrange_withscores(&dirty, 0, 0);
        commands.cmd("INFO").arg("memory");
        let before = seconds_since_1970();
        let (time, dirty_rooms, oldest, info): ((u64, u64), _, Vec<(String, u64)>, InfoDict) =
            redis.read_all("look at the rooms", &commands).await?;
        let here = f64::midpoint(before, seconds_since_1970());
        Ok(Seen {
            status: self.0.inspector.status().await?,
            dirty_rooms,
            oldest: oldest.into_iter().next(),
            used_bytes: info.get("used_memory").unwrap_or(0),
            max_bytes: info.get("maxmemory").unwrap_or(0),
            offset: here
                - (Duration::from_secs(time.0) + Duration::from_micros(time.1)).as_secs_f64(),
        })
    }

    fn tell_pool(&self) {
        let pool = self.0.chat.archive.pool();
        let idle = pool.available;
        set("rhubarb_postgres_connections_max", pool.max_size as u64);
        set("rhubarb_postgres_waiting", pool.waiting as u64);
        let connections = [("idle", idle), ("used", pool.size.saturating_sub(idle))];
        for (state, n) in connections {
            metrics::gauge!("rhubarb_postgres_connections", "state" => state).set(count(n as u64));
        }
    }
}

/// A gauge, and how it is made of what was seen.
type Figure = (&'static str, fn(&Seen) -> f64);

fn tell(seen: Option<&Seen>, shown: &mut Totals) {
    let of_all: [Figure; 10] = [
        ("rhubarb_scheduled_jobs", |s| count(s.status.scheduled)),
        ("rhubarb_claimed_jobs", |s| count(s.status.claimed)),
        ("rhubarb_dead_jobs", |s| count(s.status.dead)),
        ("rhubarb_parked_jobs", |s| count(s.status.parked)),
        ("rhubarb_laned_jobs", |s| count(s.status.laned)),
        ("rhubarb_dirty_rooms", |s| count(s.dirty_rooms)),
        ("rhubarb_redis_used_bytes", |s| count(s.used_bytes)),
        ("rhubarb_redis_max_bytes", |s| count(s.max_bytes)),
        ("rhubarb_clock_offset_seconds", |s| s.offset),
        ("rhubarb_unflushed_seconds", |s| {
            let since = s.oldest.as_ref().map(|(_, since)| *since);
            since.map_or(0.0, |ms| seconds(s.status.now_ms.saturating_sub(ms)))
        }),
    ];
    for (name, of) in of_all {
        metrics::gauge!(name).set(seen.map_or(f64::NAN, of));
    }
    let alive = |status: &Status, queue: Option<Queue>| {
        let lives = status.workers.iter();
        let lives = lives.filter(|worker| worker.is_alive(status.now_ms));
        let name = queue.map(|queue| queue.to_string());
        let serve = lives.filter(|worker| {
            name.as_ref()
                .is_none_or(|name| worker.info.queues.contains_key(name))
        });
        count(serve.count() as u64)
    };
    let status = seen.map(|seen| &seen.status);
    let workers = status.map_or(f64::NAN, |status| alive(status, None));
    metrics::gauge!("rhubarb_workers").set(workers);
    for queue in Queue::ALL {
        let name = queue.to_string();
        let found = status.and_then(|s| Some((s, s.queues.iter().find(|q| q.queue == queue)?)));
        let set = |metric: &'static str, of: &dyn Fn(&Status, &QueueStatus) -> f64| {
            let value = found.map_or(f64::NAN, |(status, found)| of(status, found));
            metrics::gauge!(metric, "queue" => name.clone()).set(value);
        };
        set("rhubarb_queue_depth", &|_, found| count(found.waiting));
        set("rhubarb_queue_oldest_seconds", &|status, found| {
            let since = found.waiting_since_ms;
            since.map_or(0.0, |ms| seconds(status.now_ms.saturating_sub(ms)))
        });
        set("rhubarb_queue_paused", &|_, found| {
            count(found.paused.is_some().into())
        });
        set("rhubarb_queue_workers", &|status, _| {
            alive(status, Some(queue))
        });
        let totals = [
            ("rhubarb_queue_enqueued_total", "enqueued"),
            ("rhubarb_queue_completed_total", "completed"),
        ];
        for (metric, total) in totals {
            let known = status.and_then(|s| s.totals.get(&format!("{total}:{name}")));
            if let Some(total) = known.and_then(|total| u64::try_from(*total).ok()) {
                // A Redis that lost all counts from the beginning; a counter only grows.
                let (last, sum) = shown.entry((metric, queue)).or_default();
                *sum += total.checked_sub(*last).unwrap_or(total);
                *last = total;
                metrics::counter!(metric, "queue" => name.clone()).absolute(*sum);
            }
        }
    }
}

fn set(name: &'static str, value: u64) {
    metrics::gauge!(name).set(count(value));
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact far beyond what is counted"
)]
fn count(n: u64) -> f64 {
    n as f64
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}
