//! A worker process relays the outbox.

use std::process::{Child, Command, Stdio};

use common::testing::{TestDatabase, TestQueue, eventually};

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_row_that_plain_sql_has_inserted_becomes_a_job() {
    let (queue, database) = (TestQueue::start(), TestDatabase::start().await);
    let worker = Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["--queues", "low=1"])
        .env("RHUBARB_NAMESPACE", &queue.namespace)
        .env("DATABASE_URL", database.url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _worker = Process(worker.unwrap());

    // As docs/outbox.md writes it.
    let page = include_str!("../../../docs/outbox.md");
    let insert = page.split("```sql").nth(1).unwrap();
    let insert = insert.split("```").next().unwrap();
    database.execute(insert).await;

    let made = eventually("the row is a job", async || {
        queue.body("default-1".parse().unwrap()).await
    });
    let body = made.await;
    assert!(
        body.contains(r#""task":"bill","args":{"order":7}"#),
        "{body}"
    );
}
