//! Joins with a history, on a schedule: from when a join is due until its last stored message is there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::{
    chat::{RoomLog, Settings},
    id::RoomId,
    kv::Redis,
    testing,
};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::{
    client::{Client, History},
    room::fill,
    stack::Stack,
};
use crate::{
    figure::Figures,
    number::{count, float, length},
};

/// Between two joins.
const EVERY: Duration = Duration::from_millis(20);
/// So long before a join its connection is made.
const AHEAD: Duration = Duration::from_millis(150);
/// Joins of one figure.
const JOINS: usize = 150;
/// The longest that is recorded, in microseconds.
const MOST_US: u64 = 60_000_000;

/// What is joined.
struct Case {
    name: &'static str,
    /// Messages of a room.
    stored: u64,
    /// Rooms; they are joined in turn.
    rooms: usize,
}

const CASES: [Case; 3] = [
    Case {
        name: "join_1000",
        stored: 1000,
        rooms: 1,
    },
    Case {
        name: "join_10000",
        stored: 10_000,
        rooms: 1,
    },
    // Nobody shares what was read for another.
    Case {
        name: "join_1000.rooms_apart",
        stored: 1000,
        rooms: JOINS,
    },
];

/// Settings of servers and workers: rooms keep all that is stored.
pub(super) const SETTINGS: [(&str, &str); 3] = [
    ("FLUSH_COUNT", "1000000000"),
    ("FLUSH_AGE", "100000"),
    ("HOT_WINDOW", "20000"),
];

/// Measures the joins of all cases.
pub(super) async fn measure(stack: &Stack, figures: &mut Figures) -> Result<()> {
    let place = stack.place();
    let redis = Redis::new(place.redis.url())?;
    let keys = place.namespace.keys.clone();
    let log = RoomLog::new(redis, keys, Settings::default());
    for case in &CASES {
        let mut rooms = Vec::new();
        for _ in 0..case.rooms {
            let room: RoomId = testing::unique("joined-").parse().context("name a room")?;
            fill(&log, &room, case.stored).await?;
            rooms.push(room);
        }
        // A room that nobody was in is cold: the first one pays for that.
        for (room, port) in rooms.iter().zip(stack.ports().iter().cycle()) {
            let mut first = Client::connect(*port, "first").await?;
            first.join(room.as_str(), 1).await?;
        }
        let cpu = stack.site().cpu().await?;
        let took = join_all(stack, case, &rooms).await?;
        let cpu = stack.site().cpu().await?.since(&cpu);
        let name = |what: &str| format!("chat.{}.{what}", case.name);
        for (what, quantile) in [("p50", 0.5), ("p99", 0.99)] {
            let ms = float(took.value_at_quantile(quantile)) / 1000.0;
            figures.add(name(what), "ms", ms);
        }
        let each = cpu.system().as_secs_f64() * 1000.0 / float(took.len());
        figures.add(name("cpu"), "ms each", each);
    }
    Ok(())
}

/// Joins when it is due, each with a connection of its own, whether the others have their answers or not.
async fn join_all(stack: &Stack, case: &Case, rooms: &[RoomId]) -> Result<Histogram<u64>> {
    let begin = Instant::now();
    let mut joins = JoinSet::new();
    let places = rooms.iter().cycle().zip(stack.ports().iter().cycle());
    for (n, (room, port)) in places.take(JOINS).enumerate() {
        let ready = begin + EVERY * u32::try_from(n).unwrap_or(u32::MAX);
        let due = ready + AHEAD;
        let (room, port, stored) = (room.clone(), *port, length(case.stored));
        joins.spawn(async move {
            tokio::time::sleep_until(ready.into()).await;
            let mut client = Client::connect(port, &format!("joiner-{n}")).await?;
            tokio::time::sleep_until(due.into()).await;
            let history = client.join_unread(room.as_str(), stored).await?;
            let took = due.elapsed();
            tokio::task::spawn_blocking(move || check(&history, stored)).await??;
            anyhow::Ok(took)
        });
    }
    let mut all = Histogram::new_with_max(MOST_US, 3)?;
    while let Some(joined) = joins.join_next().await {
        let took = joined.context("a joiner has failed")??;
        all.saturating_record(u64::try_from(took.as_micros()).unwrap_or(MOST_US));
    }
    Ok(all)
}

/// A history has every message once, each after the one before it.
fn check(history: &History, stored: usize) -> Result<()> {
    let messages = history.read()?;
    ensure!(
        messages.len() == stored,
        "WRONG COUNT: a joiner got {} of {stored} messages",
        count(messages.len())
    );
    for pair in messages.windows(2) {
        ensure!(
            pair[1].prev == pair[0].message_id,
            "DISORDER: a joiner got {} after {}",
            pair[1].message_id,
            pair[0].message_id
        );
    }
    Ok(())
}
