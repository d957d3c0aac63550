//! A room against a model of its world: a log that is appended to, trimmed and completed, a subscription
//! that is lost and comes back, and clients that believe what they are told. Every order of steps must
//! leave each client with the room's messages, without a gap or a double, or told to reload.

use std::{collections::VecDeque, sync::Arc};

use common::{
    chat::{Entry, log::Opened},
    id::MessageId,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use crate::{frame, hub::ConnectionId, outbox::Outbox, room::Room, room_test::entry};

/// What is on its way from Redis to the room.
enum Event {
    Message(Entry),
    Hydrated,
    Resumed,
}

/// Reading the log because something was missed.
enum Reading {
    Begun,
    Read(Vec<Entry>),
}

enum Joining {
    Entered,
    Opened(Opened),
}

/// One client and its connection.
struct Client {
    connection: ConnectionId,
    outbox: Arc<Outbox>,
    joining: Option<Joining>,
    /// The ids that it shows; none before its first history and when it was told to reload.
    shows: Option<Vec<i64>>,
    /// Whether it was told that its history is complete.
    complete: bool,
    /// Whether it was too slow, and was told from where to resume.
    resumes: bool,
}

struct World {
    room: Arc<Room>,
    clients: Vec<Client>,
    /// All that is in Redis; a cold room lacks what is in the archive only.
    log: Vec<Entry>,
    archived: Vec<Entry>,
    top: i64,
    clock: i64,
    warm: bool,
    /// Whether the log has everything since the start: then nobody need reload.
    whole: bool,
    subscribed: bool,
    events: VecDeque<Event>,
    reading: Option<Reading>,
}

/// Steps without those in which a client reads what it was sent.
const STEPS: u8 = 10;

impl World {
    /// Each client has an outbox for so many bytes of messages.
    fn new(clients: u64, cold: bool, bound: usize) -> Self {
        let archived = vec![entry(1, 0), entry(2, 1), entry(3, 2)];
        let room = Room::new(&"lobby".parse().unwrap());
        // A room without members is none: somebody is always in it.
        let enter = |number| {
            let (connection, outbox) =
                (ConnectionId(number), Arc::new(Outbox::for_messages(bound)));
            room.enter(connection, &outbox);
            Client {
                connection,
                outbox,
                joining: Some(Joining::Entered),
                shows: None,
                complete: false,
                resumes: false,
            }
        };
        let clients = (0..clients).map(enter).collect();
        Self {
            room,
            clients,
            log: if cold { Vec::new() } else { archived.clone() },
            archived,
            top: if cold { 0 } else { 3 },
            clock: 3,
            warm: !cold,
            whole: !cold,
            subscribed: true,
            events: VecDeque::new(),
            reading: None,
        }
    }

    fn step(&mut self, step: u8) {
        match step {
            0 => self.append(),
            1 => self.hear(),
            2 => self.subscribed = false,
            3 => self.resubscribe(),
            4 => self.read(),
            5 => self.hydrate(),
            6 => self.trim(),
            7..STEPS => self.join(usize::from(step - 7) % self.clients.len()),
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
        self.publish(Event::Message(entry));
    }

    fn hear(&mut self) {
        let begun = match self.events.pop_front() {
            Some(Event::Message(entry)) => self.room.hear(entry),
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
                    let newer = self.log.iter().filter(|entry| entry.id > after);
                    self.reading = Some(Reading::Read(newer.cloned().collect()));
                }
            }
            Some(Reading::Read(entries)) => {
                self.room.fill(&entries);
                self.reading = Some(Reading::Begun);
                if self.room.catching_up_from().is_none() {
                    self.reading = None;
                }
            }
            None => {}
        }
    }

    fn hydrate(&mut self) {
        if !self.warm {
            self.warm = true;
            let newer = std::mem::replace(&mut self.log, self.archived.clone());
            self.log.extend(newer);
            self.top = self.top.max(3);
            self.publish(Event::Hydrated);
        }
    }

    /// A flush leaves the newest message only.
    fn trim(&mut self) {
        if self.warm && self.log.len() > 1 {
            self.whole = false;
            self.log.drain(..self.log.len() - 1);
        }
    }

    fn join(&mut self, client: usize) {
        let Client {
            connection,
            outbox,
            joining,
            ..
        } = &mut self.clients[client];
        *joining = match joining.take() {
            None => {
                self.room.enter(*connection, outbox);
                Some(Joining::Entered)
            }
            Some(Joining::Entered) => Some(Joining::Opened(Opened {
                warm: self.warm,
                hydrated_from: MessageId::ZERO,
                top: MessageId(self.top),
                members: 1,
                complete: self.warm,
                more: true,
                entries: self.log.clone(),
            })),
            Some(Joining::Opened(opened)) => {
                let history = frame::joined(&None, self.room.id(), &opened);
                let live = self.room.go_live(*connection, history, &opened);
                (!live).then_some(Joining::Entered)
            }
        };
    }

    /// Lets everything that is under way end.
    fn settle(&mut self) {
        self.resubscribe();
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
    fn check(&mut self) {
        self.settle();
        self.believe();
        for client in 0..self.clients.len() {
            let Client { shows, resumes, .. } = &self.clients[client];
            if shows.is_none() {
                assert!(
                    *resumes || !self.whole,
                    "it reloads what could have been filled"
                );
                self.join(client);
            }
        }
        self.settle();
        self.believe();
        for client in &self.clients {
            let shows = client.shows.as_ref().expect("a history");
            assert_eq!(shows.last().copied().unwrap_or(0), self.top, "the newest");
            assert!(
                client.complete || !self.warm,
                "it was not told that the room is complete"
            );
        }
    }
}

impl Client {
    fn read(&mut self) {
        for frame in self.outbox.take() {
            self.take(&frame);
        }
    }

    fn take(&mut self, frame: &str) {
        let frame: Value = serde_json::from_str(frame).unwrap();
        let payload = &frame["payload"];
        let id = |of: &Value| of.as_i64().unwrap();
        match frame["type"].as_str().unwrap() {
            "joined" => {
                let messages = payload["messages"].as_array().unwrap();
                let ids = messages.iter().map(|message| id(&message["messageId"]));
                self.shows = Some(ids.collect());
                self.complete = payload["complete"].as_bool().unwrap();
                self.resumes = false;
            }
            "message" => {
                let Some(shows) = &mut self.shows else { return };
                let last = shows.last().copied().unwrap_or(0);
                assert_eq!(id(&payload["prev"]), last, "a hole or a double");
                shows.push(id(&payload["messageId"]));
            }
            "reset" => {
                let shows = self.shows.take().expect("told to reload twice, or nothing");
                if let Some(since) = payload["since"].as_i64() {
                    assert_eq!(since, shows.last().copied().unwrap_or(0), "what it has");
                    self.resumes = true;
                }
            }
            other => panic!("{other} was not expected"),
        }
    }
}

fn run(steps: &[u8], clients: u64, cold: bool, bound: usize) {
    let mut world = World::new(clients, cold, bound);
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for step in steps {
            world.step(*step);
        }
        world.check();
    }));
    assert!(
        told.is_ok(),
        "steps {steps:?}, cold: {cold}, bound: {bound}"
    );
}

/// One client that is about to read the log, or is live already: then every order of a few steps.
#[test]
fn every_short_order_of_steps_leaves_no_gap_and_no_double() {
    const LENGTH: u32 = 5;
    let steps = u32::from(STEPS - 1);
    for number in 0..steps.pow(LENGTH) {
        let step = |at| u8::try_from(number / steps.pow(at) % steps).unwrap();
        let tail = (0..LENGTH).map(step);
        for head in [&[][..], &[7, 7]] {
            let order: Vec<u8> = head.iter().copied().chain(tail.clone()).collect();
            run(&order, 1, true, usize::MAX);
            run(&order, 1, false, usize::MAX);
        }
    }
}

#[test]
fn long_random_orders_of_steps_leave_no_gap_and_no_double() {
    for seed in 0..10_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let steps: Vec<u8> = (0..60).map(|_| random.random_range(0..STEPS)).collect();
        run(&steps, 3, seed % 2 == 0, usize::MAX);
    }
}

/// As above, with clients that read now and then, and room for a few messages.
#[test]
fn long_random_orders_of_steps_leave_slow_readers_no_gap_and_no_double() {
    for seed in 0..5_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let steps: Vec<u8> = (0..80).map(|_| random.random_range(0..STEPS + 3)).collect();
        run(
            &steps,
            3,
            seed % 2 == 0,
            500 + usize::try_from(seed % 7).unwrap() * 300,
        );
    }
}
