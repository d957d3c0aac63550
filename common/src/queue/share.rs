//! How queues share the slots of a worker beside their limits: by weights, and with slots that only one of
//! them may use. [`super::limits`] keeps count of the slots.

use std::{collections::BTreeMap, fmt, str::FromStr};

use thiserror::Error;

use super::{Limits, Queue, limits::read_numbers};
use crate::id::IdError;

/// A number for each of some queues, e.g. `high=6,default=3,low=1`: weights, or slots that are reserved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PerQueue(Vec<(Queue, usize)>);

impl PerQueue {
    /// The queues that are named, by priority.
    pub fn named(&self) -> &[(Queue, usize)] {
        &self.0
    }

    /// The number of a queue; 0 if it is not named.
    pub fn of(&self, queue: Queue) -> usize {
        let found = self.0.iter().find(|(named, _)| *named == queue);
        found.map_or(0, |(_, n)| *n)
    }

    fn sum(&self) -> usize {
        self.0.iter().map(|(_, n)| n).sum()
    }
}

impl fmt::Display for PerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (queue, n)) in self.0.iter().enumerate() {
            write!(f, "{}{queue}={n}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for PerQueue {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || {
            IdError::new(
                text,
                "a list of queues and numbers from 1 to 1000 (such as high=6,default=3,low=1)",
            )
        };
        read_numbers(text, 1000).map(Self).ok_or_else(wrong)
    }
}

/// Why a worker's slots cannot be shared as was asked for.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShareError {
    /// A queue is named that the worker does not serve.
    #[error("the weights or the reserved slots name queue `{0}`, which this worker does not serve")]
    NotServed(Queue),
    /// A queue is served that has no weight.
    #[error("queue `{0}` has no weight: name each queue that is served")]
    NoWeight(Queue),
    /// More slots are reserved than the queue may use.
    #[error("queue `{queue}` has {reserved} reserved slots and a limit of {limit}")]
    AboveLimit {
        /// The queue.
        queue: Queue,
        /// Slots that are reserved for it.
        reserved: usize,
        /// The most that it may use.
        limit: usize,
    },
    /// Too many slots are reserved.
    #[error("{reserved} of {total} slots are reserved: queue `{queue}` would never run")]
    NothingLeft {
        /// Slots that are reserved, of all queues.
        reserved: usize,
        /// Slots in all.
        total: usize,
        /// A queue that could not use any.
        queue: Queue,
    },
    /// More slots are reserved than there are.
    #[error("{reserved} slots are reserved and there are {total} in all")]
    TooMany {
        /// Slots that are reserved, of all queues.
        reserved: usize,
        /// Slots in all.
        total: usize,
    },
}

/// Refuses what would leave a queue without a slot or without a share.
///
/// # Errors
/// Names the queue that it is about.
pub(super) fn check(
    limits: &Limits,
    total: usize,
    weights: Option<&PerQueue>,
    reserve: &PerQueue,
) -> Result<(), ShareError> {
    let served = limits.per_queue();
    let limit_of = |queue| served.iter().find(|(served, _)| *served == queue);
    let named = weights.into_iter().chain([reserve]);
    for (queue, _) in named.flat_map(PerQueue::named) {
        limit_of(*queue).ok_or(ShareError::NotServed(*queue))?;
    }
    for (queue, limit) in served {
        if weights.is_some_and(|weights| weights.of(*queue) == 0) {
            return Err(ShareError::NoWeight(*queue));
        }
        let (queue, limit, reserved) = (*queue, *limit, reserve.of(*queue));
        if reserved > limit {
            return Err(ShareError::AboveLimit {
                queue,
                reserved,
                limit,
            });
        }
    }
    let reserved = reserve.sum();
    if reserved > total {
        return Err(ShareError::TooMany { reserved, total });
    }
    let without = served.iter().find(|(queue, _)| reserve.of(*queue) == 0);
    match without {
        Some((queue, _)) if reserved == total => Err(ShareError::NothingLeft {
            reserved,
            total,
            queue: *queue,
        }),
        _ => Ok(()),
    }
}

/// What a claim costs a queue of weight 1.
const UNIT: u64 = 1 << 20;

/// Shares by weight (stride scheduling): each claim moves its queue's *pass* on by a stride, the shorter the
/// greater its weight, and the queue whose pass is lowest comes next. So while two queues have work, the
/// first claims at most `ceil(own weight / other's weight) + 1` jobs between two of the other. A queue that
/// had nothing to claim, or no slot, gets no credit for it.
#[derive(Debug)]
pub(super) struct Shares {
    weights: PerQueue,
    passes: BTreeMap<Queue, u64>,
}

/// The free slots that a plan is made for.
#[derive(Debug, Clone)]
pub(super) struct Free {
    /// Slots that each queue can use, its own included.
    pub(super) by_queue: Vec<(Queue, usize)>,
    /// Slots that are reserved for a queue.
    pub(super) own: Vec<(Queue, usize)>,
    /// Slots that any queue may use.
    pub(super) shared: usize,
}

impl Shares {
    pub(super) fn new(weights: PerQueue) -> Self {
        let passes = weights.named().iter().map(|(queue, _)| (*queue, 0));
        Self {
            passes: passes.collect(),
            weights,
        }
    }

    fn cost(&self, queue: Queue, claims: usize) -> u64 {
        UNIT / self.weights.of(queue).max(1) as u64 * claims as u64
    }

    fn pass(&self, queue: Queue) -> u64 {
        self.passes.get(&queue).copied().unwrap_or(0)
    }

    /// How the next `most` claims are shared if every queue has work, charged in advance.
    pub(super) fn plan(&mut self, free: &Free, most: usize) -> Vec<(Queue, usize)> {
        let Free {
            by_queue,
            own,
            mut shared,
        } = free.clone();
        let can_claim = |queue: &Queue| by_queue.iter().any(|(free, _)| free == queue);
        if let Some(floor) = by_queue.iter().map(|(queue, _)| self.pass(*queue)).min() {
            for (_, pass) in self
                .passes
                .iter_mut()
                .filter(|(queue, _)| !can_claim(queue))
            {
                *pass = floor.max(*pass);
            }
        }
        let mut left: Vec<_> = by_queue
            .into_iter()
            .map(|(queue, slots)| {
                let own = own.iter().find(|(of, _)| *of == queue);
                (queue, slots, own.map_or(0, |(_, n)| *n))
            })
            .collect();
        let mut planned: Vec<(Queue, usize)> = Vec::new();
        for _ in 0..most {
            let next = left
                .iter_mut()
                .filter(|(_, slots, own)| *slots > 0 && (*own > 0 || shared > 0))
                .min_by_key(|(queue, ..)| (self.pass(*queue), *queue));
            let Some((queue, slots, own)) = next else {
                break;
            };
            *slots -= 1;
            if *own > 0 {
                *own -= 1;
            } else {
                shared -= 1;
            }
            match planned.iter_mut().find(|(of, _)| of == queue) {
                Some((_, n)) => *n += 1,
                None => planned.push((*queue, 1)),
            }
            let cost = self.cost(*queue, 1);
            *self.passes.entry(*queue).or_default() += cost;
        }
        planned
    }

    /// The queues in the order in which they come next.
    pub(super) fn sort(&self, queues: &mut [(Queue, usize)]) {
        queues.sort_by_key(|(queue, _)| (self.pass(*queue), *queue));
    }

    /// Puts the charge for a plan right: `taken` were claimed, one entry a job.
    pub(super) fn charge(&mut self, planned: &[(Queue, usize)], taken: &[Queue]) {
        let mut active = Vec::new();
        let mut dry = Vec::new();
        for queue in self.passes.keys().copied().collect::<Vec<_>>() {
            let expected = planned.iter().find(|(of, _)| *of == queue);
            let expected = expected.map_or(0, |(_, n)| *n);
            let claimed = taken.iter().filter(|of| **of == queue).count();
            let pass = self.pass(queue) + self.cost(queue, claimed);
            let pass = pass.saturating_sub(self.cost(queue, expected));
            self.passes.insert(queue, pass);
            if claimed < expected {
                dry.push(queue);
            } else if claimed > 0 {
                active.push(pass);
            }
        }
        if let Some(floor) = active.into_iter().min() {
            for queue in dry {
                let pass = self.passes.entry(queue).or_default();
                *pass = floor.max(*pass);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> PerQueue {
        text.parse().unwrap()
    }

    /// Which queue each of `n` claims is of, one claim a turn, if those of `full` have work.
    fn claims(shares: &mut Shares, full: &[Queue], n: usize) -> Vec<Queue> {
        let free = Free {
            by_queue: Queue::ALL.map(|queue| (queue, 1)).to_vec(),
            own: Vec::new(),
            shared: 1,
        };
        let claim = |_| {
            let planned = shares.plan(&free, 1);
            let mut order = planned.clone();
            let mut rest = free.by_queue.clone();
            shares.sort(&mut rest);
            order.extend(rest);
            let (queue, _) = order
                .into_iter()
                .find(|(queue, _)| full.contains(queue))
                .unwrap();
            shares.charge(&planned, &[queue]);
            queue
        };
        (0..n).map(claim).collect()
    }

    fn count(claims: &[Queue]) -> [usize; 3] {
        Queue::ALL.map(|queue| claims.iter().filter(|of| **of == queue).count())
    }

    #[test]
    fn claims_are_shared_by_weight_and_spread_evenly() {
        let mut shares = Shares::new(numbers("high=6,default=3,low=1"));

        let first = claims(&mut shares, &Queue::ALL, 10);

        assert_eq!(count(&first), [6, 3, 1]);
        assert_eq!(count(&first[..5]), [3, 1, 1], "{first:?}");
        assert_eq!(
            count(&claims(&mut shares, &Queue::ALL, 10_000)),
            [6000, 3000, 1000]
        );
    }

    #[test]
    fn an_unused_share_goes_to_the_others_by_their_weights_and_gives_no_credit() {
        let mut shares = Shares::new(numbers("high=6,default=3,low=1"));

        let without = claims(&mut shares, &[Queue::Default, Queue::Low], 4000);
        assert_eq!(count(&without), [0, 3000, 1000]);

        let again = claims(&mut shares, &Queue::ALL, 100);
        let [high, default, low] = count(&again);
        assert!((59..=61).contains(&high), "{high} {default} {low}");
    }

    #[test]
    fn what_would_leave_a_queue_without_a_slot_is_refused() {
        let limits: Limits = "high=4,low=4".parse().unwrap();
        let check = |total, weights: Option<&str>, reserve: &str| {
            let reserve = reserve.parse().unwrap_or_default();
            check(&limits, total, weights.map(numbers).as_ref(), &reserve)
        };
        assert_eq!(check(4, Some("high=2,low=1"), "high=3"), Ok(()));
        assert_eq!(check(4, None, "high=2,low=2"), Ok(()));
        for (refused, told) in [
            (
                check(4, Some("high=2"), ""),
                "queue `low` has no weight: name each queue that is served",
            ),
            (
                check(4, None, "default=1"),
                "the weights or the reserved slots name queue `default`, which this worker does not serve",
            ),
            (
                check(8, None, "high=5"),
                "queue `high` has 5 reserved slots and a limit of 4",
            ),
            (
                check(4, None, "high=4"),
                "4 of 4 slots are reserved: queue `low` would never run",
            ),
            (
                check(4, None, "high=3,low=2"),
                "5 slots are reserved and there are 4 in all",
            ),
        ] {
            assert_eq!(refused.unwrap_err().to_string(), told);
        }
        for wrong in ["", "high=0", "mid=1", "high=1001", "high=1,high=2"] {
            assert!(wrong.parse::<PerQueue>().is_err(), "{wrong} passed");
        }
    }
}
