//! How many jobs a worker runs at once: in all, and of each queue.

use std::{
    collections::HashMap,
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use super::Queue;
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
        let mut limits = HashMap::new();
        for part in text.split(',') {
            let (queue, limit) = part.split_once('=').ok_or_else(wrong)?;
            let queue: Queue = queue.trim().parse().map_err(|_| wrong())?;
            let limit = limit
                .trim()
                .parse()
                .ok()
                .filter(|n| (1..=10_000).contains(n));
            if limits.insert(queue, limit.ok_or_else(wrong)?).is_some() {
                return Err(wrong());
            }
        }
        let mut per_queue: Vec<_> = limits.into_iter().collect();
        per_queue.sort_unstable();
        Ok(Self { per_queue })
    }
}

/// The slots of one worker: strict priority, with a guard against starvation. Once in `patience`
/// each lower queue is asked before the higher ones, for one job: so its first job waits at most that
/// long plus the time until a slot is free.
#[derive(Debug)]
pub(super) struct Slots {
    limits: Limits,
    total: usize,
    patience: Duration,
    busy: HashMap<Queue, usize>,
    /// What turns that are under way may bring.
    promised: Vec<Demand>,
    asked_first: HashMap<Queue, Instant>,
}

impl Slots {
    pub(super) fn new(limits: Limits, total: usize, patience: Duration) -> Self {
        Self {
            limits,
            total,
            patience,
            busy: HashMap::new(),
            promised: Vec::new(),
            asked_first: HashMap::new(),
        }
    }

    pub(super) fn fill(&mut self, queue: Queue) {
        *self.busy.entry(queue).or_default() += 1;
    }

    pub(super) fn free(&mut self, queue: Queue) {
        if let Some(busy) = self.busy.get_mut(&queue) {
            *busy = busy.saturating_sub(1);
        }
    }

    /// Slots that are neither busy nor promised to a turn.
    fn free_in_all(&self) -> usize {
        let busy: usize = self.busy.values().sum();
        self.total.saturating_sub(busy + self.promised())
    }

    /// Slots that are promised to turns.
    pub(super) fn promised(&self) -> usize {
        self.promised.iter().map(|demand| demand.free).sum()
    }

    /// The queues that have a free slot, by priority, each with the number of slots; none if the whole
    /// is busy.
    pub(super) fn free_by_queue(&self) -> Vec<(Queue, usize)> {
        let free = self.free_in_all();
        self.limits
            .per_queue
            .iter()
            .map(|(queue, limit)| {
                let busy = self.busy.get(queue).copied().unwrap_or(0);
                let promised = self.promised.iter().map(|demand| demand.of(*queue));
                let taken = busy + promised.sum::<usize>();
                (*queue, limit.saturating_sub(taken).min(free))
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

    /// What to claim now, `most` at most. The demands of shared slots may add up to more than is free: the
    /// last queues then get what the first left over, so the list is cut to the total.
    pub(super) fn demand(&mut self, now: Instant, most: usize) -> Demand {
        let mut order = self.free_by_queue();
        let first = order.first().map(|(queue, _)| *queue);
        for at in 0..order.len() {
            let queue = order[at].0;
            let last = *self.asked_first.entry(queue).or_insert(now);
            if Some(queue) != first && now.duration_since(last) >= self.patience {
                self.asked_first.insert(queue, now);
                order[at].1 -= 1;
                order.insert(0, (queue, 1));
                break;
            }
        }
        order.retain(|(_, wanted)| *wanted > 0);
        for (_, wanted) in &mut order {
            *wanted = most.min(*wanted);
        }
        let free = self.free_in_all().min(most);
        Demand { order, free }
    }
}

/// What a turn may claim: up to the given number from each queue, in that order, and `free` in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Demand {
    pub(super) order: Vec<(Queue, usize)>,
    pub(super) free: usize,
}

impl Demand {
    fn of(&self, queue: Queue) -> usize {
        let of_queue = self.order.iter().filter(|(of, _)| *of == queue);
        of_queue.map(|(_, wanted)| wanted).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_wrong_ones_refused() {
        let limits: Limits = "low=2, high=16".parse().unwrap();
        assert_eq!(limits.per_queue(), [(Queue::High, 16), (Queue::Low, 2)]);
        assert_eq!(limits.largest(), 16);
        for wrong in [
            "",
            "high",
            "high=0",
            "mid=3",
            "high=1,high=2",
            "high=-1",
            "high=99999",
        ] {
            assert!(wrong.parse::<Limits>().is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn a_lower_queue_is_asked_first_once_in_its_patience() {
        let patience = Duration::from_secs(2);
        let mut slots = Slots::new("high=4,low=1".parse().unwrap(), 4, patience);
        let start = Instant::now();
        let by_priority = vec![(Queue::High, 4), (Queue::Low, 1)];

        assert_eq!(slots.demand(start, 4).order, by_priority);
        let later = start + patience;
        assert_eq!(
            slots.demand(later, 4).order,
            [(Queue::Low, 1), (Queue::High, 4)]
        );
        assert_eq!(slots.demand(later, 4).order, by_priority);
    }

    #[test]
    fn full_slots_ask_for_nothing() {
        let mut slots = Slots::new("high=2,low=2".parse().unwrap(), 2, Duration::from_secs(2));
        slots.fill(Queue::High);
        slots.fill(Queue::Low);

        assert_eq!(slots.free_by_queue(), []);
        slots.free(Queue::High);
        assert_eq!(slots.free_by_queue(), [(Queue::High, 1), (Queue::Low, 1)]);
    }
}
