//! A guest: one client of the chat, who sends, leaves, comes back, sends again, and reads slowly.
//!
//! It is the client of the crate `client`, but for the socket: when that is cut, and when nobody reads, is
//! decided here. Every frame is noted before the client sees it.

mod deeds;
mod page;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use client::{Address, Connection, Event as Client, Frame, Heard, Message, MessageId, Session};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use self::deeds::Act;
use super::{
    event::{Deed, Event, Key, RoomNumber},
    notes::{Notes, read_asked, read_heard},
    status::Status,
};
use crate::chaos::{
    ledger::{Role, Who},
    seed::Dice,
};

/// What all guests are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Whatever the dice say.
    Storm,
    /// Be in all rooms, and have everything acknowledged.
    Gather,
    /// The same, and whoever loses the connection stays away.
    Stay,
    /// Go.
    Part,
}

/// Where all guests live.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rooms: RoomNumber,
    /// Where the servers listen.
    pub(super) ports: Arc<[u16]>,
    pub(super) notes: Arc<Notes>,
    pub(super) phase: watch::Receiver<Phase>,
    /// Rings when the sockets of this server's clients are cut.
    pub(super) cut: watch::Receiver<(u64, u16)>,
    pub(super) status: Arc<Status>,
}

/// A guest.
#[derive(Debug)]
pub(super) struct Guest {
    number: u16,
    world: World,
    dice: Dice,
    session: Session,
    life: u32,
    next: u32,
    next_long: u32,
    /// Which of its pages comes next.
    pages: u64,
    /// What it has posted does this.
    posted: HashMap<Key, Deed>,
    /// What was acknowledged, to be sent again, or changed.
    kept: Vec<Kept>,
    /// What it saw lately that it may not change.
    others: VecDeque<(RoomNumber, MessageId)>,
    started: Instant,
}

/// What a guest knows to be kept.
#[derive(Debug, Clone, Copy)]
struct Kept {
    room: RoomNumber,
    key: Key,
    id: MessageId,
    deed: Deed,
}

/// So much of what others have said is remembered.
const OTHERS: usize = 20;

/// A server that takes nothing for so long is dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By the server or the network.
    Lost(Option<u16>),
    /// In order.
    Close,
    /// Without a word.
    Cut,
}

impl Guest {
    pub(super) fn new(number: u16, world: World) -> Self {
        Self {
            number,
            dice: Dice::new(world.seed, &[u64::from(number)]),
            world,
            session: Session::new(),
            life: 0,
            next: 0,
            next_long: Key::FLOOD,
            pages: 0,
            posted: HashMap::new(),
            kept: Vec::new(),
            others: VecDeque::new(),
            started: Instant::now(),
        }
    }

    /// Lives until all part.
    pub(super) async fn live(mut self) {
        for room in 0..self.world.rooms {
            if self.dice.below(2) == 0 {
                self.join(room);
            }
        }
        while self.phase() != Phase::Part {
            let server = self.dice.below(self.world.ports.len() as u64);
            let server = u16::try_from(server).unwrap_or(0);
            if let Some(connection) = self.connect(server).await {
                self.speak(connection, server).await;
                if self.phase() == Phase::Stay {
                    break;
                }
            }
            self.rest().await;
        }
    }

    fn phase(&self) -> Phase {
        *self.world.phase.borrow()
    }

    fn who(&self) -> Who {
        Who {
            role: Role::Client,
            slot: self.number,
            life: self.life,
        }
    }

    async fn connect(&mut self, server: u16) -> Option<Connection> {
        let port = self.world.ports[usize::from(server)];
        let user = format!("c{}", self.number);
        let mut address = Address::new(format!("ws://127.0.0.1:{port}/ws")).user(&user, &user);
        // One of three has so small a buffer that the server feels it soon when nobody reads.
        if self.number.is_multiple_of(3) {
            address = address.receive_buffer(4096);
        }
        let connection = Connection::open(&address).await.ok()?;
        self.life += 1;
        self.world.notes.note(self.who(), Event::Opened { server });
        self.session.opened();
        Some(connection)
    }

    /// One connection, to its end.
    async fn speak(&mut self, mut connection: Connection, server: u16) {
        let end = self.exchange(&mut connection, server).await;
        let code = match end {
            End::Lost(code) => code,
            End::Close => {
                connection.close().await;
                None
            }
            End::Cut => None,
        };
        self.world.notes.note(self.who(), Event::Closed { code });
        self.session.closed();
        self.world.status.left(self.number);
    }

    async fn exchange(&mut self, connection: &mut Connection, server: u16) -> End {
        let mut next_deed = Instant::now() + self.pause();
        let mut reads_from = Instant::now();
        let mut away_at: Option<Instant> = None;
        self.world.cut.mark_unchanged();
        loop {
            if self.phase() != Phase::Storm {
                reads_from = Instant::now();
                self.gather();
            }
            for text in self.session.to_send(std::time::Instant::now()) {
                if let Some(event) = read_asked(&text) {
                    self.world.notes.note(self.who(), event);
                }
                if !matches!(timeout(PATIENCE, connection.send(text)).await, Ok(Ok(()))) {
                    return End::Lost(None);
                }
            }
            self.tell_status(server);
            let due = self.session.due().map_or_else(far, Instant::from_std);
            tokio::select! {
                heard = connection.next(), if reads_from <= Instant::now() => match heard {
                    Heard::Text(text) => {
                        let Ok(frame) = Frame::read(&text) else { continue };
                        if let Some(event) = read_heard(&frame) {
                            self.world.notes.note(self.who(), event);
                        }
                        let event = self.session.heard(frame, std::time::Instant::now());
                        if let Some(Client::GoAway(from, to)) = event {
                            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(0);
                            // Some do not listen, and are thrown out.
                            let wait = self.dice.between(ms(from), ms(to));
                            away_at = Some(Instant::now() + Duration::from_millis(wait / 4));
                        } else if let Some(event) = event {
                            self.took(event);
                        }
                    }
                    Heard::Closed(why) => return End::Lost(why.map(|(code, _)| code)),
                    Heard::Gone => return End::Lost(None),
                },
                () = sleep_until(reads_from), if reads_from > Instant::now() => {}
                () = sleep_until(due) => {}
                () = sleep_until(away_at.unwrap_or_else(far)) => return End::Close,
                () = sleep_until(next_deed) => {
                    next_deed = Instant::now() + self.pause();
                    if self.phase() == Phase::Storm {
                        match self.act() {
                            Act::Go(end) => return end,
                            Act::Doze(time) => {
                                self.world.notes.note(self.who(), Event::Slow);
                                reads_from = Instant::now() + time;
                            }
                            Act::Turn(wanted) => {
                                let (port, who) = (self.world.ports[usize::from(server)], self.who());
                                let notes = Arc::clone(&self.world.notes);
                                tokio::spawn(async move { page::turn(port, who, wanted, &notes).await });
                            }
                            Act::Done => {}
                        }
                    }
                }
                changed = self.world.phase.changed() => {
                    if changed.is_err() || self.phase() == Phase::Part {
                        return End::Close;
                    }
                }
                Ok(()) = self.world.cut.changed() => {
                    if self.world.cut.borrow_and_update().1 == server {
                        return End::Cut;
                    }
                }
            }
        }
    }

    /// Without a connection for a while. Now and then all that was seen is forgotten, as by a page that is
    /// loaded anew; what was not acknowledged is kept.
    async fn rest(&mut self) {
        if self.phase() == Phase::Storm && self.dice.below(6) == 0 {
            let rooms: Vec<_> = (0..self.world.rooms)
                .filter(|room| self.is_in(*room))
                .collect();
            for room in rooms {
                self.join(room);
            }
        }
        let ms = match self.phase() {
            Phase::Storm if self.dice.below(4) == 0 => self.dice.between(500, 4_000),
            _ => self.dice.between(0, 150),
        };
        let mut phase = self.world.phase.clone();
        tokio::select! {
            () = sleep(Duration::from_millis(ms)) => {}
            _ = phase.changed() => {}
        }
    }

    /// Takes what the client says.
    fn took(&mut self, event: Client) {
        match event {
            Client::Acked(ack) => {
                let (room, id) = (room_of(&ack.room_id), ack.message_id);
                if let (Some(room), Ok(key)) = (room, ack.client_id.parse())
                    && let Some(deed) = self.posted.remove(&key)
                {
                    self.kept.push(Kept {
                        room,
                        key,
                        id,
                        deed,
                    });
                }
            }
            Client::Joined {
                room,
                resumed,
                members,
                messages,
                ..
            } => {
                let Some(room) = room_of(&room) else { return };
                if !resumed {
                    self.world.status.shows_anew(self.number, room);
                }
                self.sees(room, &messages);
                self.world.status.counts(self.number, room, members);
            }
            Client::History { room, messages, .. } => {
                if let Some(room) = room_of(&room) {
                    self.sees(room, &messages);
                }
            }
            Client::Message { room, message } => {
                if let Some(room) = room_of(&room) {
                    self.sees(room, &[message]);
                }
            }
            Client::Presence { room, members } => {
                if let Some(room) = room_of(&room) {
                    self.world.status.counts(self.number, room, members);
                }
            }
            _ => {}
        }
    }

    fn sees(&mut self, room: RoomNumber, messages: &[Message]) {
        self.world.status.shows(self.number, room, messages);
        let own = format!("c{}", self.number);
        for message in messages {
            let is_change = message.edits.or(message.deletes).is_some();
            if message.user_id != own || is_change {
                self.others.push_back((room, message.message_id));
            }
        }
        let over = self.others.len().saturating_sub(OTHERS);
        self.others.drain(..over);
    }

    fn tell_status(&self, server: u16) {
        let live = (0..self.world.rooms).filter(|room| self.session.is_live(&name(*room)));
        let unacked = self.session.unacked().count();
        self.world
            .status
            .is_at(self.number, server, live.count(), unacked);
    }
}

/// A room's name.
pub(super) fn name(room: RoomNumber) -> String {
    format!("r{room}")
}

/// The room of a name.
pub(super) fn room_of(name: &str) -> Option<RoomNumber> {
    name.strip_prefix('r')?.parse().ok()
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}
