//! The balance: how many bodies there are, and how many there ought to be, at one instant.

use std::{collections::BTreeMap, sync::LazyLock};

use super::Auditor;
use crate::{
    kv::{Call, KvError, Script},
    queue::{LIB, Queue, inspect::ONLY_LOOKS},
};

static BALANCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "count the jobs",
        &[
            ONLY_LOOKS,
            LIB,
            include_str!("../lua/count.lua"),
            include_str!("../lua/balance.lua"),
        ],
    )
});

/// Where bodies are: the buckets that a walk over the keys has found, and those that began since.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    pub(super) names: Vec<String>,
    /// By queue: the highest numbers of pushed and of unlisted ids before the walk.
    before: [(u64, u64); Queue::ALL.len()],
}

impl Buckets {
    /// Those that `lua/count.lua` counts: its part of a script's arguments.
    pub(super) fn write(&self, call: &mut Call<'_>) {
        call.arg(self.names.len()).arg(&self.names);
        for (queue, (pushed, unlisted)) in Queue::ALL.iter().zip(self.before) {
            call.arg(queue).arg(pushed).arg(unlisted);
        }
    }
}

impl Auditor {
    /// Where bodies are, as long as no walk has found any.
    pub(super) async fn no_buckets(&self) -> Result<Buckets, KvError> {
        type Mark = (Option<u64>, Option<u64>);
        let mut buckets = Buckets::default();
        for (queue, before) in Queue::ALL.iter().zip(&mut buckets.before) {
            let mut pipe = redis::pipe();
            pipe.hget(self.keys.stats(), format!("enqueued:{queue}"));
            pipe.hmget(self.keys.mark(*queue), &["last", "later"]);
            let (enqueued, (pushed, unlisted)): (Option<u64>, Mark) =
                self.redis.read_all("read a queue's mark", &pipe).await?;
            // Without a mark, numbers go on where the total is (`lua/numbers.lua`).
            let used = enqueued.filter(|_| pushed.or(unlisted).is_none());
            *before = (pushed.or(used).unwrap_or(0), unlisted.or(used).unwrap_or(0));
        }
        Ok(buckets)
    }

    /// How many bodies there are, and the totals, at one instant.
    pub(super) async fn balance(
        &self,
        buckets: &Buckets,
    ) -> Result<(u64, BTreeMap<String, i64>), KvError> {
        let mut call = BALANCE.on(self.keys.prefix());
        call.arg("");
        buckets.write(&mut call);
        call.run(&self.redis).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::{
        queue::{Options, When},
        testing::TestQueue,
    };

    #[tokio::test]
    async fn a_body_is_counted_once_wherever_it_was_made_meanwhile() {
        let queue = TestQueue::start();
        let auditor = Auditor::new(queue.redis.clone(), queue.keys.clone());
        let (producer, now) = (queue.producer(), Options::default());
        let later = Options {
            when: When::In(std::time::Duration::from_secs(900)),
            ..Options::default()
        };
        let enqueue = async |options: &Options| {
            let made = producer.enqueue_raw("test.any", RawValue::NULL, options);
            made.await.unwrap();
        };
        let mark = queue.keys.mark(Queue::Default);
        let begin_at = async |last: &str| {
            let _: usize = queue.command(&["HSET", &mark, "last", last]).await;
        };
        enqueue(&now).await;
        begin_at("2999").await;
        enqueue(&now).await;
        let before = auditor.no_buckets().await.unwrap();
        let walked = auditor.names(&mut |_| {}).await.unwrap().buckets;
        for _ in 0..3 {
            enqueue(&now).await;
        }
        begin_at("5998").await;
        enqueue(&now).await;
        enqueue(&now).await;
        enqueue(&later).await;

        let (bodies, totals) = auditor.balance(&walked).await.unwrap();

        assert_eq!((bodies, totals["enqueued:default"]), (8, 8));
        let (since, _) = auditor.balance(&before).await.unwrap();
        assert_eq!(since, 7, "all but the first, which only a walk finds");
    }
}
