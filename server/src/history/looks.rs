//! Looks at rooms that many share. Members of a room often come together, after a restart above all, and ask the
//! same: whoever asks while a look is under way waits for its end, and then one more look is for all who wait. So
//! each has one that began after it had asked, as if it had looked for itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use common::id::{MessageId, RoomId};
use tokio::time::timeout;

use super::lock;

/// How long anybody waits for another's look: about as long as Redis may take to answer. One that asks the archive as well
/// may take longer, and the room may be warm by then.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is asked: the room, `since`, the limit.
pub(super) type Question = (RoomId, Option<MessageId>, usize);

/// The looks that are under way, each of which may find a `T`.
#[derive(Debug)]
pub(super) struct Looks<T> {
    /// Each with how many ask it now.
    by_question: Mutex<ByQuestion<T>>,
}

type ByQuestion<T> = HashMap<Question, (usize, Arc<Shared<T>>)>;

/// The last look, for one question. Locked while the next is under way.
type Shared<T> = tokio::sync::Mutex<Option<Look<T>>>;

#[derive(Debug)]
enum Look<T> {
    Found { began: Instant, what: T },
    Failed { ended: Instant },
}

impl<T> Default for Looks<T> {
    fn default() -> Self {
        let by_question = Mutex::default();
        Self { by_question }
    }
}

impl<T> Looks<T> {
    /// What `look` finds, or what it found for another who asked the same, if that look began after this was called.
    ///
    /// # Errors
    /// Those of the look.
    pub(super) async fn share<F, E>(
        &self,
        question: Question,
        look: impl FnOnce() -> F,
    ) -> Result<T, E>
    where
        T: Clone,
        F: Future<Output = Result<T, E>>,
    {
        let asked = Instant::now();
        let asking = Asking::new(self, question);
        let mut last = timeout(PATIENCE, asking.shared.lock()).await.ok();
        match last.as_deref() {
            Some(Some(Look::Found { began, what })) if *began >= asked => return Ok(what.clone()),
            // Who waited in vain looks at once: one after another, the last would wait for all others' patience.
            Some(Some(Look::Failed { ended })) if *ended >= asked => last = None,
            _ => {}
        }
        let began = Instant::now();
        let found = Box::pin(look()).await; // on the heap: few look, many ask
        if let Some(last) = last.as_deref_mut() {
            *last = Some(if let Ok(what) = &found {
                let what = what.clone();
                Look::Found { began, what }
            } else {
                let ended = Instant::now();
                Look::Failed { ended }
            });
        }
        found
    }

    fn by_question(&self) -> MutexGuard<'_, ByQuestion<T>> {
        lock(&self.by_question)
    }
}

/// One who asks. The last of them for a question takes it out.
struct Asking<'a, T> {
    looks: &'a Looks<T>,
    question: Question,
    shared: Arc<Shared<T>>,
}

impl<'a, T> Asking<'a, T> {
    fn new(looks: &'a Looks<T>, question: Question) -> Self {
        let mut by_question = looks.by_question();
        let (asking, shared) = by_question.entry(question.clone()).or_default();
        *asking += 1;
        let shared = Arc::clone(shared);
        drop(by_question);
        Self {
            looks,
            question,
            shared,
        }
    }
}

impl<T> Drop for Asking<'_, T> {
    fn drop(&mut self) {
        let mut by_question = self.looks.by_question();
        if let Some((asking, _)) = by_question.get_mut(&self.question) {
            *asking -= 1;
            if *asking == 0 {
                by_question.remove(&self.question);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{Ready, pending, ready},
        pin::{Pin, pin},
        task::{Context, Waker},
    };

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    fn question(since: i64) -> Question {
        ("room".parse().unwrap(), Some(MessageId(since)), 100)
    }

    fn found(n: u32) -> Ready<Result<u32, &'static str>> {
        ready(Ok(n))
    }

    fn is_pending<T>(future: Pin<&mut impl Future<Output = T>>) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        future.poll(&mut context).is_pending()
    }

    #[tokio::test]
    async fn all_who_ask_during_a_look_share_the_next() {
        let (looks, done, end) = (Looks::default(), Cell::new(0), Notify::new());
        let look = || async {
            done.set(done.get() + 1);
            if done.get() == 1 {
                end.notified().await;
            }
            found(done.get()).await
        };
        let mut first = pin!(looks.share(question(1), look));
        assert!(is_pending(first.as_mut()));
        let mut others = pin!(join_all((0..5).map(|_| looks.share(question(1), look))));
        assert!(is_pending(others.as_mut()));

        end.notify_one();

        assert_eq!(tokio::join!(first, others), (Ok(1), vec![Ok(2); 5]));
    }

    #[tokio::test]
    async fn who_asks_later_or_something_else_has_a_look_of_its_own_and_none_is_kept() {
        let looks = Looks::default();
        for (n, since) in [(1, 1), (2, 1), (3, 2)] {
            assert_eq!(looks.share(question(since), || found(n)).await, Ok(n));
        }
        assert!(looks.by_question().is_empty());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_on_many_threads_leave_nothing_behind() {
        let looks = Arc::new(Looks::default());
        let ask = |n: u32| {
            let looks = Arc::clone(&looks);
            let look = async move || {
                tokio::task::yield_now().await;
                Ok::<_, ()>(n)
            };
            tokio::spawn(async move { looks.share(question(1), look).await })
        };
        for asked in join_all((0..2000).map(ask)).await {
            asked.unwrap().unwrap();
        }
        assert!(looks.by_question().is_empty());
    }

    #[tokio::test]
    async fn who_waited_for_one_that_failed_waits_for_no_other() {
        let (looks, end) = (Looks::default(), Notify::new());
        let failing = async || {
            end.notified().await;
            Err("no answer")
        };
        let mut first = pin!(looks.share(question(1), failing));
        assert!(is_pending(first.as_mut()));
        let mut second = pin!(looks.share(question(1), pending::<Result<u32, &str>>));
        let mut third = pin!(looks.share(question(1), || found(3)));
        assert!(is_pending(second.as_mut()) && is_pending(third.as_mut()));

        end.notify_one();

        assert_eq!(first.await, Err("no answer"));
        assert!(is_pending(second.as_mut()));
        assert_eq!(third.await, Ok(3));
    }

    #[tokio::test]
    async fn nobody_waits_for_long_for_anothers_look() {
        let looks = Looks::default();
        let mut first = pin!(looks.share(question(1), pending::<Result<u32, ()>>));
        assert!(is_pending(first.as_mut()));

        assert_eq!(looks.share(question(1), || found(2)).await, Ok(2));
    }

    #[tokio::test]
    async fn who_leaves_during_its_look_keeps_nobody_waiting() {
        let looks = Looks::default();
        let mut first = Box::pin(looks.share(question(1), pending::<Result<u32, ()>>));
        assert!(is_pending(first.as_mut()));
        let mut second = pin!(looks.share(question(1), || found(2)));
        assert!(is_pending(second.as_mut()));

        drop(first);

        assert_eq!(second.await, Ok(2));
    }
}
