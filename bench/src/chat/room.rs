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
    database::{Place, copy_again, count, places},
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

/// Measures one way `how.runs()` times, each with a room of its own.
pub(super) async fn measure(
    how: &How,
    database: &Database,
    options: &RoomOptions,
    way: Way,
    figures: &mut Figures,
) -> Result<()> {
    figures.expect_steps(2 + how.runs());
    figures.begin("start two servers and a worker");
    // The rooms are to stay in Redis as a whole, until they are told to leave.
    let window = (2 * options.messages).max(options.sustained).to_string();
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
    for run in 0..=how.runs() {
        let what = if run == 0 {
            "warm-up".to_owned()
        } else {
            format!("run {run} of {}", how.runs())
        };
        figures.begin(what);
        let room: RoomId = testing::unique("room-").parse().context("name a room")?;
        let (out, settled, history) = bench.flush(&room).await?;
        let back = if way == Way::Back {
            Some(bench.rehydrate(&room, &history).await?)
        } else {
            None
        };
        if run == 0 {
            continue;
        }
        let mut add = |name: &str, time: Duration| {
            figures.add(name, "ms", time.as_secs_f64() * 1000.0);
            let rate = per_second(bench.messages, time);
            figures.add(format!("{name}.rate"), "messages/s", rate);
        };
        match back {
            None => {
                add("flush.to_postgres", out);
                let copy = copy_again(&bench.stack.place().schema, &[room]).await?;
                add("flush.one_copy", copy);
                let of_copy = copy.as_secs_f64() / out.as_secs_f64();
                figures.add("flush.rate_of_one_copy", "%", of_copy * 100.0);
                figures.add("flush.to_clean", "ms", settled.as_secs_f64() * 1000.0);
                if options.sustained > 0 {
                    bench.sustain(options.sustained.into(), figures).await?;
                }
            }
            Some(back) => {
                add("rehydrate.to_whole", back.whole);
                let ms = |time: Duration| time.as_secs_f64() * 1000.0;
                figures.add("rehydrate.to_first_part", "ms", ms(back.first_part));
                figures.add("rehydrate.to_page", "ms", ms(back.page));
            }
        }
    }
    Ok(())
}

/// How long the ways back of one room took.
struct Back {
    /// Until a joiner had its newest messages.
    page: Duration,
    /// Until another one, who wants all of them, had the first.
    first_part: Duration,
    /// And the last.
    whole: Duration,
}

/// What the measurements work with.
pub(super) struct Bench {
    pub(super) stack: Stack,
    pub(super) log: RoomLog,
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
            let mut socket = member.into_socket();
            while tokio::time::timeout(Duration::from_millis(500), socket.text())
                .await
                .is_ok()
            {}
            socket
        });
        fill(&self.log, room, self.messages).await?;
        let socket = reading.await.context("read what the member hears")?;
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

    /// Removes a room from Redis, joins it for its newest messages, then for all that there are; each time
    /// with nothing in Redis, and nothing kept by a server. Waits for the answers, and until it is back.
    async fn rehydrate(&self, room: &RoomId, history: &[Place]) -> Result<Back> {
        let (page, _) = self.join_cold(room, history, PAGE).await?;
        // A server keeps for some seconds what it has shown; the other one has not.
        let (first_part, whole) = self.join_cold(room, history, history.len()).await?;
        Ok(Back {
            page,
            first_part,
            whole,
        })
    }

    /// Joins a room that has left Redis: how long the first part took, and the whole.
    async fn join_cold(
        &self,
        room: &RoomId,
        history: &[Place],
        limit: usize,
    ) -> Result<(Duration, Duration)> {
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

        let server = usize::from(limit > PAGE);
        let mut member = Client::connect(self.stack.ports()[server], "bench").await?;
        let begun = Instant::now();
        let joined = member.join(room.as_str(), limit).await?;
        let whole = begun.elapsed();
        ensure!(
            joined.complete,
            "the joiner's history is not complete after {whole:?}"
        );

        let shown: Vec<_> = joined
            .messages
            .iter()
            .map(|message| Place {
                id: message.message_id,
                prev_id: message.prev,
            })
            .collect();
        let newest = &history[history.len().saturating_sub(limit)..];
        ensure!(
            shown == newest,
            "WRONG HISTORY: the joiner got other messages than were archived"
        );
        // The joiner need not wait for it, but the room comes back.
        while !self.log.beginning(room, None, 1).await?.warm {
            pause(begun, "the room is back in Redis").await?;
        }
        ensure!(
            self.history(room).await? == history,
            "WRONG LOG: Redis got others than were archived"
        );
        member.leave(room.as_str()).await?;
        Ok((joined.first_part, whole))
    }

    /// The room in Redis, in its order.
    pub(super) async fn history(&self, room: &RoomId) -> Result<Vec<Place>> {
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
    pub(super) async fn is_dirty(&self, room: &RoomId) -> Result<bool> {
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

/// Appends so many messages to a room, some at a time.
pub(super) async fn fill(log: &RoomLog, room: &RoomId, messages: u64) -> Result<()> {
    let text = ".".repeat(64);
    stream::iter(0..messages)
        .map(|n| {
            let content = Content {
                user_id: "bench".into(),
                username: "bench".into(),
                client_id: n.to_string().into(),
                message: text.as_str().into(),
            };
            async move { log.append(room, &content).await }
        })
        .buffer_unordered(FILLING)
        .try_for_each(|_| async { Ok(()) })
        .await
        .context("fill a room")
}

/// Waits a little, if there is time left.
pub(super) async fn pause(begun: Instant, what: &str) -> Result<()> {
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
