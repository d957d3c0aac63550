//! A room: its members in this process. It is where its messages are put into their one order for all
//! of them, where holes are seen and filled, and where a joiner's history and the live messages are
//! joined without a gap. It reads and writes nothing itself; [`crate::hub`] does.

mod member;
mod run;

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{
    chat::Entry,
    id::{MessageId, RoomId},
};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use self::{
    member::{Joining, KEPT_BACK, Member},
    run::Run,
};
use crate::{hub::ConnectionId, meter, outbox::Outbox, packet::Packet};

/// A room's number in this process, for what must not hold its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct RoomNumber(pub(crate) u64);

/// One room's members here.
#[derive(Debug)]
pub(crate) struct Room {
    id: RoomId,
    number: RoomNumber,
    state: Mutex<State>,
    /// Whether the bus listens to it.
    pub(crate) subscribed: tokio::sync::Mutex<bool>,
    /// Rings when the room's log is complete.
    pub(crate) hydrated: Notify,
}

/// The end of a joiner's history.
#[derive(Debug)]
pub(crate) struct History {
    /// The frame that ends it.
    pub(crate) last_frame: Utf8Bytes,
    /// The last message that was read.
    pub(crate) seen: MessageId,
    /// Whether nothing was missing in it, so that it need not reload when the log is complete.
    pub(crate) whole: bool,
}

/// What was read of a room's history, where a hole is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// All that there is.
    All,
    /// There may be more.
    Part,
}

#[derive(Debug, Default)]
struct State {
    members: HashMap<ConnectionId, Member>,
    /// The message up to which all members have what they can have; none before the first.
    last: Option<MessageId>,
    /// While the log is read to fill a hole.
    catching_up: Option<CatchingUp>,
}

#[derive(Debug, Default)]
struct CatchingUp {
    /// What is heard meanwhile.
    heard: Vec<Entry>,
    /// The subscription was lost meanwhile: what is being read may lack what was missed.
    lapsed: bool,
}

impl Room {
    /// A room without members.
    pub(crate) fn new(id: &RoomId) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: id.clone(),
            number: RoomNumber(NEXT.fetch_add(1, Ordering::Relaxed)),
            state: Mutex::default(),
            subscribed: tokio::sync::Mutex::new(false),
            hydrated: Notify::new(),
        })
    }

    /// Its number in this process.
    pub(crate) fn number(&self) -> RoomNumber {
        self.number
    }

    /// Its name.
    pub(crate) fn id(&self) -> &RoomId {
        &self.id
    }

    /// How many members are connected here.
    pub(crate) fn members(&self) -> usize {
        self.state().members.len()
    }

    /// Adds a member, or begins its joining anew. Until it goes live, what is delivered is kept back.
    /// True if it is new here.
    pub(crate) fn enter(&self, connection: ConnectionId, outbox: &Arc<Outbox>) -> bool {
        let member = Member {
            outbox: Arc::clone(outbox),
            seen: MessageId::ZERO,
            joining: Some(Joining::default()),
            incomplete: false,
            reloading: false,
            behind: false,
        };
        let mut state = self.state();
        let before = state.members.insert(connection, member);
        // Under the lock: what is delivered meanwhile cannot tell the member that was there before to resume.
        outbox.forget(self.number);
        before.is_none()
    }

    /// Takes a member out. False if it was none.
    pub(crate) fn leave(&self, connection: ConnectionId) -> bool {
        let member = self.state().members.remove(&connection);
        member.is_some_and(|member| {
            member.outbox.forget(self.number);
            true
        })
    }

    /// Gives a joiner the end of its history, then what was delivered meanwhile, then all that comes. False
    /// if what was read is out of date: read on.
    #[must_use]
    pub(crate) fn go_live(&self, connection: ConnectionId, history: History) -> bool {
        let mut state = self.state();
        let Some(member) = state.members.get_mut(&connection) else {
            return true; // it left meanwhile
        };
        if let Some(joining) = &mut member.joining
            && (joining.lapsed || (joining.hydrated && !history.whole))
        {
            *joining = Joining::default(); // reading again finds all that was kept back
            return false;
        }
        self.begin_live(&mut state, connection, history);
        true
    }

    /// As [`Self::go_live`], whatever was missed: the next message tells the joiner.
    pub(crate) fn go_live_anyway(
        &self,
        connection: ConnectionId,
        last_frame: Utf8Bytes,
        seen: MessageId,
    ) {
        let history = History {
            last_frame,
            seen,
            whole: true,
        };
        self.begin_live(&mut self.state(), connection, history);
    }

    fn begin_live(&self, state: &mut State, connection: ConnectionId, history: History) {
        let State { members, last, .. } = state;
        let Some(member) = members.get_mut(&connection) else {
            return;
        };
        let joining = member.joining.take().unwrap_or_default();
        member.seen = history.seen;
        member.incomplete = !history.whole;
        member.outbox.push_history(self.number, history.last_frame);
        for delivery in &joining.kept_back {
            member.give_one(self, delivery);
        }
        if let Some(presence) = joining.presence {
            member.outbox.push_presence(self.number, presence);
        }
        // The first to read the log tells where the room stands; a cold one does not know. One who read
        // it before the others is behind them until what they have is heard or read again.
        if history.whole || history.seen > MessageId::ZERO {
            *last = Some(last.map_or(member.seen, |last| last.min(member.seen)));
        }
    }

    /// Tells one member to reload.
    pub(crate) fn reload(&self, connection: ConnectionId, reason: &str) {
        if let Some(member) = self.state().members.get_mut(&connection) {
            member.reload(self, reason);
        }
    }

    /// Delivers messages that were heard. True if one shows a hole before it: the log is to be read.
    #[must_use]
    pub(crate) fn hear(&self, mut entries: Vec<Entry>) -> bool {
        let mut state = self.state();
        if let Some(catching_up) = &mut state.catching_up {
            for entry in entries {
                catching_up.hear(entry);
            }
            return false;
        }
        let mut last = state.last;
        let hole = entries.iter().position(|entry| {
            let before = last;
            last = last.max(Some(entry.id));
            before.is_some_and(|before| entry.id > before && entry.prev != before)
        });
        let heard = hole.map(|at| entries.split_off(at));
        self.deliver(&mut state, &entries);
        let Some(heard) = heard else {
            return false;
        };
        state.catching_up = Some(CatchingUp {
            heard,
            lapsed: false,
        });
        true
    }

    /// The subscription was lost and is back: anything may have been missed. True if the log is to be
    /// read.
    #[must_use]
    pub(crate) fn resume(&self) -> bool {
        let mut state = self.state();
        for member in state.members.values_mut() {
            match &mut member.joining {
                Some(joining) => joining.lapsed = true,
                // The word that the log is complete may be among what was missed.
                None => member.reload_if_incomplete(self),
            }
        }
        if let Some(catching_up) = &mut state.catching_up {
            catching_up.lapsed = true;
            return false;
        }
        // Without a last message, whoever is live has an incomplete history, and was told to reload.
        if state.last.is_none() {
            return false;
        }
        state.catching_up = Some(CatchingUp::default());
        true
    }

    /// From where the log is to be read; none if the room is level.
    pub(crate) fn catching_up_from(&self) -> Option<MessageId> {
        let state = self.state();
        state.catching_up.as_ref()?;
        if state.members.is_empty() {
            None
        } else {
            state.last
        }
    }

    /// Delivers what there is after the last message, then, if that is all, what was heard meanwhile. Where
    /// it does not follow the last message, the members are told to reload.
    pub(crate) fn fill(&self, entries: &[Entry], read: Read) {
        let mut state = self.state();
        let catching_up = state.catching_up.get_or_insert_default();
        let lapsed = mem::take(&mut catching_up.lapsed);
        let heard = if lapsed || read == Read::Part {
            Vec::new() // it is read on, and what is heard stays
        } else {
            mem::take(&mut state.catching_up).map_or_else(Vec::new, |done| done.heard)
        };
        self.deliver(&mut state, entries);
        self.deliver(&mut state, &heard);
    }

    fn deliver(&self, state: &mut State, entries: &[Entry]) {
        let mut copies = 0;
        for run in Run::each_of(&self.id, entries) {
            state.last = state.last.max(Some(run.last));
            for member in state.members.values_mut() {
                match &mut member.joining {
                    Some(joining) => joining.keep_back(&run),
                    None => copies += member.give(self, &run),
                }
            }
        }
        meter::DELIVERED.increment(copies);
    }

    /// Tells all members that somebody types, which nobody misses.
    pub(crate) fn tell_typing(&self, typing: &str) {
        let typing = Packet::from(typing);
        for member in self.state().members.values() {
            if member.joining.is_none() {
                member.outbox.push_typing(typing.clone());
            }
        }
    }

    /// Tells all members how many they are. Who joins is told when it has its history, which may have
    /// been read before it was counted.
    pub(crate) fn tell_presence(&self, presence: &str) {
        let presence = Packet::from(presence);
        for member in self.state().members.values_mut() {
            match &mut member.joining {
                Some(joining) => joining.presence = Some(presence.clone()),
                None => member.outbox.push_presence(self.number, presence.clone()),
            }
        }
    }

    /// The log is complete: whoever waits for it reads it; whoever got less reloads.
    pub(crate) fn was_hydrated(&self) {
        self.hydrated.notify_waiters();
        for member in self.state().members.values_mut() {
            match &mut member.joining {
                Some(joining) => joining.hydrated = true,
                None => member.reload_if_incomplete(self),
            }
        }
    }

    /// Redis has lost what the members saw: they reload what is left of it.
    pub(crate) fn was_lost(&self) {
        for member in self.state().members.values_mut() {
            match &mut member.joining {
                Some(joining) => joining.lapsed = true,
                None => member.reload(self, "what came last was lost"),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CatchingUp {
    /// Keeps a message back until the hole before it is filled; of too many, none, and they are read too.
    fn hear(&mut self, entry: Entry) {
        if self.heard.len() >= KEPT_BACK {
            self.heard = Vec::new();
            self.lapsed = true;
        }
        if !self.lapsed {
            self.heard.push(entry);
        }
    }
}
