//! Buckets: hashes of the bodies of a thousand ids each ([`Keys::bucket`]). Here is what moves the bodies that a
//! release before these has left in one hash. See docs/decisions/0040-bodies-in-buckets.md.

use std::sync::LazyLock;

use crate::kv::{Keys, KvError, Redis, Script};

static REBUCKET: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "move bodies to their buckets",
        &[super::LIB, include_str!("lua/rebucket.lua")],
    )
});

/// Bodies a step, about: few enough that those of a megabyte do not fill Redis's memory.
const CHUNK: usize = 50;

/// Moves what is left of before. Costs one question if there is nothing.
pub(super) async fn move_old(redis: &Redis, keys: &Keys) -> Result<(), KvError> {
    let (mut cursor, mut all) = ("0".to_owned(), 0);
    loop {
        let mut call = REBUCKET.on(keys.prefix());
        call.arg(cursor).arg(CHUNK);
        let (next, moved): (String, u64) = call.run(redis).await?;
        if all == 0 && moved > 0 {
            tracing::info!("moving the bodies of jobs to their buckets");
        }
        all += moved;
        if next == "0" {
            break;
        }
        cursor = next;
    }
    if all > 0 {
        tracing::info!("moved {all} bodies to their buckets");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        queue::{JobId, LIB},
        testing::TestQueue,
    };

    #[tokio::test]
    async fn scripts_and_programs_have_one_bucket_for_an_id() {
        let queue = TestQueue::start();
        let script = format!("{LIB}\nreturn {{ bucket_of(ARGV[1]), bucket_at(ARGV[2], ARGV[3]) }}");
        let script = redis::Script::new(&script);
        for number in [
            1_u64,
            9,
            10,
            45,
            999,
            1000,
            1999,
            2000,
            99_999,
            100_000,
            9_007_199_254,
        ] {
            for kind in ["high-", "default-", "low+"] {
                let id: JobId = format!("{kind}{number}").parse().unwrap();
                let mut call = script.key(queue.keys.prefix());
                call.arg(id).arg(kind).arg(number);
                let mut connection = queue.redis.connection().await.unwrap();
                let found: [String; 2] = call.invoke_async(&mut connection).await.unwrap();
                assert_eq!(found, [queue.keys.bucket(id), queue.keys.bucket(id)]);
            }
        }
    }

    #[tokio::test]
    async fn what_was_in_one_hash_is_in_buckets() {
        let queue = TestQueue::start();
        let old = format!("{}jobs", queue.keys.prefix());
        let ids = (1..=20_000).map(|n| format!("default-{n}"));
        let ids = ids.chain(["low+7".to_owned()]);
        let bodies: BTreeMap<JobId, String> = ids
            .map(|id| (id.parse().unwrap(), format!("the body of {id}")))
            .collect();
        let mut words = vec!["HSET".to_owned(), old.clone()];
        words.extend(
            bodies
                .iter()
                .flat_map(|(id, body)| [id.to_string(), body.clone()]),
        );
        let _: usize = queue.command(&words).await;

        for _ in 0..2 {
            move_old(&queue.redis, &queue.keys).await.unwrap();

            assert_eq!(queue.bodies().await, bodies);
            let is_left: bool = queue.command(&["EXISTS", &old]).await;
            assert!(!is_left);
        }
    }
}
