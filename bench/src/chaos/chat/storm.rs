//! The storm: carries a schedule of faults out, on time.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    crew::{Crew, Database},
    event::{Event, RoomNumber},
    faults::{Fault, Part, Step},
    guest::name,
    notes::Notes,
    power::Power,
};
use crate::chaos::{ledger::Who, process::Slot, target::Target};

/// After Redis was away nothing of that kind for so long, so that it shows how soon all goes on.
const REST: Duration = Duration::from_millis(1500);

/// What it takes to break things.
#[derive(Debug, Clone)]
pub(super) struct Storm {
    pub(super) redis: Target,
    pub(super) database: Database,
    pub(super) crew: Crew,
    pub(super) notes: Arc<Notes>,
    pub(super) rooms: RoomNumber,
    /// Which server's clients are cut; the number makes each time another.
    pub(super) cut: watch::Sender<(u64, u16)>,
    /// The power, if it is to be cut when Redis is killed.
    pub(super) power: Option<Arc<Power>>,
    /// Redis is away in one way at a time.
    pub(super) redis_away: Arc<Mutex<()>>,
    /// And so is Postgres.
    pub(super) database_away: Arc<Mutex<()>>,
}

/// Deletes a key.
const DELETE: &str = "return redis.call('DEL', KEYS[1])";

/// Deletes a room's log, or log and meta, if all of it is archived.
const DELETE_CLEAN: &str = "
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
if redis.call('HGET', KEYS[2], 'top') ~= redis.call('HGET', KEYS[2], 'watermark') then return 0 end
return redis.call('DEL', unpack(KEYS, 3))";

/// Deletes a room's meta, unless it alone tells that not all is archived.
const DELETE_META: &str = "
if not redis.call('ZSCORE', KEYS[1], ARGV[1])
  and redis.call('HGET', KEYS[2], 'top') ~= redis.call('HGET', KEYS[2], 'watermark') then return 0 end
return redis.call('DEL', KEYS[2])";

/// Deletes a room's mark of being dirty, unless it alone tells that.
const DELETE_DIRTY: &str = "
if redis.call('HEXISTS', KEYS[2], 'top') == 0 then return 0 end
return redis.call('ZREM', KEYS[1], ARGV[1])";

/// Deletes a key of the first clean room that is coming back and not there yet; four keys a room: meta,
/// log, hydrating, the one to delete.
const DELETE_HALF: &str = "
for i = 1, #ARGV do
  local at = i * 4 - 2
  if redis.call('EXISTS', KEYS[at + 1], KEYS[at + 2]) == 2 and redis.call('HEXISTS', KEYS[at], 'hydrated_from') == 0
    and not redis.call('ZSCORE', KEYS[1], ARGV[i]) then return redis.call('DEL', KEYS[at + 3]) end
end
return 0";

/// How long somebody waits for a room to come back.
const ROOM_PATIENCE: Duration = Duration::from_secs(3);

impl Storm {
    /// Carries all steps out; tells `progress` of each.
    pub(super) async fn rage(&self, steps: &[Step], progress: impl Fn(usize, Fault)) -> Result<()> {
        let start = Instant::now();
        let mut under_way = JoinSet::new();
        for (at, step) in steps.iter().enumerate() {
            sleep_until(start + step.at).await;
            progress(at, step.fault);
            let (storm, fault) = (self.clone(), step.fault);
            under_way.spawn(async move { storm.strike(fault).await });
            while let Some(done) = under_way.try_join_next() {
                done??;
            }
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn strike(&self, fault: Fault) -> Result<()> {
        let signal = |slots: &[Arc<Slot>], slot: u16, signal| {
            let slot = &slots[usize::from(slot) % slots.len()];
            let who = slot.who();
            slot.signal(who, signal, || {
                self.notes.note(who, Event::Struck { fault });
            })
        };
        let (servers, workers) = (&self.crew.servers, &self.crew.workers);
        match fault {
            Fault::KillServer { slot } => drop(signal(servers, slot, Signal::SIGKILL)),
            Fault::StopServer { slot } => drop(signal(servers, slot, Signal::SIGTERM)),
            Fault::KillWorker { slot } => drop(signal(workers, slot, Signal::SIGKILL)),
            Fault::StopWorker { slot } => drop(signal(workers, slot, Signal::SIGTERM)),
            Fault::FreezeServer { slot, ms } => self.freeze(slot, ms, fault).await,
            Fault::CutClients { slot } => {
                self.began(fault);
                self.cut.send_modify(|(times, which)| {
                    *times += 1;
                    *which = slot;
                });
                self.over(fault);
            }
            Fault::PostgresStop { ms } => {
                let _alone = self.database_away.lock().await;
                self.began(fault);
                self.database.be_away(Duration::from_millis(ms)).await?;
                self.over(fault);
            }
            Fault::DeleteKey { room, part } => {
                let _alone = self.redis_away.lock().await;
                if self.delete(room, part).await? {
                    self.began(fault);
                    self.over(fault);
                }
            }
            _ => {
                let _alone = self.redis_away.lock().await;
                self.began(fault);
                self.disturb_redis(fault).await?;
                self.over(fault);
                sleep(REST).await;
            }
        }
        Ok(())
    }

    async fn disturb_redis(&self, fault: Fault) -> Result<()> {
        let redis = &self.redis;
        match fault {
            Fault::RedisShutdown { ms } => {
                redis.shut_down().await?;
                sleep(Duration::from_millis(ms)).await;
                redis.restart().await
            }
            Fault::RedisKill { ms } => {
                redis.kill();
                if let Some(power) = &self.power {
                    let from = power.cut(redis).context("cut the power")?;
                    self.notes.note(Who::DRIVER, Event::PowerCut { from });
                }
                sleep(Duration::from_millis(ms)).await;
                redis.restart().await
            }
            Fault::RedisFreeze { ms } => {
                redis.freeze(Signal::SIGSTOP)?;
                sleep(Duration::from_millis(ms)).await;
                redis.freeze(Signal::SIGCONT)
            }
            Fault::CutSubscribers => redis.cut_subscribers().await,
            Fault::CutAll => {
                redis.cut_all().await?;
                redis.cut_subscribers().await
            }
            _ => Ok(()),
        }
    }

    async fn freeze(&self, slot: u16, ms: u64, fault: Fault) {
        let slot = &self.crew.servers[usize::from(slot) % self.crew.servers.len()];
        let who = slot.who();
        if slot.signal(who, Signal::SIGSTOP, || self.began(fault)) {
            sleep(Duration::from_millis(ms)).await;
            slot.signal(who, Signal::SIGCONT, || {});
            self.over(fault);
        }
    }

    /// Deletes a key; false if it was not there, or is not to be deleted now.
    async fn delete(&self, room: RoomNumber, part: Part) -> Result<bool> {
        let keys = &self.redis.keys;
        let name = name(room);
        let id = name.parse().context("a room's name")?;
        let (meta, log) = (keys.meta(&id), keys.log(&id));
        let dirty = keys.dirty();
        let (script, of) = match part {
            Part::Log => (DELETE_CLEAN, vec![dirty, meta, log]),
            Part::Both => (DELETE_CLEAN, vec![dirty, meta.clone(), log, meta]),
            Part::Meta => (DELETE_META, vec![dirty, meta]),
            Part::Dirty => (DELETE_DIRTY, vec![dirty, meta]),
            Part::HalfLog | Part::HalfMeta => return self.delete_half(part).await,
            Part::Members => (DELETE, vec![keys.members(&id)]),
            Part::Flushing => (DELETE, vec![keys.flushing(&id)]),
            Part::Hydrating => (DELETE, vec![keys.hydrating(&id)]),
        };
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(of.len()).arg(of).arg(name);
        Ok(self.redis.ask::<u64>(&command).await? > 0)
    }

    async fn delete_half(&self, part: Part) -> Result<bool> {
        let keys = &self.redis.keys;
        let (mut all, mut names) = (vec![keys.dirty()], Vec::new());
        for room in 0..self.rooms {
            let name = name(room);
            let id = name.parse().context("a room's name")?;
            let (meta, log) = (keys.meta(&id), keys.log(&id));
            let which = if part == Part::HalfLog { &log } else { &meta }.clone();
            all.extend([meta, log, keys.hydrating(&id), which]);
            names.push(name);
        }
        let mut command = redis::cmd("EVAL");
        command.arg(DELETE_HALF).arg(all.len()).arg(all).arg(names);
        let deadline = Instant::now() + ROOM_PATIENCE;
        while Instant::now() < deadline {
            if self.redis.ask::<u64>(&command).await? > 0 {
                return Ok(true);
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(false)
    }

    fn began(&self, fault: Fault) {
        self.notes.note(Who::DRIVER, Event::Began { fault });
    }

    fn over(&self, fault: Fault) {
        self.notes.note(Who::DRIVER, Event::Over { fault });
    }
}
