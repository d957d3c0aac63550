//! The bus: one subscription connection per server. It hears every room that the server has members in.
//!
//! Redis's publications are at most once: whoever is not subscribed at that moment misses them. So a
//! lost connection is not mended silently: after the new one has subscribed to all rooms again,
//! [`BusEvent::Resumed`] tells the hub to read each room's log from where it was.

use tokio::sync::mpsc;

use super::Entry;
use crate::{
    id::{MessageId, RoomId},
    kv::{
        Keys, Redis,
        subscription::{Heard, Subscription},
    },
};

/// What is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusEvent {
    /// Messages were appended, in this order.
    Messages(RoomId, Vec<Entry>),
    /// So many members are in the room.
    Members(RoomId, u64),
    /// The room's log is complete now.
    Hydrated(RoomId),
    /// The room is in the archive up to an id.
    Archived(RoomId, MessageId),
    /// Somebody types: a ready frame.
    Typing(RoomId, String),
    /// The connection was lost and is back: anything may have been missed.
    Resumed,
}

/// The bus as its users hold it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    keys: Keys,
    subscription: Subscription,
}

impl Bus {
    /// Connects and listens, for as long as a clone of the bus is held.
    pub fn start(redis: Redis, keys: Keys) -> (Self, mpsc::UnboundedReceiver<BusEvent>) {
        let (tell, events) = mpsc::unbounded_channel();
        let prefix = format!("{}room:", keys.prefix());
        let subscription = Subscription::start(redis, move |heard| {
            let event = match heard {
                Heard::Message { channel, payload } => read(&prefix, channel, payload),
                Heard::Resumed => Some(BusEvent::Resumed),
            };
            if let Some(event) = event {
                let _ = tell.send(event);
            }
        });
        (Self { keys, subscription }, events)
    }

    /// Subscribes to a room. When this returns true, every later publication is heard; false if Redis
    /// could not be reached in time (it is subscribed to as soon as it can).
    pub async fn subscribe(&self, room: &RoomId) -> bool {
        self.subscription.subscribe(self.keys.live(room)).await
    }

    /// Whether the subscription connection works now.
    pub fn is_hearing(&self) -> bool {
        self.subscription.is_hearing()
    }

    /// Stops listening to a room.
    pub fn unsubscribe(&self, room: &RoomId) {
        self.subscription.unsubscribe(self.keys.live(room));
    }
}

/// What a publication on a room's channel tells.
fn read(prefix: &str, channel: &str, payload: &[u8]) -> Option<BusEvent> {
    let room = channel.strip_prefix(prefix)?.strip_suffix(":live")?;
    let room: RoomId = room.parse().ok()?;
    let text = std::str::from_utf8(payload).ok()?;
    let event = match (text.as_bytes().first()?, text.get(2..)) {
        (b'm' | b'n', Some(entries)) => {
            let entries: Option<_> = entries.split('\n').map(Entry::parse).collect();
            BusEvent::Messages(room, entries?)
        }
        (b'p', Some(total)) => BusEvent::Members(room, total.parse().ok()?),
        (b't', Some(frame)) => BusEvent::Typing(room, frame.to_owned()),
        (b'w', Some(id)) => BusEvent::Archived(room, id.parse().ok()?),
        (b'h', _) => BusEvent::Hydrated(room),
        _ => return None,
    };
    Some(event)
}
