//! A restart of one of two servers under many clients: how soon all are back, what the others feel, and what
//! Postgres is asked for it, while half of the rooms have left Redis.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use common::{
    chat::{RoomLog, Settings},
    id::RoomId,
    kv::Redis,
};
use nix::sys::signal::Signal;
use tokio::{runtime::Runtime, sync::oneshot};

use super::{
    Database, NO_FLUSH, Options,
    load::frame,
    queries::Queries,
    returning::{Plaza, Returning, lock},
    stack::{Place, Stack},
};
use crate::{
    How,
    figure::Figures,
    machine::now_ns,
    number::{count, float, length},
};

/// Members of a room.
const SIZE: usize = 50;
/// Archived messages of a cold room.
const ARCHIVED: u64 = 100;
/// Rooms in which somebody speaks.
const LOUD: usize = 10;
/// Between two messages.
const EVERY: Duration = Duration::from_millis(20);
/// Before the restart the same is measured for so long.
const BEFORE: Duration = Duration::from_secs(2);
/// Whatever is waited for comes within this.
const PATIENCE: Duration = Duration::from_secs(90);

/// How the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In order: a new one is started on its port, then it is told to stop.
    Rolling,
    /// By `kill -9`; a new one is started at once.
    Killed,
}

/// Measures both ways, with the limits on connections that a server has by default.
pub(super) async fn measure(
    how: &How,
    database: &Database,
    options: &Options,
    figures: &mut Figures,
) -> Result<()> {
    let place = Place::make(how, database).await?;
    let queries = Queries::count(&place.schema.url())?;
    let settings = [
        NO_FLUSH[0],
        NO_FLUSH[1],
        ("CONNECT_RATE", "2000:4000"),
        ("DATABASE_URL", queries.url()),
    ];
    let mut stack = Stack::in_place(place, &settings).await?;
    for (way, name) in [(Way::Rolling, "rolling"), (Way::Killed, "killed")] {
        figures.note(name);
        let rooms = (length(u64::from(options.connections)) / SIZE).max(2);
        let apart = Apart::start()?;
        let scene = Scene::set(&stack, rooms, &apart).await?;
        scene
            .restart(way, name, &mut stack, &queries, figures)
            .await?;
    }
    Ok(())
}

/// A thread for the clients of the server that is restarted. Dropping it ends them.
struct Apart(Option<Runtime>);

impl Apart {
    fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start a runtime")?;
        Ok(Self(Some(runtime)))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// All clients, in rooms of which the second half is cold.
struct Scene {
    plaza: Arc<Plaza>,
    clients: Vec<Arc<Returning>>,
    rooms: Vec<RoomId>,
    log: RoomLog,
}

impl Scene {
    async fn set(stack: &Stack, rooms: usize, apart: &Apart) -> Result<Self> {
        let place = stack.place();
        let prefix = common::testing::unique("back-");
        let names: Vec<String> = (0..rooms).map(|n| format!("{prefix}-{n}")).collect();
        place.schema.archive(&names[rooms / 2..], ARCHIVED).await?;
        let ids: Result<Vec<RoomId>, _> = names.iter().map(|name| name.parse()).collect();
        let keys = place.namespace.keys.clone();
        let redis = Redis::new(place.redis.url())?;
        let ports = [stack.ports()[0], stack.ports()[1]];
        let plaza = Plaza::new(ports, names, SIZE)?;
        let handle = apart.0.as_ref().context("a runtime")?.handle();
        let scene = Self {
            clients: plaza.fill(handle),
            plaza,
            rooms: ids.context("name rooms")?,
            log: RoomLog::new(redis, keys, Settings::default()),
        };
        let all = scene.clients.len();
        scene
            .until("all clients are in their rooms", || {
                scene.plaza.gathered.load(Relaxed) == all
            })
            .await?;
        Ok(scene)
    }

    fn cold(&self) -> &[RoomId] {
        &self.rooms[self.rooms.len() / 2..]
    }

    async fn restart(
        &self,
        way: Way,
        name: &str,
        stack: &mut Stack,
        queries: &Queries,
        figures: &mut Figures,
    ) -> Result<()> {
        self.cool().await?;
        let (end, ended) = oneshot::channel();
        let loud = tokio::spawn(speak(
            Arc::clone(&self.plaza),
            self.clients.clone(),
            LOUD.min(self.rooms.len() / 2),
            ended,
        ));
        tokio::time::sleep(Duration::from_millis(500)).await;
        *lock(&self.plaza.measured) = (now_ns(), u64::MAX);
        tokio::time::sleep(BEFORE).await;
        let before = self.p99_of_the_others();

        let asked = queries.asked();
        *lock(&self.plaza.measured) = (now_ns(), u64::MAX);
        let begun = Instant::now();
        let site = stack.site_mut();
        let old = match way {
            Way::Rolling => {
                let old = site.replace(0)?;
                old.signal(Signal::SIGTERM)?;
                old
            }
            Way::Killed => {
                site.server(0).signal(Signal::SIGKILL)?;
                site.replace(0)?
            }
        };
        let leavers = self.clients.iter().filter(|client| client.is_of_first());
        let leavers = leavers.count();
        self.until("all are back", || {
            self.plaza.returned.load(Relaxed) == leavers
        })
        .await?;
        let all_back = begun.elapsed();
        let status = old.ended().await?;
        ensure!(
            way == Way::Killed || status.success(),
            "a server that was told to stop ended with {status}"
        );
        self.warm().await?;
        *lock(&self.plaza.measured) = (u64::MAX, u64::MAX);
        let after = self.p99_of_the_others();
        let asked = float(queries.asked() - asked);
        let cold = float(count(self.cold().len()));
        ensure!(
            asked >= cold,
            "{asked} queries were counted for {cold} rooms that came from Postgres"
        );
        let _ = end.send(());
        self.nothing_is_missing(&loud.await.context("the load")??)
            .await?;

        let name = |what: &str| format!("chat.restart.{name}.{what}");
        let clients = count(leavers);
        figures.add(name("all_back"), "s", all_back.as_secs_f64());
        let away = lock(&self.plaza.away_us).value_at_quantile(0.99);
        figures.add(name("away.p99"), "ms", float(away) / 1000.0);
        figures.add(name("others.p99"), "ms", after);
        figures.add(name("others.p99.before"), "ms", before);
        figures.add(name("clients"), "came back", float(clients));
        figures.add(name("cold_rooms"), "rooms", cold);
        figures.add(name("queries"), "of Postgres", asked);
        figures.add(name("queries.per_cold_room"), "of Postgres", asked / cold);
        figures.add(
            name("queries.per_client"),
            "of Postgres",
            asked / float(clients),
        );
        let anew = self.plaza.begun_anew.load(Relaxed);
        figures.add(name("begun_anew"), "times", float(anew));
        Ok(())
    }

    /// Has the cold rooms leave Redis, as if nobody had been there for long.
    async fn cool(&self) -> Result<()> {
        self.warm().await?;
        let mut connection = self.log.redis().connection().await?;
        for room in self.cold() {
            let keys = self.log.keys();
            redis::cmd("DEL")
                .arg(&[keys.log(room), keys.meta(room)])
                .exec_async(&mut connection)
                .await
                .context("remove a room from Redis")?;
        }
        Ok(())
    }

    /// Waits until the cold rooms are in Redis.
    async fn warm(&self) -> Result<()> {
        let begun = Instant::now();
        for room in self.cold() {
            while !self.log.beginning(room, None, 1).await?.warm {
                ensure!(begun.elapsed() < PATIENCE, "{room} does not come back");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    /// Of what was measured since the last time, in ms.
    fn p99_of_the_others(&self) -> f64 {
        let mut delivery = lock(&self.plaza.delivery_us);
        let p99 = delivery.value_at_quantile(0.99);
        delivery.reset();
        float(p99) / 1000.0
    }

    /// Everybody has every message of a room, however often it was away.
    async fn nothing_is_missing(&self, sent: &[u64]) -> Result<()> {
        for (room, sent) in sent.iter().enumerate() {
            let members = &self.clients[room * SIZE..(room + 1) * SIZE];
            self.until("all messages are with all members", || {
                members.iter().all(|member| member.has().0 >= *sent)
            })
            .await?;
            let (_, last) = members[0].has();
            for member in members {
                ensure!(
                    member.has() == (*sent, last),
                    "WRONG COUNT: client {} has {:?} of {sent} messages, another one ends with {last:?}",
                    member.number,
                    member.has()
                );
            }
        }
        self.plaza.expect_well()
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !holds() {
            self.plaza.expect_well()?;
            ensure!(
                begun.elapsed() < PATIENCE,
                "it took longer than {PATIENCE:?} until {what}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

/// Sends at fixed times, from those who keep their connection; gives how many each room got.
async fn speak(
    plaza: Arc<Plaza>,
    clients: Vec<Arc<Returning>>,
    rooms: usize,
    mut ended: oneshot::Receiver<()>,
) -> Result<Vec<u64>> {
    let mut sent = vec![0; rooms];
    let begin = now_ns();
    for n in 0_u64.. {
        let due = begin + n * crate::number::nanos(EVERY);
        let ahead = Duration::from_nanos(due.saturating_sub(now_ns()));
        tokio::select! {
            () = tokio::time::sleep(ahead) => {}
            _ = &mut ended => break,
        }
        let room = length(n) % rooms;
        // Of its members, every other one is of the second server.
        let speaker = &clients[room * SIZE + 1 + length(n) / rooms * 2 % SIZE];
        let writer = speaker.writer().context("one who stays was cut off")?;
        writer.text(&frame(&plaza.rooms[room], due)).await?;
        sent[room] += 1;
    }
    Ok(sent)
}
