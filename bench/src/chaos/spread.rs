//! How long something took, over many times.

use serde::Serialize;

use crate::number::{count, float, length};

/// How long things took.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// How many there were.
    pub(crate) number: u64,
    /// Half took no longer, in seconds.
    pub(crate) p50: f64,
    /// 99 of 100 took no longer.
    pub(crate) p99: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of these times.
    pub(crate) fn of(mut times_ns: Vec<u64>) -> Self {
        times_ns.sort_unstable();
        let at = |share: u64| {
            let rank = (count(times_ns.len()) * share).div_ceil(100);
            let time = times_ns
                .get(length(rank.saturating_sub(1)))
                .copied()
                .unwrap_or(0);
            float(time / 1_000_000) / 1000.0
        };
        Self {
            number: count(times_ns.len()),
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}
