//! What Redis says that a worker holds, compared with what it runs: so claims are found whose answer was
//! lost on the way.

use super::Consumer;
use crate::queue::settle::{Settlement, Verdict};

impl Consumer {
    /// A beat tells how many jobs Redis says this worker holds, and which queues are paused.
    pub(super) fn beat(&mut self) {
        let promised: usize = self.slots.promised();
        let known = self.in_flight.len() + self.unsettled.len() + self.settling + promised;
        let news = self.news.borrow_and_update().clone();
        self.to_compare = news.held > known || self.doubts > 0;
        if self.slots.pause(&news.paused) {
            self.hungry = true;
        }
    }

    /// Finds claims that Redis made and whose answer was lost, and runs them, or gives them back if
    /// there is no slot. No turn is under way, so a claim that is neither running nor waiting to be
    /// settled is such a one.
    pub(super) async fn compare(&mut self) {
        let held = match self.turns.held().await {
            Ok(held) => held,
            Err(error) => return self.complain(&error),
        };
        self.to_compare = false;
        self.doubts = self.doubts.saturating_sub(1);
        for claimed in held {
            let settling = self
                .unsettled
                .iter()
                .any(|s| s.id == claimed.id && s.lease == claimed.lease);
            if self.in_flight.get(&claimed.id) == Some(&claimed.lease) || settling {
                continue;
            }
            let id = claimed.id;
            let free = self.slots.free_by_queue();
            if free.iter().any(|(queue, _)| *queue == id.queue()) {
                tracing::warn!(job.id = %id, "running {id}, whose claim's answer was lost");
                self.start(claimed);
            } else {
                tracing::warn!(job.id = %id, "giving {id} back, whose claim's answer was lost");
                self.unsettled.push(Settlement::of(&claimed, Verdict::Back));
            }
        }
    }
}
