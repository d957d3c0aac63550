//! What each connection saw of each room, held against the archive: one order, nothing twice, and no hole
//! that nothing tells of.
//!
//! A connection knows of a hole if the answer to its join was not complete, if the server said `reset`, or
//! if a message's `prev` is not the one that it saw last. From then on it is to join again, and until that is
//! answered nothing is asked of what it gets but that it is genuine.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use client::MessageId;

use super::{
    check::Known,
    event::{Event, RoomNumber, Shown},
    wrong::{Counts, Wrong},
};
use crate::chaos::ledger::{Line, Who};

/// All connections, so far.
#[derive(Debug)]
pub(super) struct Views<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) wrong: Vec<Wrong>,
    pub(super) counts: Counts,
    rooms: BTreeMap<(Who, RoomNumber), View>,
    open: BTreeSet<Who>,
    /// Joins that are not answered: when, and from where on.
    asked: HashMap<(Who, u64), (u64, Option<MessageId>)>,
    /// Pages that have not come: when they were asked for, and before which message.
    pub(super) turned: HashMap<(Who, u64), (u64, MessageId)>,
    /// The newest message of each room that anybody saw or was promised, when that was, in order.
    newest: BTreeMap<RoomNumber, Vec<(u64, MessageId)>>,
}

/// One room, seen over one connection.
#[derive(Debug, Default)]
struct View {
    state: State,
    cursor: MessageId,
    /// An answer to a join that goes on.
    reading: Option<Reading>,
    /// What the last answer lacked although it was said to be complete, if `reset` does not follow at once.
    lacks: Option<MessageId>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Not joined.
    #[default]
    Out,
    /// Joined; it knows that it has to join again, or will be told.
    Told,
    /// Joined; all up to the cursor is there.
    Fresh,
}

/// An answer to a join, as far as it has come.
#[derive(Debug)]
struct Reading {
    asked: u64,
    since: Option<MessageId>,
    complete: bool,
    top: MessageId,
    messages: Vec<Shown>,
}

impl<'a> Views<'a> {
    pub(super) fn new(known: &'a Known<'a>, wrong: Vec<Wrong>, counts: Counts) -> Self {
        Self {
            known,
            wrong,
            counts,
            rooms: BTreeMap::new(),
            open: BTreeSet::new(),
            asked: HashMap::new(),
            turned: HashMap::new(),
            newest: BTreeMap::new(),
        }
    }

    /// Takes the next line.
    pub(super) fn take(&mut self, line: &Line<Event>) {
        let (t, who) = (line.t, line.who);
        match &line.event {
            Event::Opened { .. } => {
                self.counts.one("connections");
                self.open.insert(who);
            }
            Event::Closed { code } => {
                self.counts.some(
                    "connections closed as too slow",
                    u64::from(*code == Some(1013)),
                );
                self.open.remove(&who);
            }
            Event::Joins { id, since, .. } => {
                self.asked.insert((who, *id), (t, *since));
            }
            Event::Leaves { room } => *self.view(who, *room) = View::default(),
            Event::Joined {
                room,
                id,
                complete,
                continues,
                top,
                messages,
            } => {
                // Every answer has a question.
                let (asked, since) = self.asked.remove(&(who, *id)).unwrap_or((t, None));
                let reading = Reading {
                    asked,
                    since,
                    complete: *complete,
                    top: *top,
                    messages: messages.clone(),
                };
                self.lacks(who, *room);
                self.view(who, *room).reading = Some(reading);
                if !continues {
                    self.read(t, who, *room);
                }
            }
            Event::History {
                room,
                messages,
                continues,
            } => {
                if let Some(reading) = &mut self.view(who, *room).reading {
                    reading.messages.extend_from_slice(messages);
                }
                if !continues {
                    self.read(t, who, *room);
                }
            }
            Event::Heard { room, message } => self.hear(t, who, *room, *message),
            Event::Turns { id, before, .. } => {
                self.turned.insert((who, *id), (t, *before));
            }
            Event::Page {
                room,
                id,
                more,
                messages,
            } => self.page(t, (who, *room, *id), messages, *more),
            Event::Acked { room, id, .. } => self.saw(t, *room, *id),
            Event::Reset { room, reason, .. } => {
                self.counts.one("resets");
                self.counts
                    .some("resets for slow readers", u64::from(reason == "slow"));
                let view = self.view(who, *room);
                view.lacks = None;
                if view.state == State::Fresh {
                    view.state = State::Told;
                }
            }
            Event::GoAway => self.counts.one("told to go away"),
            Event::Refused { code, .. } if code == "unavailable" => {
                self.counts.one("told to try again");
            }
            Event::Refused { .. } => self.counts.one("refused"),
            Event::Slow => self.counts.one("pauses of readers"),
            _ => {}
        }
    }

    /// The connections that are open at the end have seen all.
    pub(super) fn end(&mut self) {
        for ((who, room), view) in &self.rooms {
            if view.state == State::Out || !self.open.contains(who) {
                continue;
            }
            self.wrong
                .extend(view.lacks.map(|id| Wrong::Lacks(*who, *room, id)));
            let all = self
                .known
                .between(*room, MessageId::ZERO, MessageId(i64::MAX));
            if view.state == State::Told || all.last().is_some_and(|last| last > view.cursor) {
                let cursor = (view.state == State::Fresh).then_some(view.cursor);
                self.wrong.push(Wrong::Behind(*who, *room, cursor));
            }
        }
    }

    fn view(&mut self, who: Who, room: RoomNumber) -> &mut View {
        self.rooms.entry((who, room)).or_default()
    }

    /// A message was seen or promised: who joins from now on sees it, too.
    fn saw(&mut self, t: u64, room: RoomNumber, id: MessageId) {
        // What the promise does not cover binds nobody.
        if self.known.may_be_gone(room, id) {
            return;
        }
        let newest = self.newest.entry(room).or_default();
        if newest.last().is_none_or(|(_, last)| *last < id) {
            newest.push((t, id));
        }
    }

    /// The newest message that was known before a time.
    fn known_before(&self, t: u64, room: RoomNumber) -> MessageId {
        let newest = self.newest.get(&room).map_or(&[][..], Vec::as_slice);
        let at = newest.partition_point(|(seen, _)| *seen < t);
        at.checked_sub(1).map_or(MessageId::ZERO, |at| newest[at].1)
    }

    /// An answer to a join is there as a whole.
    fn read(&mut self, t: u64, who: Who, room: RoomNumber) {
        let Some(reading) = self.view(who, room).reading.take() else {
            return;
        };
        self.counts
            .one(match (reading.since.is_some(), reading.complete) {
                (false, true) => "joins",
                (true, true) => "joins that resumed",
                (true, false) => "joins that could not resume",
                (false, false) => "joins of rooms not at hand",
            });
        for message in &reading.messages {
            self.genuine(t, who, room, *message);
        }
        let ascends = |pair: &&[Shown]| pair[0].id >= pair[1].id;
        if let Some(pair) = reading.messages.windows(2).find(ascends) {
            self.wrong.push(Wrong::Again(who, room, pair[1].id));
        }
        self.up_to_date(reading.asked, who, room, &reading.messages);
        let missing = self.missing(room, &reading);
        // What is not complete, and asks nobody to drop anything, is followed by a `reset`.
        let is_page = reading.complete || reading.since.is_some() && !reading.messages.is_empty();
        let state = if is_page && missing.is_none() {
            State::Fresh
        } else {
            State::Told
        };
        if reading.complete {
            self.view(who, room).lacks = missing;
            let known = self.known_before(reading.asked, room);
            if known > reading.top && self.known.archived(room, known).is_some() {
                self.wrong.push(Wrong::Stale(who, room, reading.top, known));
            }
        }
        let last = reading.messages.last().map(|message| message.id);
        let view = self.view(who, room);
        view.state = state;
        view.cursor = reading.top.max(last.unwrap_or_default());
    }

    /// The first message that an answer should have and has not: those from its first one on, or all since
    /// the one that was asked for, up to its top.
    fn missing(&self, room: RoomNumber, reading: &Reading) -> Option<MessageId> {
        let after = match (reading.since, reading.messages.first()) {
            (Some(since), _) if reading.complete => since,
            (_, Some(first)) => MessageId(first.id.0 - 1),
            // An empty page: there is nothing.
            (_, None) => MessageId::ZERO,
        };
        let has: BTreeSet<_> = reading.messages.iter().map(|message| message.id).collect();
        let mut due = self.known.between(room, after, reading.top);
        due.find(|id| !has.contains(id))
    }

    /// What the last answer lacked is missing now.
    fn lacks(&mut self, who: Who, room: RoomNumber) {
        let lacks = self.view(who, room).lacks.take();
        self.wrong
            .extend(lacks.map(|id| Wrong::Lacks(who, room, id)));
    }

    fn hear(&mut self, t: u64, who: Who, room: RoomNumber, message: Shown) {
        self.lacks(who, room);
        self.counts.one("delivered live");
        self.genuine(t, who, room, message);
        let view = self.view(who, room);
        let (state, cursor) = (view.state, view.cursor);
        view.cursor = cursor.max(message.id);
        if state != State::Fresh {
            return;
        }
        if message.id <= cursor {
            self.wrong.push(Wrong::Again(who, room, message.id));
            return;
        }
        let before = MessageId(message.id.0 - 1);
        let is_hole = self.known.between(room, cursor, before).next().is_some();
        let is_told = message.prev != cursor && message.prev != MessageId::ZERO;
        if is_told {
            self.view(who, room).state = State::Told;
            self.counts.one(if is_hole {
                "holes told by prev"
            } else {
                "holes told by prev, and none there"
            });
        } else if is_hole {
            self.wrong.push(Wrong::Hole(who, room, cursor, message.id));
        }
    }

    /// Whether it is what somebody had sent, and the same as in the archive.
    pub(super) fn genuine(&mut self, t: u64, who: Who, room: RoomNumber, shown: Shown) {
        let sent = shown.key.and_then(|key| self.known.sent.get(&key));
        if sent.is_none_or(|sent| (sent.room, sent.deed) != (room, shown.deed) || sent.at > t) {
            self.wrong.push(Wrong::NobodySent(room, shown.id));
        } else if !self.known.looks_true(room, &shown) {
            self.wrong.push(Wrong::Untrue(who, room, shown.id));
        }
        match self.known.archived(room, shown.id) {
            Some(row) if row.key == shown.key => self.saw(t, room, shown.id),
            Some(_) => self.wrong.push(Wrong::Swapped(who, room, shown.id)),
            None if self.known.may_be_gone(room, shown.id) => {}
            None => self.wrong.push(Wrong::Vanished(who, room, shown.id)),
        }
    }
}
