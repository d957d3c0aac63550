//! What Redis says that a worker holds, compared with what it runs: so claims are found whose answer was
//! lost on the way.

use std::time::{Duration, Instant};

use super::{Consumer, Listening};
use crate::{
    kv::CONNECT_TIMEOUT,
    queue::{
        settle::{Settlement, Verdict},
        tail::Event,
    },
};

/// How long something is listed before a blocking connection that does not bring it counts as dead: it may still
/// connect, or what care saw may have been claimed without it.
pub(super) const OVERHEARD: Duration = CONNECT_TIMEOUT;

impl Consumer {
    /// A beat tells how many jobs Redis says this worker holds, and which queues are paused, and whether
    /// Redis was away: then the blocking connection may be dead and not know it.
    pub(super) fn beat(&mut self) {
        let (held, returns, is_more_open) = {
            let news = self.news.borrow_and_update();
            (news.held, news.returns, self.slots.pause(&news.paused))
        };
        let known = self.in_flight.len() + self.unsettled.len() + self.settling;
        self.to_compare = held > known + self.slots.promised() || self.doubts > 0;
        if is_more_open {
            self.hungry = true;
        }
        if std::mem::replace(&mut self.returns, returns) != returns {
            self.listen_anew();
        }
    }

    /// Care tells which queues held something before it pushed. If this worker waits for one of them, its blocking
    /// connection may be dead: it claims without it, and if it is still so a moment later, connects anew.
    pub(super) fn cared(&mut self) {
        let listed = self.listed.borrow_and_update().clone();
        let Listening::On(question) = &mut self.listening else {
            return;
        };
        if !listed.iter().any(|queue| question.queues.contains(queue)) {
            question.overheard = None;
            return;
        }
        self.hungry = true;
        let since = *question.overheard.get_or_insert_with(Instant::now);
        if since.elapsed() >= OVERHEARD {
            tracing::warn!(
                "the blocking connection does not bring what is listed; connecting anew"
            );
            self.listen_anew();
        }
    }

    fn listen_anew(&mut self) {
        match std::mem::replace(&mut self.listening, Listening::Gone) {
            Listening::On(question) => self.answered(question.waiting.abandon()),
            at_rest => self.listening = at_rest,
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
        let now = Instant::now(); // so each gets a task of its own
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
                self.start([claimed], now);
            } else {
                tracing::warn!(job.id = %id, "giving {id} back, whose claim's answer was lost");
                self.runner.tail.tell(|| Event::released(id));
                self.unsettled
                    .push(Settlement::of(claimed.id, &claimed.lease, Verdict::Back));
            }
        }
    }
}
