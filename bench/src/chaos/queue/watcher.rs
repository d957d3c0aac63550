//! The driver's eye at every proxy: counts what was accepted, notes claims and settlements, and hits
//! who passes a point where somebody waits.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{
    event::Event,
    point::{Act, Ambush, Point},
    traffic::{Command, Traffic},
};
use crate::{
    chaos::{
        ledger::{Ledger, Role, Who},
        process::Slot,
        proxy::{Deed, Watch, resp::Value},
    },
    number::count,
};

/// Longer than a client waits for an answer (`common::kv::RESPONSE_TIMEOUT`).
const LATE: Duration = Duration::from_millis(2600);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Watcher {
    traffic: Traffic,
    ledger: Ledger,
    slots: HashMap<(Role, u16), Arc<Slot>>,
    /// Who waits where.
    pub(super) ambush: Ambush,
    accepted: AtomicU64,
    /// The identities of workers in Redis.
    identities: Mutex<HashMap<Who, String>>,
}

impl Watcher {
    /// Watches the processes in these places.
    pub(super) fn new(ledger: Ledger, slots: &[Arc<Slot>]) -> Self {
        let by_place = |slot: &Arc<Slot>| {
            let who = slot.who();
            ((who.role, who.slot), Arc::clone(slot))
        };
        Self {
            traffic: Traffic::default(),
            ledger,
            slots: slots.iter().map(by_place).collect(),
            ambush: Ambush::default(),
            accepted: AtomicU64::new(0),
            identities: Mutex::default(),
        }
    }

    /// How many jobs Redis has taken so far.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Notes something.
    pub(super) fn note(&self, who: Who, event: &Event) {
        self.ledger.note_of(who, event);
    }

    /// Kills a process, if it is there, at no point in particular.
    pub(super) fn kill(&self, slot: &Slot) {
        let who = slot.who();
        slot.signal(who, Signal::SIGKILL, || self.note(who, &Event::Killed));
    }

    /// Whether what this command asks of concerns the one who asks.
    fn is_own(&self, who: Who, command: &Command) -> bool {
        let mut identities = self
            .identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match command {
            Command::Beat { worker } => {
                identities.entry(who).or_insert_with(|| worker.clone());
                true
            }
            Command::Held { worker } => identities.get(&who) == Some(worker),
            _ => true,
        }
    }

    fn hit(&self, who: Who, points: &[Point]) -> Deed {
        let own: Vec<_> = points
            .iter()
            .copied()
            .filter(|at| at.role() == who.role)
            .collect();
        if own.is_empty() {
            return Deed::Pass;
        }
        let Some((at, act)) = self.ambush.spring(&own) else {
            return Deed::Pass;
        };
        let note = || self.note(who, &Event::Hit { at, act });
        match act {
            Act::Kill => {
                if let Some(slot) = self.slots.get(&(who.role, who.slot))
                    && !slot.signal(who, Signal::SIGKILL, note)
                {
                    // It has ended meanwhile: somebody else is to be hit.
                    self.ambush.lay(at, act);
                }
                Deed::Cut
            }
            Act::Cut => {
                note();
                Deed::Cut
            }
            Act::Late => {
                note();
                Deed::Late(LATE)
            }
        }
    }
}

impl Watch for Watcher {
    type Asked = Command;

    fn asked(&self, who: Who, command: &Value<'_>) -> (Command, Deed) {
        let command = self.traffic.read(command);
        self.is_own(who, &command);
        let deed = self.hit(who, &command.before());
        (command, deed)
    }

    fn answered(&self, who: Who, asked: Command, answer: &Value<'_>) -> Deed {
        let (command, brought) = asked.brought(answer);
        // Noted before anybody is hit: it has happened.
        if !brought.settled.is_empty() {
            let jobs = brought.settled.clone();
            self.note(who, &Event::Settled { jobs });
        }
        if !brought.claimed.is_empty() && self.is_own(who, &command) {
            let jobs = brought.claimed.clone();
            self.note(who, &Event::Claimed { jobs });
        }
        self.accepted
            .fetch_add(count(brought.accepted), Ordering::Relaxed);
        let deed = self.hit(who, &command.during(answer, &brought));
        if deed == Deed::Cut
            && let Some(id) = brought.popped
        {
            self.note(who, &Event::PopLost { id });
        }
        deed
    }
}
