//! What was posted and not acknowledged yet: it is sent again, under the same own id, until it is.

use std::time::Instant;

use crate::ask::Deed;

/// Something that waits for its acknowledgement.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) room: String,
    pub(crate) client_id: String,
    pub(crate) deed: Deed,
    /// Whether it was sent over the connection that is open.
    pub(crate) is_sent: bool,
    /// Not before this.
    pub(crate) not_before: Option<Instant>,
}

/// All of it, in the order in which it was posted.
#[derive(Debug, Default)]
pub(crate) struct Unacked(Vec<Pending>);

impl Unacked {
    pub(crate) fn push(&mut self, room: &str, client_id: &str, deed: Deed) {
        self.0.push(Pending {
            room: room.to_owned(),
            client_id: client_id.to_owned(),
            deed,
            is_sent: false,
            not_before: None,
        });
    }

    /// The connection is gone: all is to be sent again.
    pub(crate) fn unsend(&mut self) {
        self.0.iter_mut().for_each(|pending| {
            pending.is_sent = false;
            pending.not_before = None;
        });
    }

    /// It was acknowledged or refused for good. None if it was so before.
    pub(crate) fn remove(&mut self, room: &str, client_id: &str) -> Option<Pending> {
        let is_it = |pending: &Pending| pending.client_id == client_id && pending.room == room;
        let at = self.0.iter().position(is_it)?;
        Some(self.0.remove(at))
    }

    /// It is to be sent again, not before this.
    pub(crate) fn delay(&mut self, room: &str, client_id: &str, until: Option<Instant>) {
        let of_it = |pending: &&mut Pending| pending.client_id == client_id && pending.room == room;
        if let Some(pending) = self.0.iter_mut().find(of_it) {
            pending.is_sent = false;
            pending.not_before = until;
        }
    }

    /// What is to be sent.
    pub(crate) fn unsent(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.0.iter_mut().filter(|pending| !pending.is_sent)
    }

    /// All.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.0.iter()
    }
}
