//! Premium rooms: those with a premium person in them are marked in Redis, so that their jobs go before
//! others'. Here is kept when each was marked last, so that not every message does it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::{chat::Chat, error::Chain, id::RoomId};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::person::{Person, Tier};

/// As many rooms are kept before it is first looked for those that can be forgotten.
const FEW: usize = 1024;

/// Marks rooms. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Premium(Arc<Mutex<Marked>>);

#[derive(Debug, Default)]
struct Marked {
    /// When each room was marked last.
    rooms: HashMap<RoomId, Instant>,
    look_at: usize,
}

impl Premium {
    /// Marks a room if a premium person is in it, unless that was done lately. Call it before what may ask for
    /// a job. A failure is not told: the room's jobs only take their turn then.
    pub(crate) async fn mark(&self, chat: &Chat, person: &Person, room: &RoomId) {
        if person.tier != Tier::Premium {
            return;
        }
        let again = chat.settings.premium_for / 10;
        if !self.is_due(room, again, Instant::now()) {
            return;
        }
        if let Err(error) = chat.mark_premium(room).await {
            tracing::warn!(error = %Chain(&error), room.id = %room, "cannot mark a room as premium");
            self.marked().rooms.remove(room);
        }
    }

    /// As [`Self::mark`], each of these rooms once, and all together: while Redis is away each takes its time.
    pub(crate) async fn mark_all(
        &self,
        chat: &Chat,
        person: &Person,
        rooms: impl Iterator<Item = &RoomId>,
    ) {
        if person.tier == Tier::Premium {
            let rooms: HashSet<_> = rooms.collect();
            join_all(rooms.into_iter().map(|room| self.mark(chat, person, room))).await;
        }
    }

    /// Whether a room is to be marked now; then it counts as marked.
    fn is_due(&self, room: &RoomId, again: Duration, now: Instant) -> bool {
        let mut marked = self.marked();
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < again;
        if marked.rooms.get(room).is_some_and(is_fresh) {
            return false;
        }
        if marked.rooms.len() >= marked.look_at.max(FEW) {
            marked.rooms.retain(|_, at| is_fresh(at));
            marked.look_at = marked.rooms.len() * 2;
        }
        marked.rooms.insert(room.clone(), now);
        true
    }

    fn marked(&self) -> std::sync::MutexGuard<'_, Marked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_marked_now_and_then() {
        let premium = Premium::default();
        let (room, now) = ("lounge".parse().unwrap(), Instant::now());
        let due = |seconds| {
            let now = now + Duration::from_secs(seconds);
            premium.is_due(&room, Duration::from_secs(60), now)
        };

        assert!(due(0));
        assert!(!due(1) && !due(59));
        assert!(due(60) && !due(61));
    }
}
