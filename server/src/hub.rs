//! The hub: this process's connections by [`Room`]. It brings each room what the bus hears of it, and
//! reads a room's log where something was missed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    chat::{
        Chat, Entry,
        archived::Waits,
        bus::{Bus, BusEvent},
        history::HistoryError,
    },
    error::Chain,
    id::{MessageId, RoomId},
    kv::KvError,
};
use tokio::{
    net::tcp::OwnedWriteHalf,
    sync::{Semaphore, mpsc},
    time::Instant,
};

use crate::{
    alarm::until,
    frame,
    history::READ,
    outbox::Outbox,
    room::{Read, Room},
    writer::Writers,
};

/// After a failed read of a room's log.
const RETRY: Duration = Duration::from_millis(250);
/// After how long a room's members hear how many they are: where people come by several servers, each of these tells.
const GATHER: Duration = Duration::from_millis(25);
/// Rooms whose logs are read at once after the subscription was lost.
const CATCH_UPS: usize = 64;
/// Events that are heard before other tasks of the thread have their turn.
const EVENTS: usize = 256;

/// One connection, in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// All rooms with a member here. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rooms: Mutex<HashMap<RoomId, Arc<Room>>>,
    next_connection: AtomicU64,
    next_outbox: AtomicUsize,
    /// Members of all rooms.
    members: AtomicUsize,
    chat: Chat,
    bus: Bus,
    waits: Waits,
    catch_ups: Semaphore,
    writers: Writers,
    /// Rooms whose number of local members is to be told: it has changed, or what was told was not heard here.
    changed: mpsc::UnboundedSender<RoomId>,
}

/// How many members rooms have by what was heard last, to be told.
#[derive(Debug, Default)]
struct Counts {
    by_room: HashMap<RoomId, u64>,
    due: Option<Instant>,
}

impl Counts {
    fn hear(&mut self, room: RoomId, total: u64) {
        self.by_room.insert(room, total);
        self.due.get_or_insert_with(|| Instant::now() + GATHER);
    }
}

impl Hub {
    /// A hub that delivers what the bus hears. `changed` gets each room whose number of local members
    /// is to be told.
    pub(crate) fn start(
        chat: Chat,
        bus: Bus,
        waits: Waits,
        mut events: mpsc::UnboundedReceiver<BusEvent>,
        changed: mpsc::UnboundedSender<RoomId>,
    ) -> Self {
        let inner = Inner {
            rooms: Mutex::default(),
            next_connection: AtomicU64::new(1),
            next_outbox: AtomicUsize::new(0),
            members: AtomicUsize::new(0),
            chat,
            bus,
            waits,
            catch_ups: Semaphore::new(CATCH_UPS),
            writers: Writers::start(),
            changed,
        };
        let hub = Self {
            inner: Arc::new(inner),
        };
        let listening = hub.clone();
        tokio::spawn(async move {
            let (mut heard, mut counts) = (Vec::with_capacity(EVENTS), Counts::default());
            loop {
                tokio::select! {
                    events = events.recv_many(&mut heard, EVENTS) => if events == 0 { return },
                    () = until(counts.due) => listening.tell(&mut counts),
                }
                for event in heard.drain(..) {
                    listening.hear(event, &mut counts);
                }
            }
        });
        hub
    }

    /// A number for a connection.
    pub(crate) fn connection(&self) -> ConnectionId {
        ConnectionId(self.inner.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// An outbox for a connection, emptied into its socket by one of the writers.
    pub(crate) fn outbox(&self, bound: usize, socket: OwnedWriteHalf) -> Arc<Outbox> {
        let number = self.inner.next_outbox.fetch_add(1, Ordering::Relaxed);
        Arc::new(Outbox::to_socket(
            bound,
            socket,
            self.inner.writers.of(number),
        ))
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
        if room.enter(connection, outbox) {
            self.inner.members.fetch_add(1, Ordering::Relaxed);
            let _ = self.inner.changed.send(room_id.clone());
        }
        Arc::clone(room)
    }

    /// Makes sure that a room is subscribed to: from then on its members miss nothing. False if Redis
    /// cannot be reached now.
    pub(crate) async fn subscribe(&self, room: &Room) -> bool {
        let mut subscribed = room.subscribed.lock().await;
        if !*subscribed {
            *subscribed = self.inner.bus.subscribe(room.id()).await;
            // How many members there are may have been told before, to nobody here; what is still on its
            // way from an earlier subscription is out of date.
            let _ = self.inner.changed.send(room.id().clone());
        }
        *subscribed
    }

    /// Takes a connection out of a room.
    pub(crate) fn leave(&self, room_id: &RoomId, connection: ConnectionId) {
        let mut rooms = self.rooms();
        let Some(room) = rooms.get(room_id) else {
            return;
        };
        if !room.leave(connection) {
            return;
        }
        self.inner.members.fetch_sub(1, Ordering::Relaxed);
        if room.members() == 0 {
            rooms.remove(room_id);
            self.inner.bus.unsubscribe(room_id);
        }
        let _ = self.inner.changed.send(room_id.clone());
    }

    /// Whether rooms are heard now.
    pub(crate) fn is_hearing(&self) -> bool {
        self.inner.bus.is_hearing()
    }

    /// How many members of a room are connected here.
    pub(crate) fn members(&self, room_id: &RoomId) -> usize {
        self.rooms().get(room_id).map_or(0, |room| room.members())
    }

    /// How many rooms have a member here.
    pub(crate) fn count(&self) -> usize {
        self.rooms().len()
    }

    /// How many members all rooms have here.
    pub(crate) fn count_members(&self) -> usize {
        self.inner.members.load(Ordering::Relaxed)
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

    /// Tells the members of rooms how many they are, of so many rooms as events are heard in one go.
    fn tell(&self, counts: &mut Counts) {
        let rooms = counts.by_room.extract_if(|_, _| true).take(EVENTS);
        for (room_id, total) in rooms {
            if let Some(room) = self.room(&room_id) {
                // Who came since this was heard knows of itself, and would see the number fall.
                let total = total.max(room.members() as u64);
                room.tell_presence(&frame::presence(&room_id, total));
            }
        }
        if counts.by_room.is_empty() {
            counts.due = None;
        }
    }

    fn hear(&self, event: BusEvent, counts: &mut Counts) {
        match event {
            BusEvent::Messages(room, entries) => {
                if let Some(room) = self.room(&room)
                    && room.hear(entries)
                {
                    self.catch_up(room);
                }
            }
            BusEvent::Members(room, total) => counts.hear(room, total),
            BusEvent::Typing(room, typing) => {
                if let Some(room) = self.room(&room) {
                    room.tell_typing(&typing);
                }
            }
            BusEvent::Archived(room, _) => self.inner.waits.heard(&room),
            BusEvent::Hydrated(room) => {
                if let Some(room) = self.room(&room) {
                    room.was_hydrated();
                }
            }
            BusEvent::Resumed => {
                for room in self.rooms().values() {
                    // How many members there are may be among what was missed, too.
                    let _ = self.inner.changed.send(room.id().clone());
                    if room.resume() {
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
                match hub.missed(room.id(), after).await {
                    Ok(entries) if entries.is_empty() && hub.has_lost(room.id(), after).await => {
                        room.was_lost();
                        room.fill(&[], Read::All);
                    }
                    Ok(entries) if entries.len() < READ => room.fill(&entries, Read::All),
                    Ok(entries) => room.fill(&entries, Read::Part),
                    Err(error) => {
                        tracing::warn!(error = %Chain(&error), room.id = %room.id(), "cannot fill a hole; trying again");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        });
    }

    /// Whether Redis came back without a message that members have seen: emptied, or from a copy that lacks the end.
    async fn has_lost(&self, room: &RoomId, seen: MessageId) -> bool {
        let now = self.inner.chat.log.look(room).await;
        now.is_ok_and(|now| now.top < seen)
    }

    /// Messages after an id, as many as are read at once. If the archive is needed and away, what the log
    /// has: the members are told of the hole.
    async fn missed(&self, room: &RoomId, after: MessageId) -> Result<Vec<Entry>, KvError> {
        let chat = &self.inner.chat;
        match chat.newer(room, after, READ).await {
            Ok(entries) => Ok(entries),
            Err(HistoryError::Redis(error)) => Err(error),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), room.id = %room, "cannot fill a hole from the archive");
                Ok(chat.log.after(room, after, READ).await?.0)
            }
        }
    }
}
