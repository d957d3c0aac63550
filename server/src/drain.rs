//! The drain: how a server sends its clients away without sending them all at once, or has them
//! come back one by one when it went without a word. The server chooses: the
//! more there are, the more time they take to leave; who does not leave is cut off at a moment of its own.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use rand::RngExt;
use tokio::time::Instant;

/// So many clients may come back to the other servers in a second.
const RETURNS_PER_SECOND: u32 = 1000;
/// And so many of a server that is lost: what it did is to be mended meanwhile.
const LOST_RETURNS_PER_SECOND: u32 = 750;
/// Who lost a server without a farewell comes back within so long, however many there were.
const LOST_WITHIN: Duration = Duration::from_secs(15);
/// Even few clients take up to so long, and however many there are, none goes before the other bound.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
const LEAVE_AFTER: Duration = Duration::from_millis(100);

/// Within how many ms so many clients should come back to the other servers if this one goes without a farewell;
/// none if it makes no difference.
pub(crate) fn lost_within_ms(clients: usize) -> Option<u64> {
    let clients = u32::try_from(clients).unwrap_or(u32::MAX);
    let time = (Duration::from_secs(1) * clients / LOST_RETURNS_PER_SECOND).min(LOST_WITHIN);
    (time >= LEAVE_WITHIN).then(|| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// Knows how this server goes, once it does. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    time: Duration,
    farewell: Arc<OnceLock<Farewell>>,
}

/// When the clients of a server that drains are to leave, and when it cuts them off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Farewell {
    begun: Instant,
    time: Duration,
    leave: [Duration; 2],
}

impl Drain {
    /// A drain that takes so long at most.
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            time,
            farewell: Arc::default(),
        }
    }

    /// Plans how so many clients go, from now on.
    pub(crate) fn begin(&self, clients: usize) {
        let _ = self.farewell.set(Farewell::plan(clients, self.time));
    }

    /// The plan.
    pub(crate) fn farewell(&self) -> Farewell {
        *self.farewell.get_or_init(|| Farewell::plan(0, self.time))
    }
}

impl Farewell {
    fn plan(clients: usize, time: Duration) -> Self {
        let clients = u32::try_from(clients).unwrap_or(u32::MAX);
        let all_back = Duration::from_secs(1) * clients / RETURNS_PER_SECOND;
        // The second half is for those who do not go by themselves.
        let last = all_back.max(LEAVE_WITHIN).min(time / 2);
        Self {
            begun: Instant::now(),
            time,
            leave: [LEAVE_AFTER.min(last / 4), last],
        }
    }

    /// What a `goaway` tells: come back after a random time between these.
    pub(crate) fn reconnect_in_ms(&self) -> [u64; 2] {
        self.leave
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    /// When the server ends a stream, whose reader does not understand a `goaway`.
    pub(crate) fn reader_leaves_at(&self) -> Instant {
        let [first, last] = self.leave;
        let more = last.saturating_sub(first);
        self.begun + first + more.mul_f64(rand::rng().random())
    }

    /// When the server closes a socket whose client has not left.
    pub(crate) fn cut_at(&self) -> Instant {
        let last = self.leave[1];
        let more = self.time.saturating_sub(last);
        self.begun + last + more.mul_f64(rand::rng().random_range(0.2..0.9))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_clients_there_are_the_longer_they_take_to_leave() {
        let range = |clients, seconds| {
            Farewell::plan(clients, Duration::from_secs(seconds)).reconnect_in_ms()
        };

        assert_eq!(range(2, 10), [100, 1000]);
        assert_eq!(range(3000, 10), [100, 3000]);
        assert_eq!(range(1_000_000, 10), [100, 5000], "half of the time");
        assert_eq!(range(1_000_000, 1), [100, 500]);
        assert_eq!(range(2, 0), [0, 0]);
    }

    #[test]
    fn a_crowd_that_loses_its_server_is_to_come_back_more_slowly_than_one_that_is_sent_away() {
        assert_eq!(lost_within_ms(2), None);
        assert_eq!(lost_within_ms(3000), Some(4000));
        assert_eq!(lost_within_ms(1_000_000), Some(15_000));
    }

    #[test]
    fn who_stays_is_cut_off_after_the_others_have_left_and_before_the_end() {
        let farewell = Farewell::plan(3000, Duration::from_secs(10));

        for _ in 0..100 {
            let leaves = farewell.reader_leaves_at() - farewell.begun;
            let cut = farewell.cut_at() - farewell.begun;

            assert!(leaves <= Duration::from_secs(3), "{leaves:?}");
            assert!(cut > Duration::from_secs(3), "{cut:?}");
            assert!(cut < Duration::from_secs(10), "{cut:?}");
        }
    }
}
