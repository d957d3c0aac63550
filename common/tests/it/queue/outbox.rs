//! The outbox: a job exists exactly if the transaction that asked for it has committed.

use std::time::{Duration, SystemTime};

use common::{
    queue::{
        Lane, Options, Queue, Unique, When,
        outbox::{self, OutboxError, Relay, RelayError},
    },
    shutdown::{Shutdown, Stop},
    testing::{PATIENCE, RedisServer, TestDatabase, TestPostgres, TestQueue, eventually},
};
use diesel::{QueryDsl, result::Error::RollbackTransaction};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Act, Look, Plot, Stage, act, brief, names, onto, sorted};

const HOUR: Duration = Duration::from_secs(3600);

fn relay(queue: &TestQueue, database: &TestDatabase) -> Relay {
    Relay::new(queue.redis.clone(), queue.keys.clone(), database.url())
}

/// Runs a relay until the [`Stop`] is dropped.
fn start(relay: Relay) -> Stop {
    let (stop, shutdown) = Shutdown::manual();
    tokio::spawn(relay.run(shutdown));
    stop
}

async fn commit(connection: &mut AsyncPgConnection, acts: &[Act], options: &Options) {
    let committed: Result<(), OutboxError> = connection
        .transaction(async |connection| {
            for act in acts {
                outbox::enqueue(connection, act, options).await?;
            }
            Ok(())
        })
        .await;
    committed.unwrap();
}

/// Makes jobs of the rows, and dies before the rows are deleted.
async fn push_and_die(relay: &Relay, connection: &mut AsyncPgConnection) -> usize {
    let mut pushed = 0;
    let died: Result<(), RelayError> = connection
        .transaction(async |connection| {
            pushed = relay.push(connection).await?.len();
            Err(RollbackTransaction.into())
        })
        .await;
    assert!(matches!(died, Err(RelayError::Query(RollbackTransaction))));
    pushed
}

async fn rows(connection: &mut AsyncPgConnection) -> i64 {
    use diesel_async::RunQueryDsl;
    let table = common::pg::schema::outbox::table;
    table.count().get_result(connection).await.unwrap()
}

async fn marks(queue: &TestQueue) -> usize {
    queue.command(&["ZCARD", &queue.keys.relayed()]).await
}

/// Waits until the worker has run everything, and asserts that each of these acts ran once.
async fn each_ran_once(queue: &TestQueue, stage: &Stage, acts: Vec<String>) {
    stage.have_ended(acts.len()).await;
    eventually("the queue is empty", async || {
        queue.is_drained().await.then_some(())
    })
    .await;
    assert_eq!(sorted(stage.started()), acts);
    assert_eq!(queue.stat("enqueued:default").await, acts.len());
}

#[tokio::test]
async fn what_was_committed_runs_once_and_what_was_rolled_back_never() {
    let (queue, database, stage) = (
        TestQueue::start(),
        TestDatabase::start().await,
        Stage::new(),
    );
    let _worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    let _relay = start(relay(&queue, &database));
    let mut connection = database.connect().await;

    let rolled_back: Result<(), OutboxError> = connection
        .transaction(async |connection| {
            outbox::enqueue(connection, &act("never", Plot::Brief), &Options::default()).await?;
            Err(RollbackTransaction.into())
        })
        .await;
    commit(&mut connection, &brief(0..3), &Options::default()).await;

    assert!(rolled_back.is_err());
    each_ran_once(&queue, &stage, names(0..3)).await;
    assert_eq!(rows(&mut connection).await, 0);
}

#[tokio::test]
async fn a_job_is_not_made_before_the_commit() {
    let (queue, database) = (TestQueue::start(), TestDatabase::start().await);
    let relay = relay(&queue, &database);
    let (mut own, mut relays) = (database.connect().await, database.connect().await);

    let committed: Result<(), OutboxError> = own
        .transaction(async |own| {
            outbox::enqueue(own, &act("a", Plot::Brief), &Options::default()).await?;
            assert_eq!(relay.batch(&mut relays).await.unwrap(), 0);
            Ok(())
        })
        .await;

    committed.unwrap();
    assert_eq!(queue.listed(Queue::Default).await, 0);
    assert_eq!(relay.batch(&mut relays).await.unwrap(), 1);
    assert_eq!(queue.listed(Queue::Default).await, 1);
}

#[tokio::test]
async fn postgres_tells_of_a_commit() {
    use diesel_async::SimpleAsyncConnection;
    let database = TestDatabase::start().await;
    let (mut own, mut listener) = (database.connect().await, database.connect().await);
    listener.batch_execute("LISTEN outbox").await.unwrap();

    commit(&mut own, &brief(0..2), &Options::default()).await;

    let mut told = std::pin::pin!(listener.notifications_stream());
    let notification = timeout(PATIENCE, told.next()).await.unwrap();
    assert_eq!(notification.unwrap().unwrap().channel, "outbox");
}

#[tokio::test]
async fn a_relay_that_dies_between_push_and_commit_makes_no_second_job() {
    let (queue, database, stage) = (
        TestQueue::start(),
        TestDatabase::start().await,
        Stage::new(),
    );
    let relay = relay(&queue, &database);
    let mut connection = database.connect().await;
    commit(&mut connection, &brief(0..5), &Options::default()).await;

    assert_eq!(push_and_die(&relay, &mut connection).await, 5);
    // Also when the jobs are done and gone meanwhile.
    let _worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    each_ran_once(&queue, &stage, names(0..5)).await;
    commit(&mut connection, &brief(5..7), &Options::default()).await;
    assert_eq!(push_and_die(&relay, &mut connection).await, 7);
    assert_eq!(rows(&mut connection).await, 7);
    assert_eq!(relay.batch(&mut connection).await.unwrap(), 7);

    assert_eq!(rows(&mut connection).await, 0);
    each_ran_once(&queue, &stage, names(0..7)).await;
}

#[tokio::test]
async fn relays_that_are_killed_at_any_moment_make_each_job_once() {
    let (queue, database) = (TestQueue::start(), TestDatabase::start().await);
    let mut connection = database.connect().await;
    for hundred in 0..30 {
        let acts = brief(hundred * 100..hundred * 100 + 100);
        commit(&mut connection, &acts, &Options::default()).await;
    }

    let mut kills = 0;
    while rows(&mut connection).await > 0 {
        let (_stop, shutdown) = Shutdown::manual();
        let relays = [(); 2].map(|()| {
            let relay = relay(&queue, &database);
            tokio::spawn(relay.run(shutdown.clone()))
        });
        let moment = Duration::from_micros(rand::random_range(1000..60_000));
        tokio::time::sleep(moment).await;
        for relay in relays {
            relay.abort();
            kills += 1;
        }
    }

    assert!(kills > 0);
    assert_eq!(queue.stat("enqueued:default").await, 3000);
    let bodies: Vec<String> = queue.bodies().await.into_values().collect();
    let name = |body: &String| body.split("\"name\":").nth(1).unwrap().to_owned();
    let mut made: Vec<_> = bodies.iter().map(name).collect();
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 3000);
}

#[tokio::test]
async fn a_mark_is_kept_while_its_row_is_there_and_forgotten_afterwards() {
    let (queue, database) = (TestQueue::start(), TestDatabase::start().await);
    let relay = relay(&queue, &database);
    let mut connection = database.connect().await;
    commit(&mut connection, &brief(0..5), &Options::default()).await;

    push_and_die(&relay, &mut connection).await;
    relay.forget(&mut connection, Duration::ZERO).await.unwrap();
    assert_eq!(marks(&queue).await, 5);
    relay.batch(&mut connection).await.unwrap();
    assert_eq!(queue.listed(Queue::Default).await, 5);

    relay.forget(&mut connection, HOUR).await.unwrap();
    assert_eq!(marks(&queue).await, 5, "too young");
    relay.forget(&mut connection, Duration::ZERO).await.unwrap();
    assert_eq!(marks(&queue).await, 0);
}

#[tokio::test]
async fn a_new_table_that_counts_from_one_again_is_not_taken_for_the_old_one() {
    let (queue, database) = (TestQueue::start(), TestDatabase::start().await);
    let relay = relay(&queue, &database);
    let mut connection = database.connect().await;

    for _ in 0..2 {
        commit(&mut connection, &brief(0..3), &Options::default()).await;
        assert_eq!(relay.batch(&mut connection).await.unwrap(), 3);
        database
            .execute("ALTER SEQUENCE outbox_id_seq RESTART")
            .await;
    }

    assert_eq!(queue.listed(Queue::Default).await, 6);
}

#[tokio::test]
async fn two_relays_make_each_job_once_in_the_order_of_ids() {
    let (queue, database, stage) = (
        TestQueue::start(),
        TestDatabase::start().await,
        Stage::new(),
    );
    let mut connection = database.connect().await;
    commit(&mut connection, &brief(0..700), &Options::default()).await;
    let _relays = [(); 2].map(|()| start(relay(&queue, &database)));
    for number in 700..720 {
        let acts = brief(number..number + 1);
        commit(&mut connection, &acts, &Options::default()).await;
    }
    eventually("the outbox is empty", async || {
        (rows(&mut connection).await == 0).then_some(())
    })
    .await;

    let _worker = queue.worker(stage.registry(), TestQueue::options("default=1"));
    each_ran_once(&queue, &stage, names(0..720)).await;
    let in_order: Vec<_> = (0..720).map(|number| number.to_string()).collect();
    assert_eq!(stage.started(), in_order);
}

#[tokio::test]
async fn a_second_relay_stands_by_while_one_is_at_work() {
    let (queue, database) = (TestQueue::start(), TestDatabase::start().await);
    let relay = relay(&queue, &database);
    let (mut first, mut second) = (database.connect().await, database.connect().await);
    commit(&mut first, &brief(0..2), &Options::default()).await;

    let done: Result<(), RelayError> = first
        .transaction(async |first| {
            assert_eq!(relay.push(first).await?.len(), 2);
            assert_eq!(relay.batch(&mut second).await?, 0);
            Err(RollbackTransaction.into())
        })
        .await;

    assert!(done.is_err());
    assert_eq!(relay.batch(&mut second).await.unwrap(), 2);
    assert_eq!(queue.listed(Queue::Default).await, 2);
}

#[tokio::test]
async fn large_bodies_go_in_several_batches() {
    let (queue, database) = (TestQueue::start(), TestDatabase::start().await);
    let relay = relay(&queue, &database);
    let mut connection = database.connect().await;
    let large: Vec<_> = (0..4)
        .map(|_| act("x".repeat(400_000), Plot::Brief))
        .collect();
    commit(&mut connection, &large, &Options::default()).await;

    assert_eq!(relay.batch(&mut connection).await.unwrap(), 3);
    assert_eq!(relay.batch(&mut connection).await.unwrap(), 1);
    assert_eq!(queue.listed(Queue::Default).await, 4);
}

#[tokio::test]
async fn options_go_along() {
    let (queue, database) = (TestQueue::start(), TestDatabase::start().await);
    let relay = relay(&queue, &database);
    let mut connection = database.connect().await;
    let when = |when| Options {
        when,
        ..onto(Queue::High)
    };
    let in_lane = Options {
        lane: Some(Lane::new("l", 1)),
        max_attempts: Some(7),
        ..onto(Queue::Low)
    };

    let acts = brief(0..2);
    commit(&mut connection, &acts, &when(When::In(HOUR))).await;
    let at = SystemTime::now() + 2 * HOUR;
    commit(&mut connection, &brief(2..3), &when(When::At(at))).await;
    let past = When::At(SystemTime::UNIX_EPOCH);
    commit(&mut connection, &brief(3..4), &when(past)).await;
    commit(&mut connection, &acts, &in_lane).await;
    let for_ever = When::In(Duration::MAX);
    commit(&mut connection, &brief(4..5), &when(for_ever)).await;
    assert_eq!(relay.batch(&mut connection).await.unwrap(), 7);

    assert_eq!(queue.listed(Queue::High).await, 1);
    assert_eq!(queue.listed(Queue::Low).await, 1);
    let waiting: usize = queue.command(&["ZCARD", &queue.keys.lane("l")]).await;
    assert_eq!(waiting, 1);
    let due: Vec<(String, f64)> = queue
        .command(&["ZRANGE", &queue.keys.scheduled(), "0", "-1", "WITHSCORES"])
        .await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let hours = due.iter().map(|(_, ms)| (ms / 1000.0 - now) / 3600.0);
    let hours: Vec<_> = hours.map(f64::round).collect();
    assert_eq!(hours[..3], [1.0, 1.0, 2.0]);
    assert_eq!(hours.len(), 4);
    let body = queue.body("low+1".parse().unwrap()).await.unwrap();
    assert!(body.contains(r#""max_attempts":7"#), "{body}");
}

#[tokio::test]
async fn what_needs_an_answer_from_redis_is_refused() {
    let database = TestDatabase::start().await;
    let mut connection = database.connect().await;
    let act = act("a", Plot::Brief);
    let unique = Options {
        unique: Some(Unique::until_done("k")),
        ..Options::default()
    };
    let kept = Options {
        keep_result: Some(HOUR),
        ..Options::default()
    };
    let bad_lane = Options {
        lane: Some(Lane::new("\"", 1)),
        ..Options::default()
    };

    let unique = outbox::enqueue(&mut connection, &act, &unique).await;
    let kept = outbox::enqueue(&mut connection, &act, &kept).await;
    let bad_lane = outbox::enqueue(&mut connection, &act, &bad_lane).await;

    assert!(matches!(unique, Err(OutboxError::Unique { task }) if task == "test.act"));
    assert!(matches!(kept, Err(OutboxError::Result { .. })));
    assert!(matches!(bad_lane, Err(OutboxError::Job(_))));
    assert_eq!(rows(&mut connection).await, 0);
}

#[tokio::test]
async fn jobs_wait_in_postgres_while_redis_is_away() {
    let mut server = RedisServer::start(&["--appendfsync", "always"]);
    let queue = TestQueue::on(&server.url());
    let (database, stage) = (TestDatabase::start().await, Stage::new());
    let _worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    let _relay = start(relay(&queue, &database));
    let mut connection = database.connect().await;
    commit(&mut connection, &brief(0..2), &Options::default()).await;
    each_ran_once(&queue, &stage, names(0..2)).await;

    server.kill();
    commit(&mut connection, &brief(2..5), &Options::default()).await;
    let batch = relay(&queue, &database).batch(&mut connection).await;
    assert!(matches!(batch, Err(RelayError::Redis(_))), "{batch:?}");
    assert_eq!(rows(&mut connection).await, 3);
    server.restart();

    each_ran_once(&queue, &stage, names(0..5)).await;
}

#[tokio::test]
async fn the_relay_comes_back_with_postgres() {
    let mut server = TestPostgres::start();
    let database = TestDatabase::on(&server.url()).await;
    let (queue, stage) = (TestQueue::start(), Stage::new());
    let _worker = queue.worker(stage.registry(), TestQueue::options("default=4"));
    let _relay = start(relay(&queue, &database));
    let mut connection = database.connect().await;
    commit(&mut connection, &brief(0..2), &Options::default()).await;
    each_ran_once(&queue, &stage, names(0..2)).await;

    server.restart();
    let mut connection = database.connect().await;
    commit(&mut connection, &brief(2..5), &Options::default()).await;

    each_ran_once(&queue, &stage, names(0..5)).await;
}
