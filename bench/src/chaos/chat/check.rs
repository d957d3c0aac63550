//! The check: what the notes of a run must not hold. Pure, so that it can itself be tested with notes
//! that are wrong. This file looks at what was promised and what is kept, [`super::changes`] at what edits and
//! deletions have made of it, [`super::view`] at what each connection saw.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use client::MessageId;

use super::{
    changes::Changes,
    event::{Deed, Event, Face, Key, RoomNumber, Shown},
    view::Views,
    wrong::{Counts, Remains, Wrong},
};
use crate::{
    chaos::ledger::{Line, Who},
    number::count,
};

/// Checks everything; the list is empty if all is well. The lines are in the order of time.
pub(super) fn check(lines: &[Line<Event>], remains: &Remains) -> (Vec<Wrong>, Counts) {
    let known = Known::of(lines, remains);
    let mut check = Check {
        lines,
        remains,
        known: &known,
        wrong: Vec::new(),
        counts: Counts::default(),
    };
    check.archive();
    check.promises();
    check.changed();
    check.logs();
    check.refusals();
    check.exits();
    check.end();
    let Check { wrong, counts, .. } = check;
    let mut views = Views::new(&known, wrong, counts);
    for line in lines {
        views.take(line);
    }
    views.end();
    (views.wrong, views.counts)
}

/// What is known of all messages.
#[derive(Debug)]
pub(super) struct Known<'a> {
    archive: &'a BTreeMap<RoomNumber, Vec<Shown>>,
    /// What each was when it was first sent.
    pub(super) sent: HashMap<Key, Sent>,
    /// What was changed, as it is archived.
    pub(super) changes: Changes,
    /// When each was acknowledged first.
    pub(super) acked: HashMap<(RoomNumber, MessageId), u64>,
    /// When the power was cut: the time from which on things may be gone, and the cut.
    cuts: Vec<(u64, u64)>,
    /// Messages that may be gone by the promise: the first that anybody knew of them was just before a cut.
    gone: BTreeSet<(RoomNumber, MessageId)>,
}

/// Something that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Where.
    pub(super) room: RoomNumber,
    /// When first.
    pub(super) at: u64,
    /// What.
    pub(super) deed: Deed,
}

impl<'a> Known<'a> {
    fn of(lines: &[Line<Event>], remains: &'a Remains) -> Self {
        let mut known = Self {
            archive: &remains.archive,
            sent: HashMap::new(),
            changes: Changes::of(&remains.archive),
            acked: HashMap::new(),
            cuts: Vec::new(),
            gone: BTreeSet::new(),
        };
        let mut first: HashMap<(RoomNumber, MessageId), u64> = HashMap::new();
        let mut learn = |t: u64, room: RoomNumber, id: MessageId| {
            if id > MessageId::ZERO {
                first.entry((room, id)).or_insert(t);
            }
        };
        for Line { t, event, .. } in lines {
            let at = *t;
            match *event {
                Event::Posts {
                    room, key, deed, ..
                } => {
                    known.sent.entry(key).or_insert(Sent { room, at, deed });
                }
                Event::PowerCut { from } => known.cuts.push((from, at)),
                Event::Acked { room, id, .. } => {
                    learn(at, room, id);
                    known.acked.entry((room, id)).or_insert(at);
                }
                Event::Heard { room, .. }
                | Event::Joined { room, .. }
                | Event::History { room, .. }
                | Event::Page { room, .. } => {
                    for Shown { id, face, .. } in event.shown() {
                        learn(at, room, *id);
                        learn(at, room, face.change);
                    }
                }
                _ => {}
            }
        }
        let near = |t: u64, before: u64| {
            let holds = |(from, cut): &(u64, u64)| t + before >= *from && t <= cut + LATE_NS;
            known.cuts.iter().any(holds)
        };
        let mut gone: BTreeSet<_> = first
            .iter()
            .filter(|(_, t)| near(**t, 0))
            .map(|(id, _)| *id)
            .collect();
        // What nobody saw was appended some time after it was sent.
        for (room, rows) in known.archive {
            for row in rows
                .iter()
                .filter(|row| !first.contains_key(&(*room, row.id)))
            {
                let sent = row.key.and_then(|key| known.sent.get(&key));
                if sent.is_some_and(|sent| near(sent.at, OUTLASTS_NS)) {
                    gone.insert((*room, row.id));
                }
            }
        }
        known.gone = gone;
        known
    }

    /// A room's archive.
    pub(super) fn room(&self, room: RoomNumber) -> &'a [Shown] {
        self.archive.get(&room).map_or(&[], Vec::as_slice)
    }

    /// An archived message.
    pub(super) fn archived(&self, room: RoomNumber, id: MessageId) -> Option<&'a Shown> {
        let rows = self.room(room);
        let at = rows.binary_search_by_key(&id, |row| row.id).ok()?;
        rows.get(at)
    }

    /// The archived messages after one and up to another that must be known to Redis, too.
    pub(super) fn between(
        &self,
        room: RoomNumber,
        after: MessageId,
        to: MessageId,
    ) -> impl Iterator<Item = MessageId> {
        let rows = self.room(room);
        let from = rows.partition_point(|row| row.id <= after);
        let end = rows.partition_point(|row| row.id <= to);
        let ids = rows[from..end.max(from)].iter().map(|row| row.id);
        ids.filter(move |id| !self.may_be_gone(room, *id))
    }

    /// Whether Redis may have lost a message by the promise.
    pub(super) fn may_be_gone(&self, room: RoomNumber, id: MessageId) -> bool {
        self.gone.contains(&(room, id))
    }

    /// Whether the power was ever cut.
    pub(super) fn had_cuts(&self) -> bool {
        !self.cuts.is_empty()
    }
}

/// A check under way.
#[derive(Debug)]
pub(super) struct Check<'a> {
    pub(super) lines: &'a [Line<Event>],
    pub(super) remains: &'a Remains,
    pub(super) known: &'a Known<'a>,
    pub(super) wrong: Vec<Wrong>,
    pub(super) counts: Counts,
}

impl Check<'_> {
    /// What is archived was sent, once, and each follows the one before it.
    fn archive(&mut self) {
        let mut seen: HashMap<Key, (RoomNumber, MessageId)> = HashMap::new();
        for (room, rows) in &self.remains.archive {
            let mut before = MessageId::ZERO;
            for row in rows {
                self.counts.one("archived");
                let sent = row.key.and_then(|key| self.known.sent.get(&key));
                let is_sent = sent.is_some_and(|sent| (sent.room, sent.deed) == (*room, row.deed));
                match row.key.filter(|_| is_sent) {
                    Some(key) => match seen.insert(key, (*room, row.id)) {
                        // Archived, then forgotten by Redis, then sent again.
                        Some((room, first)) if self.known.may_be_gone(room, first) => {}
                        Some(_) => self.wrong.push(Wrong::Twice(key)),
                        None => {}
                    },
                    None => self.wrong.push(Wrong::NobodySent(*room, row.id)),
                }
                if row.prev == MessageId::ZERO {
                    let has_one = u64::from(before > MessageId::ZERO);
                    self.counts
                        .some("archived, the one before not known", has_one);
                } else if row.prev != before && !self.known.had_cuts() {
                    self.wrong.push(Wrong::Chain(*room, row.id, row.prev));
                }
                before = row.id;
            }
        }
    }

    /// What was acknowledged is archived, under that id.
    fn promises(&mut self) {
        let mut place: HashMap<Key, (RoomNumber, MessageId)> = HashMap::new();
        for (room, rows) in &self.remains.archive {
            let keyed = rows
                .iter()
                .filter_map(|row| Some((row.key?, (*room, row.id))));
            place.extend(keyed);
        }
        let mut answers: HashMap<Key, MessageId> = HashMap::new();
        for Line { event, .. } in self.lines {
            let &Event::Acked {
                room,
                key,
                id,
                duplicate,
                archived,
            } = event
            else {
                continue;
            };
            self.counts
                .some("acknowledged as resends", u64::from(duplicate));
            self.counts
                .some("acknowledged as archived", u64::from(archived));
            if let Some(first) = answers.get(&key) {
                if (*first != id || !duplicate) && !self.known.had_cuts() {
                    self.wrong.push(Wrong::TwoAnswers(key, *first, id));
                }
                continue;
            }
            answers.insert(key, id);
            self.counts.one("acknowledged");
            let row = self.known.archived(room, id);
            if row.is_some_and(|row| row.key == Some(key)) {
                continue;
            }
            match place.get(&key) {
                // What is archived is in Postgres, which no power cut of Redis takes.
                _ if self.known.may_be_gone(room, id) && !archived => {
                    self.counts.excused.insert(key);
                }
                Some((_, at)) => self.wrong.push(Wrong::Elsewhere(room, key, id, *at)),
                None => self.wrong.push(Wrong::Lost(room, key, id)),
            }
        }
        let unanswered = self
            .known
            .sent
            .keys()
            .filter(|key| !answers.contains_key(key));
        let archived = unanswered.filter(|key| place.contains_key(key)).count();
        self.counts
            .some("never acknowledged, and archived", count(archived));
        self.counts.some("sent", count(self.known.sent.len()));
        let lost = count(self.counts.excused.len());
        self.counts
            .some("acknowledged and gone, in a power cut's window", lost);
    }

    /// Processes end because they were killed or asked to, or because what they need was away when they
    /// started.
    fn exits(&mut self) {
        let mut booted: HashMap<Who, u64> = HashMap::new();
        let mut struck: BTreeSet<Who> = BTreeSet::new();
        let mut outages: Vec<(u64, u64)> = Vec::new();
        for Line { t, event, .. } in self.lines {
            match event {
                Event::Began { .. } => outages.push((*t, u64::MAX)),
                Event::Over { .. } => {
                    // Those of one kind do not overlap, and others are no closer than that.
                    if let Some(last) = outages.iter_mut().rev().find(|(_, to)| *to == u64::MAX) {
                        last.1 = t + GRACE_NS;
                    }
                }
                _ => {}
            }
        }
        for Line { t, who, event } in self.lines {
            match *event {
                Event::Booted => {
                    booted.insert(*who, *t);
                }
                Event::Struck { .. } => {
                    struck.insert(*who);
                }
                Event::Exited { signal, code } => {
                    let begun = booted.get(who).copied().unwrap_or(0);
                    let is_young = *t < begun + YOUNG_NS;
                    let amid_an_outage = outages.iter().any(|(from, to)| from < t && *to > begun);
                    let is_fine = match signal {
                        Some(9) => struck.contains(who),
                        // One that starts does not drain yet.
                        Some(15) => struck.contains(who) && is_young,
                        Some(_) => false,
                        None => {
                            code == Some(0) && struck.contains(who) || is_young && amid_an_outage
                        }
                    };
                    if !is_fine {
                        let how =
                            format!("{who} ended by itself: signal {signal:?}, code {code:?}");
                        self.wrong.push(Wrong::Exit(how));
                    }
                }
                _ => {}
            }
        }
    }

    /// What must be so when all is over.
    fn end(&mut self) {
        for counted in &self.remains.members {
            self.counts.one("members counted at the end");
            if counted.told != Some(counted.there) {
                self.wrong.push(Wrong::Members(*counted));
            }
        }
        for (guest, room, window) in &self.remains.shown {
            let is_kept = |id: &MessageId| !self.known.may_be_gone(*room, *id);
            let shown: Vec<_> = window.ids.iter().copied().filter(is_kept).collect();
            let archived = self.known.room(*room).iter().map(|row| row.id);
            let archived: Vec<_> = archived.filter(is_kept).collect();
            self.counts
                .some("shown by clients at the end", count(shown.len()));
            if !archived.ends_with(&shown) {
                self.wrong.push(Wrong::Shows(*guest, *room));
            }
            let looks = |id: MessageId| self.known.archived(*room, id).map(|row| row.face);
            let is_other = |(id, face): &(&MessageId, &Face)| {
                let lost = self.known.may_be_gone(*room, face.change)
                    || self.known.may_have_lost_some(*room, **id);
                !lost && looks(**id).is_some_and(|kept| kept != **face)
            };
            if let Some((id, _)) = window.faces.iter().find(is_other) {
                self.wrong.push(Wrong::ShowsAsWas(*guest, *room, *id));
            }
        }
        let texts = |texts: &[String], wrong: fn(String) -> Wrong| {
            texts.iter().cloned().map(wrong).collect::<Vec<_>>()
        };
        self.wrong.extend(texts(&self.remains.left, Wrong::Left));
        self.wrong.extend(texts(&self.remains.late, Wrong::Late));
    }
}

/// From the first sending of a message to its append it takes no longer: Redis may be away meanwhile.
const OUTLASTS_NS: u64 = 15_000_000_000;
/// What a server had heard before the power was cut, a slow reader gets later.
const LATE_NS: u64 = 10_000_000_000;
/// A process that ends by itself this soon has not found what it needs.
const YOUNG_NS: u64 = 15_000_000_000;
/// For so long after an outage one may still end for it.
const GRACE_NS: u64 = 2_000_000_000;
