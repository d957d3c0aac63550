//! A room's way to Postgres when its last member leaves, and back when somebody opens it again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::{
    chat::{Content, Entry, RoomLog, Settings},
    id::RoomId,
    kv::{Keys, Redis},
    testing,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    Database, NO_FLUSH, RoomOptions,
    client::Client,
    database::{Place, count, places},
    stack::Stack,
};
use crate::{
    How,
    figure::Figures,
    number::{length, per_second},
};

/// Messages under way at once while a room is filled.
const FILLING: usize = 100;
/// The longest that a way may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Messages that a joiner asks for.
const PAGE: usize = 100;

/// Which way is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From the last leave until all is in Postgres.
    Out,
    /// From the join of a room that has left Redis until its answer.
    Back,
}

/// Measures one way `how.runs` times, each with a room of its own.
pub(super) async fn measure(
    how: &How,
    database: &Database,
    options: &RoomOptions,
    way: Way,
    figures: &mut Figures,
) -> Result<()> {
    figures.expect_steps(2 + how.runs);
    figures.begin("start two servers and a worker");
    // The room is to stay in Redis as a whole, until it is told to leave.
    let window = (2 * options.messages).to_string();
    let settings = [NO_FLUSH[0], NO_FLUSH[1], ("HOT_WINDOW", &window)];
    let stack = Stack::start(how, database, &settings).await?;
    let redis = Redis::new(stack.place().redis.url())?;
    let bench = Bench {
        log: RoomLog::new(
            redis,
            stack.place().namespace.keys.clone(),
            Settings::default(),
        ),
        messages: u64::from(options.messages),
        stack,
    };
    for run in 0..=how.runs {
        let what = if run == 0 {
            "warm-up".to_owned()
        } else {
            format!("run {run} of {}", how.runs)
        };
        figures.begin(what);
        let room: RoomId = testing::unique("room-").parse().context("name a room")?;
        let (out, settled, history) = bench.flush(&room).await?;
        let back = if way == Way::Back {
            bench.rehydrate(&room, &history).await?
        } else {
            Duration::ZERO
        };
        if run == 0 {
            continue;
        }
        let mut add = |name: &str, time: Duration| {
            figures.add(name, "ms", time.as_secs_f64() * 1000.0);
            figures.add(
                format!("{name}.rate"),
                "messages/s",
                per_second(bench.messages, time),
            );
        };
        match way {
            Way::Out => {
                add("flush.to_postgres", out);
                figures.add("flush.to_clean", "ms", settled.as_secs_f64() * 1000.0);
            }
            Way::Back => add("rehydrate.to_joined", back),
        }
    }
    Ok(())
}

/// What the measurements work with.
struct Bench {
    stack: Stack,
    log: RoomLog,
    messages: u64,
}

impl Bench {
    /// Fills a room with one member, has the member leave, and waits until every message is in Postgres,
    /// then until Redis knows. Returns both times and the room's history.
    async fn flush(&self, room: &RoomId) -> Result<(Duration, Duration, Vec<Place>)> {
        let mut member = Client::connect(self.stack.ports()[0], "bench").await?;
        member.join(room.as_str(), PAGE).await?;
        // What the member hears meanwhile is read by nobody: its socket must not be full when it leaves.
        let reading = tokio::spawn(async move {
            let (writer, mut reader) = member.into_socket().split();
            while tokio::time::timeout(Duration::from_millis(500), reader.next())
                .await
                .is_ok()
            {}
            reader.reunite(writer)
        });
        self.fill(room).await?;
        let socket = reading.await?.context("put the socket together again")?;
        let history = self.history(room).await?;
        ensure!(
            history.len() == length(self.messages),
            "the room was not filled"
        );
        follow_one_another(&history).context("the log in Redis")?;

        let mut postgres = self.stack.place().schema.connect().await?;
        let early = count(&mut postgres, room.as_str()).await?;
        ensure!(
            early == 0,
            "{early} messages were flushed before the last member left"
        );
        let begun = Instant::now();
        Client::from_socket(socket).leave(room.as_str()).await?;
        while count(&mut postgres, room.as_str()).await? < self.messages {
            pause(begun, "all messages are in Postgres").await?;
        }
        let out = begun.elapsed();
        while self.is_dirty(room).await? {
            pause(begun, "the flush is settled").await?;
        }
        let settled = begun.elapsed();
        let archived = places(&mut postgres, room.as_str()).await?;
        ensure!(
            archived == history,
            "WRONG ARCHIVE: it differs from what was in Redis"
        );
        Ok((out, settled, history))
    }

    /// Removes a room from Redis, joins it, and waits for the answer.
    async fn rehydrate(&self, room: &RoomId, history: &[Place]) -> Result<Duration> {
        let keys: &Keys = self.log.keys();
        let mut connection = self.log.redis().connection().await?;
        redis::cmd("DEL")
            .arg(&[
                keys.log(room),
                keys.meta(room),
                keys.sent(room),
                keys.members(room),
            ])
            .exec_async(&mut connection)
            .await
            .context("remove a room from Redis")?;

        let mut member = Client::connect(self.stack.ports()[1], "bench").await?;
        let begun = Instant::now();
        let joined = member.join(room.as_str(), PAGE).await?;
        let back = begun.elapsed();
        ensure!(
            joined.complete,
            "the joiner's history is not complete after {back:?}"
        );

        let shown: Vec<_> = joined
            .messages
            .iter()
            .map(|message| Place {
                id: message.message_id.0,
                prev_id: message.prev.0,
            })
            .collect();
        let newest = &history[history.len().saturating_sub(PAGE)..];
        ensure!(
            shown == newest,
            "WRONG HISTORY: the joiner got other messages than were archived"
        );
        ensure!(
            self.history(room).await? == history,
            "WRONG LOG: Redis got others than were archived"
        );
        Ok(back)
    }

    /// Appends the messages, some at a time.
    async fn fill(&self, room: &RoomId) -> Result<()> {
        let text = ".".repeat(64);
        stream::iter(0..self.messages)
            .map(|n| {
                let content = Content {
                    user_id: "bench".into(),
                    username: "bench".into(),
                    client_id: n.to_string().into(),
                    message: text.as_str().into(),
                };
                async move { self.log.append(room, &content).await }
            })
            .buffer_unordered(FILLING)
            .try_for_each(|_| async { Ok(()) })
            .await
            .context("fill a room")
    }

    /// The room in Redis, in its order.
    async fn history(&self, room: &RoomId) -> Result<Vec<Place>> {
        let mut connection = self.log.redis().connection().await?;
        let entries: Vec<Entry> = redis::cmd("ZRANGE")
            .arg(self.log.keys().log(room))
            .arg(&[0, -1])
            .query_async(&mut connection)
            .await
            .context("read a room's log")?;
        let places = entries.iter().map(|entry| Place {
            id: entry.id.0,
            prev_id: entry.prev.0,
        });
        Ok(places.collect())
    }

    /// Whether the room has messages that Redis does not know to be in Postgres.
    async fn is_dirty(&self, room: &RoomId) -> Result<bool> {
        let mut connection = self.log.redis().connection().await?;
        let score: Option<f64> = redis::cmd("ZSCORE")
            .arg(self.log.keys().dirty())
            .arg(room)
            .query_async(&mut connection)
            .await
            .context("ask whether a room is clean")?;
        Ok(score.is_some())
    }
}

/// Waits a little, if there is time left.
async fn pause(begun: Instant, what: &str) -> Result<()> {
    ensure!(
        begun.elapsed() < PATIENCE,
        "it took longer than {PATIENCE:?} until {what}"
    );
    tokio::time::sleep(Duration::from_millis(2)).await;
    Ok(())
}

/// Each message names the one before it.
fn follow_one_another(history: &[Place]) -> Result<()> {
    for pair in history.windows(2) {
        ensure!(
            pair[1].prev_id == pair[0].id,
            "DISORDER: {:?} does not follow {:?}",
            pair[1],
            pair[0]
        );
    }
    Ok(())
}
