//! The slots of a worker: what it asks for, and what holds in whatever order jobs begin and end. Redis is
//! played by [`claim`], which takes what the turn script would take; the script itself is held against
//! the same limits by the tests of the queue.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Limits, Queue, limits::*, share::PerQueue};

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

/// What the turn script claims if these queues have more jobs than it can take.
fn claim(demand: &Demand, full: &[Queue]) -> Vec<Queue> {
    let mut own = demand.own.clone();
    let mut shared = demand.shared.min(demand.free);
    let mut taken = Vec::new();
    for (queue, wanted) in &demand.order {
        for _ in 0..*wanted {
            let own = own.iter_mut().find(|(of, n)| of == queue && *n > 0);
            if !full.contains(queue) || taken.len() == demand.free || (own.is_none() && shared == 0)
            {
                break;
            }
            match own {
                Some((_, n)) => *n -= 1,
                None => shared -= 1,
            }
            taken.push(*queue);
        }
    }
    taken
}

/// A worker's slots, the jobs in them, and turns under way.
struct World {
    slots: Slots,
    running: Vec<Queue>,
    under_way: Vec<(Demand, Vec<Queue>)>,
    full: Vec<Queue>,
    now: Instant,
}

impl World {
    fn new(slots: Slots) -> Self {
        Self {
            slots,
            running: Vec::new(),
            under_way: Vec::new(),
            full: Queue::ALL.to_vec(),
            now: Instant::now(),
        }
    }

    fn begin_turn(&mut self, most: usize) {
        let demand = self.slots.demand(self.now, most);
        self.slots.promise(&demand);
        let taken = claim(&demand, &self.full);
        self.under_way.push((demand, taken));
    }

    fn end_turn(&mut self, which: usize) -> Vec<Queue> {
        if self.under_way.is_empty() {
            return Vec::new();
        }
        let (demand, taken) = self.under_way.remove(which % self.under_way.len());
        self.slots.keep(&demand);
        self.slots.charge(&demand, &taken);
        for queue in &taken {
            self.slots.fill(*queue);
            self.running.push(*queue);
        }
        taken
    }

    fn turn(&mut self, most: usize) -> Vec<Queue> {
        self.begin_turn(most);
        self.end_turn(0)
    }

    fn finish(&mut self, which: usize) {
        if !self.running.is_empty() {
            let queue = self.running.remove(which % self.running.len());
            self.slots.free(queue);
        }
    }

    /// Jobs of a queue that run, or were claimed by a turn whose answer is under way.
    fn held(&self, queue: Queue) -> usize {
        let claimed = self.under_way.iter().flat_map(|(_, taken)| taken);
        claimed
            .chain(&self.running)
            .filter(|of| **of == queue)
            .count()
    }
}

#[derive(Debug, Clone)]
enum Op {
    Begin(usize),
    End(usize),
    Finish(usize),
    Pass(u64),
    Full(Vec<Queue>),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (1..9_usize).prop_map(Op::Begin),
        3 => (0..2_usize).prop_map(Op::End),
        4 => (0..9_usize).prop_map(Op::Finish),
        1 => (0..3000_u64).prop_map(Op::Pass),
        1 => prop::sample::subsequence(Queue::ALL.to_vec(), 0..=3).prop_map(Op::Full),
    ]
}

/// Limits, slots in all, reserved slots, and weights or none, that fit each other.
fn setting() -> impl Strategy<Value = (String, usize, [usize; 3], Option<[usize; 3]>)> {
    let limits = [1..9_usize, 1..9, 1..9];
    (
        limits,
        1..9_usize,
        [0..3_usize, 0..3, 0..3],
        prop::option::of([1..9_usize, 1..9, 1..9]),
    )
        .prop_map(|(limits, total, reserved, weights)| {
            let mut left = total - 1;
            let mut kept = [0; 3];
            for at in 0..3 {
                kept[at] = reserved[at].min(left).min(limits[at]);
                left -= kept[at];
            }
            (named(limits), total, kept, weights)
        })
}

fn named(numbers: [usize; 3]) -> String {
    let pairs = Queue::ALL.iter().zip(numbers).filter(|(_, n)| *n > 0);
    let pairs: Vec<_> = pairs.map(|(queue, n)| format!("{queue}={n}")).collect();
    pairs.join(",")
}

fn slots(limits: &str, total: usize, reserved: [usize; 3], weights: Option<[usize; 3]>) -> Slots {
    let per_queue = |numbers| named(numbers).parse::<PerQueue>().unwrap_or_default();
    Slots::new(limits.parse().unwrap(), total, PATIENCE)
        .shared(weights.map(per_queue), per_queue(reserved))
}

const PATIENCE: Duration = Duration::from_secs(2);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Also while two turns are under way, each of which may bring anything that it asked for.
    #[test]
    fn no_limit_is_passed_and_no_reserved_slot_is_lent(
        (limits, total, reserved, weights) in setting(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(slots(&limits, total, reserved, weights));
        let limits: Limits = limits.parse().unwrap();
        for op in ops {
            match op {
                Op::Begin(most) if world.under_way.len() < 2 => world.begin_turn(most),
                Op::Begin(_) => {}
                Op::End(which) => drop(world.end_turn(which)),
                Op::Finish(which) => world.finish(which),
                Op::Pass(ms) => world.now += Duration::from_millis(ms),
                Op::Full(queues) => world.full = queues,
            }
            let mut taken = 0;
            for ((queue, limit), reserved) in limits.per_queue().iter().zip(reserved) {
                let held = world.held(*queue);
                prop_assert!(held <= *limit, "{held} of {queue}={limit}");
                taken += held.max(reserved);
            }
            prop_assert!(taken <= total, "{taken} of {total} with {reserved:?} reserved");
        }
    }

    /// A turn that stands alone leaves no slot empty that a queue with jobs may use.
    #[test]
    fn no_slot_stands_empty_beside_work(
        (limits, total, reserved, weights) in setting(),
        full in prop::sample::subsequence(Queue::ALL.to_vec(), 1..=3),
        finished in prop::collection::vec(0..9_usize, 0..30),
    ) {
        let mut world = World::new(slots(&limits, total, reserved, weights));
        world.full = full;
        for which in finished {
            world.turn(total);
            let free = world.slots.free_by_queue();
            let wasted = free.iter().find(|(queue, _)| world.full.contains(queue));
            prop_assert_eq!(wasted, None);
            world.finish(which);
        }
    }

    /// Strict priority: a queue that has waited for its patience is asked within four turns in which it may
    /// use a slot (each of two lower queues, and one by priority after each); and where high always has
    /// work, every second slot that it may use is its own.
    #[test]
    fn a_lower_queue_starves_no_longer_than_its_patience_nor_does_it_starve_the_first(
        total in 1..5_usize,
        steps in prop::collection::vec((0..5000_u64, 0..9_usize, 1..4_usize), 1..200),
    ) {
        let mut world = World::new(slots("high=8,default=8,low=8", total, [0; 3], None));
        world.slots.demand(world.now, 0); // from now on each queue waits
        let mut last_claim = [world.now; 3];
        let mut overdue = [0; 3];
        let mut claims = [0; 3];
        for (ms, which, most) in steps {
            world.now += Duration::from_millis(ms);
            world.finish(which);
            let can_claim = world.slots.free_by_queue().len() == 3;
            let taken = world.turn(most);
            for (at, queue) in Queue::ALL.into_iter().enumerate() {
                let of_queue = taken.iter().filter(|of| **of == queue).count();
                claims[at] += of_queue;
                if of_queue > 0 {
                    last_claim[at] = world.now;
                    overdue[at] = 0;
                } else if can_claim && world.now - last_claim[at] > PATIENCE {
                    overdue[at] += 1;
                }
            }
            prop_assert!(overdue.iter().all(|turns| *turns <= 4), "{overdue:?}");
            let others = claims[1] + claims[2];
            prop_assert!(claims[0] + 1 >= others, "high {} of {claims:?}", claims[0]);
        }
    }

    /// Weights: what the queues got, each by its weight, differs by one job of the smallest weight at most,
    /// at any time. So none waits longer than its share of the claims takes.
    #[test]
    fn shares_are_kept_to_the_job(
        weights in [1..9_usize, 1..9, 1..9],
        total in 1..9_usize,
        steps in prop::collection::vec((0..9_usize, 1..9_usize, 1..9_usize), 1..200),
    ) {
        let mut world = World::new(slots("high=8,default=8,low=8", total, [0; 3], Some(weights)));
        let mut claims = [0_usize; 3];
        for (which, finished, most) in steps {
            for _ in 0..finished {
                world.finish(which);
            }
            for queue in world.turn(most) {
                claims[Queue::ALL.iter().position(|of| *of == queue).unwrap()] += 1;
            }
            for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                // Both sides times both weights: whole numbers.
                let difference = (claims[one] * weights[other]).abs_diff(claims[other] * weights[one]);
                let a_job = weights[one].max(weights[other]);
                prop_assert!(difference <= a_job, "{claims:?} by {weights:?}");
            }
        }
    }
}

#[test]
fn slow_jobs_of_a_lower_queue_leave_the_reserved_slots_free() {
    let mut world = World::new(slots("high=4,low=8", 8, [3, 0, 0], None));
    world.full = vec![Queue::Low];
    world.turn(8);
    assert_eq!(world.running, [Queue::Low; 5]);

    world.full.push(Queue::High);
    assert_eq!(world.turn(8), [Queue::High; 3]);
    world.finish(0); // of low: any may have its slot
    assert_eq!(world.turn(8), [Queue::High]);
}

#[test]
fn a_paused_queue_is_asked_for_nothing_until_it_is_resumed() {
    let mut slots = Slots::new("high=2,low=2".parse().unwrap(), 2, PATIENCE);

    assert!(slots.pause_also(&[Queue::High]));
    assert!(!slots.pause_also(&[Queue::High]), "that is not new");
    assert_eq!(slots.free_by_queue(), [(Queue::Low, 2)]);
    assert_eq!(slots.demand(Instant::now(), 2).order, [(Queue::Low, 2)]);

    assert!(!slots.pause(&[Queue::High, Queue::Low]));
    assert_eq!(slots.free_by_queue(), []);
    assert!(slots.pause(&[Queue::Low]), "high is resumed");
    assert_eq!(slots.free_by_queue(), [(Queue::High, 2)]);
}
