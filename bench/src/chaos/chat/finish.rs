//! The finish: when no more goes wrong, all guests gather and catch up, also with messages that no server
//! heard; one server is killed to see its members fade, then all part, and what is left is looked at.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use client::{Message, MessageId};
use common::chat::{Content, Entry, RoomLog, Settings};
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Bool, Nullable, Text},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use nix::sys::signal::Signal;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    crew::LEASE,
    event::{Deed, Event, Key, RoomNumber, Shown},
    faults::Fault,
    guest::{Phase, name, room_of},
    status::Status,
    storm::Storm,
    wrong::Remains,
};
use crate::{
    chaos::ledger::{Role, Who},
    number::count,
};

/// How long each step may take. A job whose worker was killed alone waits for seven seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// What it takes to finish.
pub(super) struct Finish<'a> {
    pub(super) storm: &'a Storm,
    pub(super) phase: &'a watch::Sender<Phase>,
    pub(super) status: &'a Status,
    pub(super) guests: &'a mut JoinSet<()>,
    pub(super) number: u16,
    pub(super) rooms: RoomNumber,
    /// How soon after the end of a lease members are to be counted right: servers look each third of it.
    pub(super) fade: Duration,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    room_id: String,
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    prev_id: i64,
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Text)]
    client_id: String,
    #[diesel(sql_type = Text)]
    body: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    edits: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    deletes: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    edited_id: Option<i64>,
    #[diesel(sql_type = Bool)]
    deleted: bool,
}

impl Finish<'_> {
    /// All of it.
    pub(super) async fn run(self) -> Result<Remains> {
        let mut remains = Remains::default();
        self.storm.notes.note(Who::DRIVER, Event::Peace);
        self.phase.send_replace(Phase::Gather);
        let (number, rooms) = (self.number, self.rooms);
        let all_are_in = || {
            let all = self.status.look();
            let is_in = |guest: u16| {
                let one = all.get(&guest);
                one.is_some_and(|one| one.rooms == usize::from(rooms) && one.unacked == 0)
            };
            (0..number).all(is_in)
        };
        wait(
            &mut remains,
            "all guests are in all rooms, and all is acknowledged",
            all_are_in,
        )
        .await;
        let right = |status: &Status, there| {
            let counted = status.counted(rooms, there);
            counted.iter().all(|counted| counted.told == Some(there))
        };
        let everybody = u64::from(number);
        let deadline = Instant::now() + LEASE + self.fade;
        while !right(self.status, everybody) && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        remains.members = self.status.counted(rooms, everybody);
        self.say_unheard().await?;
        self.level(&mut remains).await?;
        remains.shown = self.status.shown();

        // One server dies with all its members; nobody comes back.
        self.phase.send_replace(Phase::Stay);
        let slot = &self.storm.crew.servers[0];
        let (who, fault) = (slot.who(), Fault::KillServer { slot: 0 });
        let before = |server| {
            let all = self.status.look();
            count(
                all.values()
                    .filter(|one| one.server == Some(server))
                    .count(),
            )
        };
        let gone = before(0);
        slot.signal(who, Signal::SIGKILL, || {
            self.storm.notes.note(who, Event::Struck { fault });
        });
        let deadline = Instant::now() + LEASE + self.fade;
        let there = everybody.saturating_sub(gone);
        wait(&mut remains, "the dead server's members know it", || {
            before(0) == 0
        })
        .await;
        while !right(self.status, there) && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        remains.members.extend(self.status.counted(rooms, there));

        self.phase.send_replace(Phase::Part);
        let parted = async { while self.guests.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(PATIENCE, parted).await;
        self.clear(&mut remains).await?;
        self.storm.crew.end(&self.storm.notes, PATIENCE).await?;
        remains.archive = self.archive().await?;
        Ok(remains)
    }

    /// Says something in each room that no server hears, as the subscribers were cut a moment before; and
    /// nothing follows that would show it.
    async fn say_unheard(&self) -> Result<()> {
        let (redis, notes) = (&self.storm.redis, &self.storm.notes);
        let settings = Settings::default();
        let log = RoomLog::new(redis.redis().clone(), redis.keys.clone(), settings);
        let guest = self.number; // one more than there are
        let (role, slot, life) = (Role::Client, guest, 0);
        let who = Who { role, slot, life };
        let user = format!("c{guest}");
        for room in 0..self.rooms {
            let number = room.into();
            let key = Key { guest, number };
            let (own, text) = (key.to_string(), key.text(key.length()));
            let content = Content {
                user_id: user.as_str().into(),
                username: user.as_str().into(),
                client_id: own.as_str().into(),
                message: text.as_str().into(),
            };
            let id = name(room).parse().context("a room's name")?;
            let posts = Event::Posts {
                room,
                key,
                id: number.into(),
                deed: Deed::Say,
            };
            notes.note(who, posts);
            redis.cut_subscribers().await?;
            let appended = log.append(&id, &content).await?;
            let acked = Event::Acked {
                room,
                key,
                id: MessageId(appended.id.0),
                duplicate: appended.duplicate,
                archived: false,
            };
            notes.note(who, acked);
        }
        Ok(())
    }

    /// Waits until the clients show what is newest; gives the rooms' logs.
    async fn level(&self, remains: &mut Remains) -> Result<()> {
        for room in 0..self.rooms {
            let id = name(room).parse().context("a room's name")?;
            let log = self.storm.redis.keys.log(&id);
            let entries: Vec<Entry> = self
                .storm
                .redis
                .ask(redis::cmd("ZRANGE").arg(log).arg(0).arg(-1))
                .await?;
            let shown = entries.iter().map(|entry| {
                let mut json = String::new();
                entry.render(&mut json);
                let message: Message = serde_json::from_str(&json).context("read a log")?;
                anyhow::Ok(Shown::from(&message))
            });
            remains.logs.insert(room, shown.collect::<Result<_>>()?);
        }
        let newest = |entries: &Vec<Shown>| entries.last().map(|entry| entry.id);
        let tops: Vec<_> = remains
            .logs
            .iter()
            .filter_map(|(room, entries)| Some((*room, newest(entries)?)))
            .collect();
        let level = || {
            tops.iter().all(|(room, top)| {
                (0..self.number).all(|guest| self.status.newest(guest, *room) == Some(*top))
            })
        };
        wait(remains, "all clients show the newest message", level).await;
        Ok(())
    }

    /// Waits until all is flushed, no job is left and the rooms have left Redis; names what has not.
    async fn clear(&self, remains: &mut Remains) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.left().await?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                remains.left = left;
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    async fn left(&self) -> Result<Vec<String>> {
        let (redis, keys) = (&self.storm.redis, &self.storm.redis.keys);
        let dirty: Vec<String> = redis
            .ask(redis::cmd("ZRANGE").arg(keys.dirty()).arg(0).arg(-1))
            .await?;
        let mut left: Vec<_> = dirty
            .iter()
            .map(|room| format!("{room} is dirty"))
            .collect();
        let jobs = redis.bodies().await?;
        if jobs > 0 {
            left.push(format!("{jobs} jobs"));
        }
        let rooms = format!("{}room:", keys.prefix());
        for key in redis.all_keys().await? {
            let Some(part) = key.strip_prefix(&rooms) else {
                continue;
            };
            // How long a resend is recognised is a matter of its own: these only must end some time.
            let may_stay = part.ends_with(":sent") || part.ends_with("ing");
            let ttl: i64 = redis.ask(redis::cmd("PTTL").arg(&key)).await?;
            if ttl == -1 || ttl >= 0 && !may_stay {
                left.push(format!("{part} (time to live: {ttl} ms)"));
            }
        }
        Ok(left)
    }

    /// All that is archived.
    async fn archive(&self) -> Result<BTreeMap<RoomNumber, Vec<Shown>>> {
        let mut connection = AsyncPgConnection::establish(&self.storm.database.url)
            .await
            .context("connect to Postgres")?;
        let rows: Vec<Row> = diesel::sql_query(
            "SELECT room_id, id, prev_id, user_id, client_id, body, edits, deletes, edited_id, deleted \
             FROM messages ORDER BY room_id, id",
        )
        .load(&mut connection)
        .await
        .context("read the archive")?;
        let mut archive: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for row in rows {
            let room = room_of(&row.room_id).context("a room of this run")?;
            let message = Message {
                message_id: MessageId(row.id),
                prev: MessageId(row.prev_id),
                timestamp: String::new(),
                user_id: row.user_id,
                username: String::new(),
                client_id: row.client_id,
                text: row.body,
                edits: row.edits.map(MessageId),
                deletes: row.deletes.map(MessageId),
                edited_at: row.edited_id.map(MessageId),
                deleted: row.deleted,
            };
            let shown = Shown::from(&message);
            archive.entry(room).or_default().push(shown);
        }
        Ok(archive)
    }
}

/// Waits until something holds; what never does is noted.
async fn wait(remains: &mut Remains, what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > deadline {
            remains.late.push(format!("never came about: {what}"));
            return;
        }
        sleep(LOOK).await;
    }
}

/// Shared by all guests.
pub(super) type Shared = Arc<Status>;
