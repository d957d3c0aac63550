//! How many jobs a worker runs at once: in all, and of each queue.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    str::FromStr,
    time::{Duration, Instant},
};

use super::{
    Queue,
    share::{Free, PerQueue, Shares},
};
use crate::id::IdError;

/// The queues that a worker serves and how many jobs of each it runs at once, e.g.
/// `high=16,default=8,low=2`. Queues that are not named are not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    per_queue: Vec<(Queue, usize)>,
}

impl Limits {
    /// The queues served, by priority, each with its limit.
    pub fn per_queue(&self) -> &[(Queue, usize)] {
        &self.per_queue
    }

    /// The most that any queue may run: what a worker runs in all unless told otherwise.
    pub fn largest(&self) -> usize {
        self.per_queue
            .iter()
            .map(|(_, limit)| *limit)
            .max()
            .unwrap_or(0)
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (queue, limit)) in self.per_queue.iter().enumerate() {
            write!(f, "{}{queue}={limit}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Limits {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || {
            IdError::new(
                text,
                "a list of queues and limits (such as high=16,default=8,low=2)",
            )
        };
        let per_queue = read_numbers(text, 10_000).ok_or_else(wrong)?;
        Ok(Self { per_queue })
    }
}

/// Reads `high=16,low=2`: numbers from 1 to `most`, sorted by priority.
pub(super) fn read_numbers(text: &str, most: usize) -> Option<Vec<(Queue, usize)>> {
    let mut numbers = BTreeMap::new();
    for part in text.split(',') {
        let (queue, number) = part.split_once('=')?;
        let number = number.trim().parse().ok()?;
        let is_new = numbers.insert(queue.trim().parse().ok()?, number).is_none();
        if !is_new || !(1..=most).contains(&number) {
            return None;
        }
    }
    Some(numbers.into_iter().collect())
}

/// The slots of one worker: strict priority, with a guard against starvation. Once in `patience`
/// each lower queue is asked before the higher ones, for one job: so its first job waits at most that
/// long plus the time until a slot is free for it, the lower queues being asked one after the other. Where
/// slots get free one by one, every second is by priority all the same: else jobs that take longer than
/// `patience` would turn the priorities round. With weights, queues take turns by these instead.
#[derive(Debug)]
pub(super) struct Slots {
    limits: Limits,
    total: usize,
    patience: Duration,
    busy: [usize; Queue::ALL.len()],
    /// What turns that are under way may bring.
    promised: Vec<Demand>,
    asked_first: [Option<Instant>; Queue::ALL.len()],
    /// Whether the last slot went to a lower queue that had waited.
    guarded: bool,
    /// Slots that only one queue may use.
    reserve: PerQueue,
    /// How the queues take turns; none: by priority.
    shares: Option<Shares>,
    /// Queues from which nothing is taken.
    paused: Vec<Queue>,
}

impl Slots {
    pub(super) fn new(limits: Limits, total: usize, patience: Duration) -> Self {
        Self {
            limits,
            total,
            patience,
            busy: [0; Queue::ALL.len()],
            promised: Vec::new(),
            asked_first: [None; Queue::ALL.len()],
            guarded: false,
            reserve: PerQueue::default(),
            shares: None,
            paused: Vec::new(),
        }
    }

    /// Shares the slots by weights, if there are any, and keeps some of them for one queue each.
    pub(super) fn shared(mut self, weights: Option<PerQueue>, reserve: PerQueue) -> Self {
        self.shares = weights.map(Shares::new);
        self.reserve = reserve;
        self
    }

    /// Takes nothing from these queues and no others; returns whether another was among them before.
    pub(super) fn pause(&mut self, queues: &[Queue]) -> bool {
        let resumed = self.paused.iter().any(|queue| !queues.contains(queue));
        self.paused = queues.to_vec();
        resumed
    }

    /// Takes nothing from these queues either; returns whether that is new of one of them.
    pub(super) fn pause_also(&mut self, queues: &[Queue]) -> bool {
        let fresh = queues.iter().filter(|queue| !self.is_paused(**queue));
        let fresh: Vec<_> = fresh.copied().collect();
        self.paused.extend(&fresh);
        !fresh.is_empty()
    }

    pub(super) fn is_paused(&self, queue: Queue) -> bool {
        self.paused.contains(&queue)
    }

    pub(super) fn fill(&mut self, queue: Queue) {
        self.busy[queue as usize] += 1;
    }

    pub(super) fn free(&mut self, queue: Queue) {
        let busy = &mut self.busy[queue as usize];
        *busy = busy.saturating_sub(1);
    }

    /// Slots that are neither busy nor promised to a turn.
    fn free_in_all(&self) -> usize {
        let busy: usize = self.busy.iter().sum();
        self.total.saturating_sub(busy + self.promised())
    }

    /// Slots that are promised to turns.
    pub(super) fn promised(&self) -> usize {
        self.promised.iter().map(|demand| demand.free).sum()
    }

    /// Slots of a queue that are busy, or promised to turns that may bring its jobs.
    fn taken_by(&self, queue: Queue) -> usize {
        let promised = self.promised.iter().map(|demand| demand.of(queue));
        self.busy(queue) + promised.sum::<usize>()
    }

    fn busy(&self, queue: Queue) -> usize {
        self.busy[queue as usize]
    }

    /// Free slots that only this queue may use.
    fn own_free(&self, queue: Queue) -> usize {
        let reserved = self.reserve.of(queue);
        reserved.saturating_sub(self.taken_by(queue))
    }

    /// Free slots that any queue may use, whatever the turns under way bring.
    fn shared_free(&self) -> usize {
        let kept = Queue::ALL.map(|queue| {
            let own = self.promised.iter().map(|demand| demand.own_of(queue));
            let held = self.busy(queue) + own.sum::<usize>();
            held.max(self.reserve.of(queue))
        });
        let promised = self
            .promised
            .iter()
            .map(|demand| demand.shared.min(demand.free));
        let taken = kept.into_iter().chain(promised).sum();
        self.total.saturating_sub(taken)
    }

    /// The queues that have a free slot, by priority, each with the number of slots; none if the whole
    /// is busy.
    pub(super) fn free_by_queue(&self) -> Vec<(Queue, usize)> {
        let (free, shared) = (self.free_in_all(), self.shared_free());
        self.limits
            .per_queue
            .iter()
            .filter(|(queue, _)| !self.is_paused(*queue))
            .map(|(queue, limit)| {
                let free = free.min(self.own_free(*queue) + shared);
                (
                    *queue,
                    limit.saturating_sub(self.taken_by(*queue)).min(free),
                )
            })
            .filter(|(_, free)| *free > 0)
            .collect()
    }

    /// Slots in all.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Keeps slots free for what a turn may bring, until [`Self::keep`].
    pub(super) fn promise(&mut self, demand: &Demand) {
        self.promised.push(demand.clone());
    }

    /// The turn with that demand has ended.
    pub(super) fn keep(&mut self, demand: &Demand) {
        if let Some(at) = self.promised.iter().position(|promised| promised == demand) {
            self.promised.swap_remove(at);
        }
    }

    /// What a turn brought with that demand, one entry a job; none if it failed.
    pub(super) fn charge(&mut self, demand: &Demand, taken: &[Queue]) {
        if let Some(shares) = &mut self.shares {
            shares.charge(&demand.planned, taken);
        }
    }

    /// What to claim now, `most` at most. The demands of shared slots may add up to more than is free: the
    /// last queues then get what the first left over, so the list is cut to the total.
    pub(super) fn demand(&mut self, now: Instant, most: usize) -> Demand {
        let by_queue = self.free_by_queue();
        let own = by_queue
            .iter()
            .map(|(queue, _)| (*queue, self.own_free(*queue)))
            .filter(|(_, own)| *own > 0)
            .collect();
        let most = self.free_in_all().min(most);
        let free = Free {
            by_queue,
            own,
            shared: self.shared_free(),
        };
        let (mut order, planned) = match &mut self.shares {
            Some(shares) => {
                let planned = shares.plan(&free, most);
                let mut rest = free.by_queue;
                for (queue, slots) in &mut rest {
                    let share = planned.iter().find(|(of, _)| of == queue);
                    *slots -= share.map_or(0, |(_, n)| *n);
                }
                // What one does not use, the others get.
                shares.sort(&mut rest);
                ([planned.clone(), rest].concat(), planned)
            }
            None => (self.by_priority(now, free.by_queue, most), Vec::new()),
        };
        order.retain(|(_, wanted)| *wanted > 0);
        for (_, wanted) in &mut order {
            *wanted = most.min(*wanted);
        }
        Demand {
            order,
            free: most,
            shared: free.shared,
            own: free.own,
            planned,
        }
    }

    fn by_priority(
        &mut self,
        now: Instant,
        mut order: Vec<(Queue, usize)>,
        most: usize,
    ) -> Vec<(Queue, usize)> {
        let mut longest: Option<(Instant, usize)> = None;
        for (at, (queue, _)) in order.iter().enumerate() {
            let last = *self.asked_first[*queue as usize].get_or_insert(now);
            let is_due = at > 0 && now.duration_since(last) >= self.patience;
            if is_due && longest.is_none_or(|(other, _)| last < other) {
                longest = Some((last, at));
            }
        }
        let may_guard = most > 1 || !std::mem::take(&mut self.guarded);
        if let Some((_, at)) = longest
            && may_guard
            && most > 0
        {
            let queue = order[at].0;
            self.asked_first[queue as usize] = Some(now);
            self.guarded = true;
            order[at].1 -= 1;
            order.insert(0, (queue, 1));
        }
        order
    }
}

/// What a turn may claim: up to the given number from each queue, in that order, and `free` in all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) order: Vec<(Queue, usize)>,
    pub(super) free: usize,
    /// How many of these in slots that any queue may use.
    pub(super) shared: usize,
    /// Free slots that only one queue may use.
    pub(super) own: Vec<(Queue, usize)>,
    /// What each queue was charged for in advance.
    pub(super) planned: Vec<(Queue, usize)>,
}

impl Default for Demand {
    /// Nothing; and, for who names an order and a number, no slot is reserved.
    fn default() -> Self {
        Self {
            order: Vec::new(),
            free: 0,
            shared: usize::MAX,
            own: Vec::new(),
            planned: Vec::new(),
        }
    }
}

impl Demand {
    /// It as words, which the turn script reads.
    pub(super) fn words(&self) -> String {
        let shared = self.shared.min(self.free);
        let mut words = format!("{} {shared} {}", self.free, self.own.len());
        for (queue, slots) in self.own.iter().chain(&self.order) {
            // Writing to a text cannot fail.
            let _ = write!(words, " {queue} {slots}");
        }
        words
    }

    /// What it may claim of a queue in slots that are reserved for that.
    fn own_of(&self, queue: Queue) -> usize {
        let own = self.own.iter().find(|(of, _)| *of == queue);
        own.map_or(0, |(_, slots)| self.of(queue).min(*slots))
    }

    fn of(&self, queue: Queue) -> usize {
        let of_queue = self.order.iter().filter(|(of, _)| *of == queue);
        of_queue.map(|(_, wanted)| wanted).sum()
    }
}
