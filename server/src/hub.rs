//! The hub: this process's connections by room. It is where one room's messages are put into their one
//! order for all local members, where holes are seen and filled, and where a joiner's history and the
//! live messages are joined without a gap.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{
    chat::{
        Chat, Entry, IdRange,
        bus::{Bus, BusEvent},
        log::Opened,
    },
    error::Chain,
    id::{MessageId, RoomId},
};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{frame, outbox::Outbox};

/// After a failed read of a room's log.
const RETRY: Duration = Duration::from_millis(250);
/// Rooms whose logs are read at once after the subscription was lost.
const CATCH_UPS: usize = 64;

/// One connection, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(u64);

/// All rooms with a member here. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rooms: Mutex<HashMap<RoomId, Arc<Room>>>,
    next_connection: AtomicU64,
    chat: Chat,
    bus: Bus,
    catch_ups: Semaphore,
    /// Rooms whose number of local members has changed.
    changed: mpsc::UnboundedSender<RoomId>,
}

/// One room's members here.
#[derive(Debug)]
pub(crate) struct Room {
    id: RoomId,
    state: Mutex<State>,
    subscribed: tokio::sync::Mutex<bool>,
    /// Rings when the room's log is complete.
    pub(crate) hydrated: Notify,
}

#[derive(Debug, Default)]
struct State {
    members: HashMap<ConnectionId, Member>,
    /// The last message that was delivered here; none before the first.
    last: Option<MessageId>,
    /// While the log is read to fill a hole, what is heard meanwhile.
    catching_up: Option<Vec<Entry>>,
}

#[derive(Debug)]
struct Member {
    outbox: Arc<Outbox>,
    /// What its history holds is not delivered again.
    seen: MessageId,
    /// While its history is read, what is delivered meanwhile.
    joining: Option<Vec<(MessageId, Utf8Bytes)>>,
    /// Whether its history was incomplete, so that it must reload when the log is complete.
    incomplete: bool,
}

impl Hub {
    /// A hub that delivers what the bus hears. `changed` gets each room whose number of local members
    /// has changed.
    pub(crate) fn start(
        chat: Chat,
        bus: Bus,
        mut events: mpsc::UnboundedReceiver<BusEvent>,
        changed: mpsc::UnboundedSender<RoomId>,
    ) -> Self {
        let inner = Inner {
            rooms: Mutex::default(),
            next_connection: AtomicU64::new(1),
            chat,
            bus,
            catch_ups: Semaphore::new(CATCH_UPS),
            changed,
        };
        let hub = Self {
            inner: Arc::new(inner),
        };
        let listening = hub.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                listening.hear(event);
            }
        });
        hub
    }

    /// A number for a connection.
    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId(self.inner.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds a connection to a room. Until [`Room::go_live`] what is delivered is kept back.
    pub(crate) fn enter(
        &self,
        room_id: &RoomId,
        connection: ConnectionId,
        outbox: &Arc<Outbox>,
    ) -> Arc<Room> {
        let mut rooms = self.rooms();
        let room = rooms
            .entry(room_id.clone())
            .or_insert_with(|| Room::new(room_id));
        let member = Member {
            outbox: Arc::clone(outbox),
            seen: MessageId::ZERO,
            joining: Some(Vec::new()),
            incomplete: false,
        };
        let before = room.state().members.insert(connection, member);
        if before.is_none() {
            let _ = self.inner.changed.send(room_id.clone());
        }
        Arc::clone(room)
    }

    /// Makes sure that a room is subscribed to: from then on its members miss nothing. False if Redis
    /// cannot be reached now.
    pub(crate) async fn subscribe(&self, room: &Room) -> bool {
        let mut subscribed = room.subscribed.lock().await;
        if !*subscribed {
            *subscribed = self.inner.bus.subscribe(&room.id).await;
        }
        *subscribed
    }

    /// Takes a connection out of a room.
    pub(crate) fn leave(&self, room_id: &RoomId, connection: ConnectionId) {
        let mut rooms = self.rooms();
        let Some(room) = rooms.get(room_id) else {
            return;
        };
        let mut state = room.state();
        if state.members.remove(&connection).is_none() {
            return;
        }
        let empty = state.members.is_empty();
        drop(state);
        if empty {
            rooms.remove(room_id);
            self.inner.bus.unsubscribe(room_id);
        }
        let _ = self.inner.changed.send(room_id.clone());
    }

    /// How many members of a room are connected here.
    pub(crate) fn members(&self, room_id: &RoomId) -> usize {
        self.rooms()
            .get(room_id)
            .map_or(0, |room| room.state().members.len())
    }

    /// All rooms with a member here.
    pub(crate) fn room_ids(&self) -> Vec<RoomId> {
        self.rooms().keys().cloned().collect()
    }

    fn room(&self, room_id: &RoomId) -> Option<Arc<Room>> {
        self.rooms().get(room_id).cloned()
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<Room>>> {
        self.inner
            .rooms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: BusEvent) {
        match event {
            BusEvent::Message(room, entry) => {
                if let Some(room) = self.room(&room)
                    && room.hear(entry)
                {
                    self.catch_up(room);
                }
            }
            BusEvent::Members(room_id, total) => {
                if let Some(room) = self.room(&room_id) {
                    room.tell_all(&frame::presence(&room_id, total));
                }
            }
            BusEvent::Typing(room, typing) => {
                if let Some(room) = self.room(&room) {
                    room.tell_all(&typing.into());
                }
            }
            BusEvent::Hydrated(room) => {
                if let Some(room) = self.room(&room) {
                    room.was_hydrated();
                }
            }
            BusEvent::Resumed => {
                for room in self.rooms().values() {
                    if room.begin_catch_up() {
                        self.catch_up(Arc::clone(room));
                    }
                }
            }
        }
    }

    /// Reads a room's log from the last delivered message on, until it is level with what is heard.
    fn catch_up(&self, room: Arc<Room>) {
        let hub = self.clone();
        tokio::spawn(async move {
            let Ok(_permit) = hub.inner.catch_ups.acquire().await else {
                return;
            };
            metrics::counter!("rhubarb_catch_ups_total").increment(1);
            while let Some(after) = room.catching_up_from() {
                let range = IdRange {
                    after,
                    to: MessageId::MAX,
                };
                match hub.inner.chat.log.range(&room.id, range).await {
                    Ok(entries) => room.fill(after, &entries),
                    Err(error) => {
                        tracing::warn!(error = %Chain(&error), room.id = %room.id, "cannot fill a hole; trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        });
    }
}

impl Room {
    fn new(id: &RoomId) -> Arc<Self> {
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

    /// Gives a joiner its history, then what was delivered meanwhile, then all that comes.
    pub(crate) fn go_live(&self, connection: ConnectionId, history: Utf8Bytes, opened: &Opened) {
        let mut state = self.state();
        // The first to read the log tells where the room stands; a cold one does not know.
        if opened.warm || opened.top > MessageId::ZERO {
            state.last.get_or_insert(opened.top);
        }
        let Some(member) = state.members.get_mut(&connection) else {
            return;
        };
        member.seen = opened.top;
        member.incomplete = !opened.warm;
        member.outbox.push(history);
        for (id, frame) in member.joining.take().unwrap_or_default() {
            if id > member.seen {
                member.outbox.push(frame);
            }
        }
    }

    /// Delivers a message that was heard. True if it shows a hole: the log is to be read.
    fn hear(&self, entry: Entry) -> bool {
        let mut state = self.state();
        if let Some(meanwhile) = &mut state.catching_up {
            meanwhile.push(entry);
            return false;
        }
        match state.last {
            Some(last) if entry.id <= last => false, // heard twice
            Some(last) if entry.prev != last => {
                state.catching_up = Some(vec![entry]);
                true
            }
            _ => {
                self.deliver(&mut state, &entry);
                false
            }
        }
    }

    /// Begins to catch up, unless that is under way or nothing was delivered yet.
    fn begin_catch_up(&self) -> bool {
        let mut state = self.state();
        if state.catching_up.is_some() || state.last.is_none() {
            return false;
        }
        state.catching_up = Some(Vec::new());
        true
    }

    /// From where the log is to be read; none if the room is level.
    fn catching_up_from(&self) -> Option<MessageId> {
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
    fn fill(&self, after: MessageId, entries: &[Entry]) {
        let mut state = self.state();
        let meanwhile = state.catching_up.take().unwrap_or_default();
        let mut last = after;
        let mut hole = false;
        for entry in entries.iter().chain(&meanwhile) {
            if entry.id > last {
                hole |= entry.prev != last;
                last = entry.id;
            }
        }
        if hole {
            let reset = frame::reset(&self.id, "messages were missed that are no longer at hand");
            for member in state.members.values() {
                member.outbox.push(reset.clone());
            }
        }
        for entry in entries.iter().chain(&meanwhile) {
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
            if let Some(kept_back) = &mut member.joining {
                kept_back.push((entry.id, frame.clone()));
            } else if entry.id > member.seen {
                member.outbox.push(frame.clone());
                copies += 1;
            }
        }
        metrics::counter!("rhubarb_delivered_total").increment(copies);
    }

    /// Tells all members something that is not a message.
    fn tell_all(&self, frame: &Utf8Bytes) {
        for member in self.state().members.values() {
            if member.joining.is_none() {
                member.outbox.push(frame.clone());
            }
        }
    }

    /// The log is complete: whoever waits for it reads it; whoever got less reloads.
    fn was_hydrated(&self) {
        self.hydrated.notify_waiters();
        let reset = frame::reset(&self.id, "the room's history is at hand now");
        for member in self.state().members.values_mut() {
            if std::mem::take(&mut member.incomplete) {
                member.outbox.push(reset.clone());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
