//! The storm: carries a schedule of faults out, on time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Result;
use common::queue::Queue;
use nix::sys::signal::Signal;
use tokio::{sync::Mutex, task::JoinSet, time::sleep};

use super::{
    event::Event,
    faults::{Fault, Step},
    point::Act,
    watcher::Watcher,
};
use crate::chaos::{
    ledger::{Role, Who},
    process::Slot,
    proxy::{Proxy, Way},
    target::Target,
};

/// After an outage nothing of that kind for so long, so that it shows how soon all goes on.
const REST: Duration = Duration::from_millis(2500);
/// How long somebody who wants to delete a list waits until there is something in it.
const LIST_PATIENCE: Duration = Duration::from_secs(3);

/// What it takes to break things.
#[derive(Debug, Clone)]
pub(super) struct Storm {
    pub(super) redis: Target,
    pub(super) slots: Vec<Arc<Slot>>,
    pub(super) proxies: Arc<HashMap<(Role, u16), Proxy>>,
    pub(super) watcher: Arc<Watcher>,
    /// One outage at a time.
    pub(super) outage: Arc<Mutex<()>>,
}

impl Storm {
    /// Carries all steps out; tells `progress` of each.
    pub(super) async fn rage(&self, steps: &[Step], progress: impl Fn(usize, Fault)) -> Result<()> {
        let start = tokio::time::Instant::now();
        let mut under_way = JoinSet::new();
        for (at, step) in steps.iter().enumerate() {
            tokio::time::sleep_until(start + step.at).await;
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
        match fault {
            Fault::Ambush { at, act } if at.is_inside_the_job() => {
                debug_assert_eq!(act, Act::Kill);
                // Nobody on the outside sees it pass: the worker is told to do it itself.
                let workers = self
                    .slots
                    .iter()
                    .filter(|slot| slot.who().role == Role::Worker);
                if let Some(slot) = workers.min_by_key(|slot| slot.who().life) {
                    slot.order(serde_json::to_string(&at)?);
                }
            }
            Fault::Ambush { at, act } => self.watcher.ambush.lay(at, act),
            Fault::KillWorker { slot } => self.watcher.kill(self.slot(Role::Worker, slot)),
            Fault::KillProducer { slot } => self.watcher.kill(self.slot(Role::Producer, slot)),
            Fault::StopWorker { slot } => {
                let slot = self.slot(Role::Worker, slot);
                let who = slot.who();
                let began = || self.note(who, &Event::Began { fault });
                slot.signal(who, Signal::SIGTERM, began);
            }
            Fault::FreezeWorker { slot, ms } => self.freeze_worker(slot, ms, fault).await,
            Fault::IsolateWorker { .. }
            | Fault::BlackHole { .. }
            | Fault::RedisShutdown { .. }
            | Fault::RedisKill { .. }
            | Fault::RedisFreeze { .. }
            | Fault::CutAll => {
                let _alone = self.outage.lock().await;
                self.cause_outage(fault).await?;
                sleep(REST).await;
            }
            Fault::DeleteList { queue } => {
                let _alone = self.outage.lock().await;
                self.delete_list(queue, fault).await?;
            }
        }
        Ok(())
    }

    async fn cause_outage(&self, fault: Fault) -> Result<()> {
        let who = match fault {
            Fault::IsolateWorker { slot, .. } => self.slot(Role::Worker, slot).who(),
            _ => Who::DRIVER,
        };
        self.note(who, &Event::Began { fault });
        match fault {
            Fault::IsolateWorker { slot, ms } => {
                if let Some(proxy) = self.proxies.get(&(Role::Worker, slot)) {
                    proxy.set(Way::BlackHole);
                    sleep(Duration::from_millis(ms)).await;
                    proxy.set(Way::Open);
                }
            }
            Fault::BlackHole { ms } => {
                self.proxies
                    .values()
                    .for_each(|proxy| proxy.set(Way::BlackHole));
                sleep(Duration::from_millis(ms)).await;
                self.proxies.values().for_each(|proxy| proxy.set(Way::Open));
            }
            Fault::RedisShutdown { ms } => {
                self.redis.shut_down().await?;
                sleep(Duration::from_millis(ms)).await;
                self.redis.restart().await?;
            }
            Fault::RedisKill { ms } => {
                self.redis.kill();
                sleep(Duration::from_millis(ms)).await;
                self.redis.restart().await?;
            }
            Fault::RedisFreeze { ms } => {
                self.redis.freeze(Signal::SIGSTOP)?;
                sleep(Duration::from_millis(ms)).await;
                self.redis.freeze(Signal::SIGCONT)?;
            }
            Fault::CutAll => self.redis.cut_all().await?,
            _ => {}
        }
        self.note(who, &Event::Over { fault });
        Ok(())
    }

    async fn freeze_worker(&self, slot: u16, ms: u64, fault: Fault) {
        let slot = self.slot(Role::Worker, slot);
        let who = slot.who();
        let began = || self.note(who, &Event::Began { fault });
        if slot.signal(who, Signal::SIGSTOP, began) {
            sleep(Duration::from_millis(ms)).await;
            let over = || self.note(who, &Event::Over { fault });
            slot.signal(who, Signal::SIGCONT, over);
        }
    }

    async fn delete_list(&self, queue: Queue, fault: Fault) -> Result<()> {
        let list = self.redis.keys.queue(queue);
        let deadline = tokio::time::Instant::now() + LIST_PATIENCE;
        loop {
            let deleted: u64 = self.redis.ask(redis::cmd("DEL").arg(&list)).await?;
            if deleted > 0 {
                // Redis has no empty lists: something was in it.
                self.note(Who::DRIVER, &Event::Began { fault });
                self.note(Who::DRIVER, &Event::Over { fault });
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                return Ok(());
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn slot(&self, role: Role, number: u16) -> &Slot {
        let place = |slot: &&Arc<Slot>| slot.who().role == role && slot.who().slot == number;
        // The schedule is made for the places there are.
        self.slots.iter().find(place).unwrap_or(&self.slots[0])
    }

    fn note(&self, who: Who, event: &Event) {
        self.watcher.note(who, event);
    }
}
