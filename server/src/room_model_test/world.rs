//! The world around a room, and its steps.

use std::{collections::VecDeque, sync::Arc};

use common::{
    chat::{Entry, log::Opened},
    id::MessageId,
};

use super::client::Client;
use crate::{
    frame,
    history::Part,
    hub::ConnectionId,
    outbox::Outbox,
    room::{History, Read, Room},
    room_test::{entry, opened, part},
};

/// What is on its way from Redis to the room.
pub(super) enum Event {
    Messages(Vec<Entry>),
    Hydrated,
    Resumed,
}

/// Reading the log because something was missed.
enum Reading {
    Begun,
    Read(Vec<Entry>),
}

/// As `joining.rs` does it, step by step.
pub(super) enum Joining {
    /// With what was shown up to now, if the client was answered, and whether that is whole.
    Entered(Option<(i64, bool)>),
    Reading {
        opened: Opened,
        at: i64,
        shown: Option<(i64, bool)>,
    },
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the world"
)]
pub(super) struct World {
    room: Arc<Room>,
    clients: Vec<Client>,
    /// All that is in Redis; a cold room lacks what is in the archive only.
    log: Vec<Entry>,
    /// What was in the archive before, and all that was said.
    timeline: Vec<Entry>,
    top: i64,
    clock: i64,
    warm: bool,
    archive_is_away: bool,
    /// Whether everything could be read at any time: then nobody need reload.
    all_at_hand: bool,
    subscribed: bool,
    events: VecDeque<Event>,
    reading: Option<Reading>,
}

/// Steps without those in which a client reads what it was sent.
pub(super) const STEPS: u8 = 11;
/// The newest message that is in the archive alone.
const ARCHIVED: i64 = 3;
/// Messages that are read at once.
const READ: usize = 2;

impl World {
    /// Each client has an outbox for so many bytes of messages.
    pub(super) fn new(clients: u64, cold: bool, bound: usize) -> Self {
        let timeline = vec![entry(1, 0), entry(2, 1), entry(3, 2)];
        let room = Room::new(&"lobby".parse().unwrap());
        // A room without members is none: somebody is always in it.
        let enter = |number| {
            let (connection, outbox) =
                (ConnectionId(number), Arc::new(Outbox::for_messages(bound)));
            room.enter(connection, &outbox);
            Client {
                connection,
                outbox,
                joining: Some(Joining::Entered(None)),
                shows: None,
                complete: false,
                resumes: false,
                continues: false,
                top: 0,
                last: 0,
            }
        };
        let clients = (0..clients).map(enter).collect();
        Self {
            room,
            clients,
            log: if cold { Vec::new() } else { timeline.clone() },
            timeline,
            top: if cold { 0 } else { ARCHIVED },
            clock: ARCHIVED,
            warm: !cold,
            archive_is_away: false,
            all_at_hand: true,
            subscribed: true,
            events: VecDeque::new(),
            reading: None,
        }
    }

    pub(super) fn step(&mut self, step: u8) {
        match step {
            0 => self.append(),
            1 => self.hear(),
            2 => self.subscribed = false,
            3 => self.resubscribe(),
            4 => self.read(),
            5 => self.hydrate(),
            6 => self.trim(),
            7 => self.turn_archive(),
            8..STEPS => self.join(usize::from(step - 8) % self.clients.len()),
            _ => {
                let client = usize::from(step - STEPS) % self.clients.len();
                self.clients[client].read();
            }
        }
    }

    fn publish(&mut self, event: Event) {
        if self.subscribed {
            self.events.push_back(event);
        }
    }

    fn append(&mut self) {
        self.clock += 1;
        let entry = entry(self.clock, self.top);
        self.top = self.clock;
        self.log.push(entry.clone());
        self.timeline.push(entry.clone());
        // What is appended together is published together.
        match self.events.back_mut() {
            Some(Event::Messages(run)) if self.subscribed && self.clock % 3 != 0 => run.push(entry),
            _ => self.publish(Event::Messages(vec![entry])),
        }
    }

    fn hear(&mut self) {
        let begun = match self.events.pop_front() {
            Some(Event::Messages(entries)) => self.room.hear(entries),
            Some(Event::Resumed) => self.room.resume(),
            Some(Event::Hydrated) => {
                self.room.was_hydrated();
                false
            }
            None => false,
        };
        if begun {
            assert!(self.reading.is_none(), "the log is read twice at once");
            self.reading = Some(Reading::Begun);
        }
    }

    fn resubscribe(&mut self) {
        if !self.subscribed {
            self.subscribed = true;
            self.events.push_back(Event::Resumed);
        }
    }

    /// As `Hub::catch_up` does.
    fn read(&mut self) {
        match self.reading.take() {
            Some(Reading::Begun) => {
                if let Some(after) = self.room.catching_up_from() {
                    let newer = self
                        .newer(after.0)
                        .unwrap_or_else(|| self.newer_in_log(after.0));
                    self.reading = Some(Reading::Read(newer));
                }
            }
            Some(Reading::Read(entries)) => {
                let all = entries.len() < READ;
                let read = if all { Read::All } else { Read::Part };
                self.room.fill(&entries, read);
                self.reading = Some(Reading::Begun);
                if self.room.catching_up_from().is_none() {
                    self.reading = None;
                }
            }
            None => {}
        }
    }

    /// As `Chat::newer`: none if the archive is needed and away.
    fn newer(&self, after: i64) -> Option<Vec<Entry>> {
        let first = self.log.first();
        let reaches = first.is_some_and(|first| first.id.0 <= after + 1 || first.prev.0 == after);
        if self.warm && (reaches || after >= self.top) {
            return Some(self.newer_in_log(after));
        }
        let newer = self.timeline.iter().filter(|entry| entry.id.0 > after);
        (!self.archive_is_away).then(|| newer.take(READ).cloned().collect())
    }

    fn newer_in_log(&self, after: i64) -> Vec<Entry> {
        let newer = self.log.iter().filter(|entry| entry.id.0 > after);
        newer.take(READ).cloned().collect()
    }

    fn hydrate(&mut self) {
        if !self.warm {
            self.warm = true;
            self.log = self.timeline.clone();
            self.top = self.top.max(ARCHIVED);
            self.publish(Event::Hydrated);
        }
    }

    /// A flush leaves the newest message only.
    fn trim(&mut self) {
        if self.warm && self.log.len() > 1 {
            self.log.drain(..self.log.len() - 1);
        }
    }

    fn turn_archive(&mut self) {
        self.archive_is_away ^= true;
        self.all_at_hand = false;
    }

    fn join(&mut self, client: usize) {
        let joining = self.clients[client].joining.take();
        let next = match joining {
            None => {
                let Client {
                    connection, outbox, ..
                } = &self.clients[client];
                self.room.enter(*connection, outbox);
                Some(Joining::Entered(None))
            }
            Some(Joining::Entered(shown)) => self.look(client, shown),
            Some(Joining::Reading { opened, at, shown }) => self.show(client, opened, at, shown),
        };
        self.clients[client].joining = next;
    }

    /// As `Joining::open`.
    fn look(&mut self, client: usize, shown: Option<(i64, bool)>) -> Option<Joining> {
        let whole = self.warm || !self.archive_is_away;
        if whole {
            self.top = self.top.max(ARCHIVED); // a cold room is told what it ends with
        }
        let opened = opened(self.top, self.warm, whole);
        let first = self.log.first().map_or(0, |first| first.id.0 - 1);
        match shown {
            None => Some(Joining::Reading {
                opened,
                at: if whole && !self.warm { 0 } else { first },
                shown,
            }),
            Some((at, true)) if whole && (at >= first || !self.archive_is_away) => {
                Some(Joining::Reading { opened, at, shown })
            }
            Some(_) => self.give_up(client),
        }
    }

    /// As `Joining::show`, one part.
    fn show(
        &mut self,
        client: usize,
        opened: Opened,
        at: i64,
        shown: Option<(i64, bool)>,
    ) -> Option<Joining> {
        let read = if opened.whole {
            self.newer(at)
        } else {
            Some(self.newer_in_log(at))
        };
        let Some(entries) = read else {
            return match shown {
                None => Some(Joining::Entered(None)), // it asks again
                Some(_) => self.give_up(client),
            };
        };
        let Client {
            connection, outbox, ..
        } = &self.clients[client];
        let at = entries.last().map_or(at, |last| last.id.0);
        let continues = !entries.is_empty() && at < opened.top.0;
        let part = part(&entries);
        let frame = match shown {
            None => frame::joined(&None, self.room.id(), &opened, &part, continues, None),
            Some(_) => frame::history(self.room.id(), &part, continues),
        };
        if continues {
            outbox.push(frame);
            let shown = Some((at, opened.whole));
            return Some(Joining::Reading { opened, at, shown });
        }
        let history = History {
            last_frame: frame,
            seen: MessageId(at.max(opened.top.0)),
            whole: opened.whole,
        };
        let live = self.room.go_live(*connection, history);
        (!live).then_some(Joining::Entered(shown))
    }

    fn give_up(&mut self, client: usize) -> Option<Joining> {
        let connection = self.clients[client].connection;
        let end = frame::history(self.room.id(), &Part::default(), false);
        self.room
            .go_live_anyway(connection, end, MessageId(self.top));
        self.room.reload(connection, "gone");
        None
    }

    /// Lets everything that is under way end.
    fn settle(&mut self) {
        self.resubscribe();
        self.archive_is_away = false;
        for _ in 0..3 {
            while !self.events.is_empty() || self.reading.is_some() {
                self.hear();
                self.read();
            }
            for client in 0..self.clients.len() {
                while self.clients[client].joining.is_some() {
                    self.join(client);
                }
            }
        }
    }

    /// What each client believes, given what it was sent.
    fn believe(&mut self) {
        for client in &mut self.clients {
            client.read();
        }
    }

    /// The clients that were told to reload do so, and all of them show the room as it is.
    pub(super) fn check(&mut self) {
        self.settle();
        self.believe();
        for client in 0..self.clients.len() {
            let Client { shows, resumes, .. } = &self.clients[client];
            if shows.is_none() {
                assert!(
                    *resumes || !self.all_at_hand,
                    "it reloads what could have been read"
                );
                self.join(client);
            }
        }
        self.settle();
        self.believe();
        for client in &self.clients {
            let shows = client.shows.as_ref().expect("a history");
            assert_eq!(client.last, self.top, "the newest");
            let all = self.timeline.iter().map(|entry| entry.id.0);
            let from = shows.first().copied().unwrap_or(i64::MAX);
            let due: Vec<_> = all.filter(|id| *id >= from).collect();
            assert!(!client.complete || *shows == due, "all from its first on");
            assert!(
                client.complete || !self.warm,
                "it was not told that the room is complete"
            );
        }
    }
}
