//! A room against a model of its world: a log that is appended to, trimmed and completed, an archive that
//! is away and comes back, a subscription that is lost and comes back, histories that are read in parts, and
//! clients that believe what they are told. Every order of steps must leave each client with the room's
//! messages, without a gap or a double, or told to reload.

mod client;
mod world;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use self::world::{STEPS, World};

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
    for (head, length) in [(&[][..], 5), (&[8, 8, 8], 4)] {
        let steps = u32::from(STEPS - 2);
        for number in 0..steps.pow(length) {
            let step = |at| u8::try_from(number / steps.pow(at) % steps).unwrap();
            let order: Vec<u8> = head.iter().copied().chain((0..length).map(step)).collect();
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
