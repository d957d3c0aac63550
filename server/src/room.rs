//! A room: its members in this process. It is where its messages are put into their one order for all
//! of them, where holes are seen and filled, and where a joiner's history and the live messages are
//! joined without a gap. It reads and writes nothing itself; [`crate::hub`] does.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use common::{
    chat::{Entry, log::Opened},
    id::{MessageId, RoomId},
};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{frame, hub::ConnectionId, outbox::Outbox};

/// One room's members here.
#[derive(Debug)]
pub(crate) struct Room {
    id: RoomId,
    state: Mutex<State>,
    /// Whether the bus listens to it.
    pub(crate) subscribed: tokio::sync::Mutex<bool>,
    /// Rings when the room's log is complete.
    pub(crate) hydrated: Notify,
}

#[derive(Debug, Default)]
struct State {
    members: HashMap<ConnectionId, Member>,
    /// The last message that was delivered here; none before the first.
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

#[derive(Debug)]
struct Member {
    outbox: Arc<Outbox>,
    /// What its history holds is not delivered again.
    seen: MessageId,
    /// While its history is read.
    joining: Option<Joining>,
    /// Whether its history was incomplete, so that it must reload when the log is complete.
    incomplete: bool,
}

#[derive(Debug, Default)]
struct Joining {
    /// What is delivered meanwhile.
    kept_back: Vec<(MessageId, Utf8Bytes)>,
    /// How many members there are now.
    presence: Option<Utf8Bytes>,
    /// Something was missed meanwhile.
    lapsed: bool,
    /// The log was completed meanwhile.
    hydrated: bool,
}

impl Room {
    /// A room without members.
    pub(crate) fn new(id: &RoomId) -> Arc<Self> {
        Arc::new(Self {
            id: id.clone(),
            state: Mutex::default(),
            subscribed: tokio::sync::Mutex::new(false),
            hydrated: Notify::new(),
        })
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
        };
        let before = self.state().members.insert(connection, member);
        before.is_none()
    }

    /// Takes a member out. False if it was none.
    pub(crate) fn leave(&self, connection: ConnectionId) -> bool {
        self.state().members.remove(&connection).is_some()
    }

    /// Gives a joiner its history, then what was delivered meanwhile, then all that comes. False if what
    /// was read is out of date: read the log again.
    #[must_use]
    pub(crate) fn go_live(
        &self,
        connection: ConnectionId,
        history: Utf8Bytes,
        opened: &Opened,
    ) -> bool {
        let mut state = self.state();
        let State { members, last, .. } = &mut *state;
        let Some(member) = members.get_mut(&connection) else {
            return true; // it left meanwhile
        };
        let joining = member.joining.get_or_insert_default();
        let missed_messages = mem::take(&mut joining.lapsed);
        let missed_the_word = mem::take(&mut joining.hydrated) && !opened.warm;
        if missed_messages || missed_the_word {
            return false;
        }
        // The first to read the log tells where the room stands; a cold one does not know.
        if opened.warm || opened.top > MessageId::ZERO {
            last.get_or_insert(opened.top);
        }
        let joining = member.joining.take().unwrap_or_default();
        member.seen = opened.top;
        member.incomplete = !opened.warm;
        member.outbox.push(history);
        for (id, frame) in joining.kept_back {
            if id > member.seen {
                member.outbox.push(frame);
            }
        }
        if let Some(presence) = joining.presence {
            member.outbox.push(presence);
        }
        true
    }

    /// Delivers a message that was heard. True if it shows a hole: the log is to be read.
    #[must_use]
    pub(crate) fn hear(&self, entry: Entry) -> bool {
        let mut state = self.state();
        if let Some(catching_up) = &mut state.catching_up {
            catching_up.heard.push(entry);
            return false;
        }
        match state.last {
            Some(last) if entry.id <= last => false, // heard twice
            Some(last) if entry.prev != last => {
                state.catching_up = Some(CatchingUp {
                    heard: vec![entry],
                    lapsed: false,
                });
                true
            }
            _ => {
                self.deliver(&mut state, &entry);
                false
            }
        }
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
                None => self.reset_incomplete(member),
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

    /// Delivers what the log has after `after`, then what was heard meanwhile. If the log no longer
    /// reaches back to `after`, the members are told to reload.
    pub(crate) fn fill(&self, after: MessageId, entries: &[Entry]) {
        let mut state = self.state();
        let catching_up = state.catching_up.get_or_insert_default();
        if mem::take(&mut catching_up.lapsed) {
            return; // it is read again
        }
        let heard = mem::take(&mut catching_up.heard);
        state.catching_up = None;
        let mut last = after;
        let mut hole = false;
        for entry in entries.iter().chain(&heard) {
            if entry.id > last {
                hole |= entry.prev != last;
                last = entry.id;
            }
        }
        if hole {
            let reset = frame::reset(&self.id, "messages were missed that are no longer at hand");
            for member in state.members.values_mut() {
                match &mut member.joining {
                    Some(joining) => joining.lapsed = true,
                    None => member.outbox.push(reset.clone()),
                }
            }
        }
        for entry in entries.iter().chain(&heard) {
            self.deliver(&mut state, entry);
        }
    }

    fn deliver(&self, state: &mut State, entry: &Entry) {
        if state.last.is_some_and(|last| entry.id <= last) {
            return;
        }
        state.last = Some(entry.id);
        let frame = Utf8Bytes::from(entry.frame(&self.id));
        let mut copies = 0;
        for member in state.members.values_mut() {
            if let Some(joining) = &mut member.joining {
                joining.kept_back.push((entry.id, frame.clone()));
            } else if entry.id > member.seen {
                member.outbox.push(frame.clone());
                copies += 1;
            }
        }
        metrics::counter!("rhubarb_delivered_total").increment(copies);
    }

    /// Tells all members something that nobody misses.
    pub(crate) fn tell_all(&self, frame: &Utf8Bytes) {
        for member in self.state().members.values() {
            if member.joining.is_none() {
                member.outbox.push(frame.clone());
            }
        }
    }

    /// Tells all members how many they are. Who joins is told when it has its history, which may have
    /// been read before it was counted.
    pub(crate) fn tell_presence(&self, frame: &Utf8Bytes) {
        for member in self.state().members.values_mut() {
            match &mut member.joining {
                Some(joining) => joining.presence = Some(frame.clone()),
                None => member.outbox.push(frame.clone()),
            }
        }
    }

    /// The log is complete: whoever waits for it reads it; whoever got less reloads.
    pub(crate) fn was_hydrated(&self) {
        self.hydrated.notify_waiters();
        for member in self.state().members.values_mut() {
            match &mut member.joining {
                Some(joining) => joining.hydrated = true,
                None => self.reset_incomplete(member),
            }
        }
    }

    fn reset_incomplete(&self, member: &mut Member) {
        if mem::take(&mut member.incomplete) {
            let reset = frame::reset(&self.id, "the room's history is at hand now");
            member.outbox.push(reset);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
