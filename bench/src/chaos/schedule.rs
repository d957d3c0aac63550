//! When each fault of a run is due.

use std::time::Duration;

use super::seed::Dice;
use crate::number::{count, float};

/// A fault and its time, from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step<F> {
    /// When.
    pub(super) at: Duration,
    /// What.
    pub(super) fault: F,
}

/// Deals faults out over a time, in an order and at moments of chance.
pub(super) fn deal<F>(dice: &mut Dice, mut faults: Vec<F>, time: Duration) -> Vec<Step<F>> {
    dice.shuffle(&mut faults);
    let each = time.as_secs_f64() / float(count(faults.len()));
    let step = |(at, fault)| {
        let jitter = float(dice.below(1000)) / 1000.0;
        Step {
            at: Duration::from_secs_f64((float(count(at)) + jitter) * each),
            fault,
        }
    };
    faults.into_iter().enumerate().map(step).collect()
}
