//! What an operator sees.

use common::{
    queue::{
        Queue,
        dead::Filter,
        inspect::{
            Inspector,
            list::{Listing, State},
            show::{Job, Known},
        },
    },
    testing::{RedisServer, TestQueue, eventually},
};

use super::{Hold, Holds, Nothing, Stage, id};

async fn show(stage: &Stage, job: &str) -> Job {
    match stage.inspector.show(id(job)).await.expect("Redis answers") {
        Known::Job(job) => *job,
        other => panic!("{job} is {other:?}"),
    }
}

#[tokio::test]
async fn an_empty_namespace_has_an_empty_status() {
    let stage = Stage::set();

    let status = stage.inspector.status().await.unwrap();

    assert_eq!(status.queues.len(), 3);
    assert!(status.queues.iter().all(|queue| queue.waiting == 0));
    assert!(status.queues.iter().all(|q| q.waiting_since_ms.is_none()));
    assert_eq!((status.jobs, status.dead, status.next_due_ms), (0, 0, None));
    assert!(status.workers.is_empty() && status.totals.is_empty());
}

#[tokio::test]
async fn the_status_counts_one_job_in_each_state() {
    let stage = Stage::set();
    let worker = stage.one_of_each().await;

    let status = stage.inspector.status().await.unwrap();

    let high = &status.queues[0];
    assert_eq!((high.queue, high.waiting), (Queue::High, 2));
    assert_eq!(high.oldest.as_deref(), Some("high-1"));
    let age = status.now_ms - high.waiting_since_ms.unwrap();
    assert!(age < 60_000, "{age} ms");
    assert_eq!(status.queues[1].waiting, 0);
    assert_eq!((status.jobs, status.scheduled), (6, 2));
    assert_eq!((status.claimed, status.dead), (1, 1));
    let due_in = status.next_due_ms.unwrap() - status.now_ms;
    assert!((3_500_000..=3_600_000).contains(&due_in), "{due_in} ms");
    assert_eq!(status.totals["enqueued:default"], 4);
    assert_eq!(status.totals["buried"], 1);
    let [seen] = &status.workers[..] else {
        panic!("{:?}", status.workers)
    };
    assert_eq!((seen.id.clone(), seen.holds), (worker.id.to_string(), 1));
    assert!(seen.alive_until_ms > status.now_ms);
    assert_eq!(seen.info.pid, std::process::id());
    assert_eq!(seen.info.queues["default"], 4);
}

#[tokio::test]
async fn the_age_of_the_oldest_passes_over_leftovers() {
    let stage = Stage::set();
    let first = stage.enqueue(&Nothing { n: 1 }).await;
    stage.enqueue(&Nothing { n: 2 }).await;

    stage.operator.discard(&[first]).await.unwrap();

    let status = stage.inspector.status().await.unwrap();
    assert_eq!(status.queues[1].oldest.as_deref(), Some("default-2"));
}

#[tokio::test]
async fn a_scheduled_job_that_is_pushed_waits_since_it_was_due() {
    let stage = Stage::set();
    let job = stage.schedule(&Nothing { n: 1 }).await;
    // Due a minute ago, as if no worker had run.
    let status = stage.inspector.status().await.unwrap();
    let due = (status.now_ms - 60_000).to_string();
    stage
        .command("ZADD", "scheduled", &[&due, "default+1"])
        .await;
    let body = format!(
        r#"{{"at":{},"due":{due},"task":"demo.nothing","args":{{"n":1}}}}"#,
        status.now_ms - 90_000
    );
    stage
        .command("HSET", "jobs:default+0", &["default+1", &body])
        .await;
    let mut care = common::queue::care::Care::new(
        stage.queue.redis.clone(),
        stage.queue.keys.clone(),
        &TestQueue::options("low=1"),
    );

    care.look().await.unwrap();

    let status = stage.inspector.status().await.unwrap();
    let oldest = &status.queues[1];
    assert_eq!(oldest.oldest, Some(job.to_string()));
    let age = status.now_ms - oldest.waiting_since_ms.unwrap();
    assert!((60_000..70_000).contains(&age), "{age} ms");
}

#[tokio::test]
async fn each_state_lists_its_jobs_with_what_matters_in_it() {
    let stage = Stage::set();
    let worker = stage.one_of_each().await;
    let list = async |state| {
        let listing = Listing {
            lane: None,
            state,
            queue: None,
            filter: Filter::default(),
            limit: 10,
            cursor: None,
        };
        let page = stage.inspector.jobs(&listing).await.unwrap();
        assert_eq!(page.next, None);
        page
    };

    let waiting = list(State::Waiting).await;
    assert_eq!(waiting.jobs.len(), 2);
    assert_eq!(waiting.jobs[0].id, "high-1");
    assert_eq!(waiting.jobs[0].task.as_deref(), Some("demo.nothing"));
    assert_eq!(waiting.jobs[0].args.as_ref().unwrap().get(), r#"{"n":1}"#);
    assert!(waiting.jobs[0].waiting_since_ms.unwrap() <= waiting.now_ms);

    let scheduled = list(State::Scheduled).await;
    let retried = scheduled.jobs.iter().find(|job| job.id == "default-2");
    let retried = retried.expect("the failed one is to be tried again");
    assert_eq!((retried.attempts, retried.deaths), (1, 0));
    assert_eq!(retried.error.as_deref(), Some("the disk is full"));
    assert!(retried.due_ms.unwrap() > scheduled.now_ms);

    let claimed = list(State::Claimed).await;
    assert_eq!(claimed.jobs[0].id, "default-3");
    assert_eq!(claimed.jobs[0].worker, Some(worker.id.to_string()));
    assert_eq!(claimed.jobs[0].attempts, 1);
    assert!(claimed.jobs[0].claimed_ms.unwrap() <= claimed.now_ms);

    let dead = list(State::Dead).await;
    assert_eq!(dead.jobs[0].id, "default-1");
    assert_eq!(dead.jobs[0].error.as_deref(), Some("the disk is on fire"));
}

#[tokio::test]
async fn pages_join_to_the_whole_in_the_order_of_running() {
    let stage = Stage::set();
    let producer = stage.queue.producer();
    let jobs: Vec<_> = (0..250).map(|n| Nothing { n }).collect();
    for queue in [Queue::Low, Queue::High] {
        let options = common::queue::Options {
            queue: Some(queue),
            ..Default::default()
        };
        producer.enqueue_all(&jobs, &options).await.unwrap();
    }
    let mut listing = Listing {
        lane: None,
        state: State::Waiting,
        queue: None,
        filter: Filter::default(),
        limit: 70,
        cursor: None,
    };

    let mut seen = Vec::new();
    loop {
        let page = stage.inspector.jobs(&listing).await.unwrap();
        assert!(page.jobs.len() <= 70);
        seen.extend(page.jobs.into_iter().map(|job| job.id));
        let Some(next) = page.next else { break };
        listing.cursor = Some(next.to_string().parse().unwrap());
    }

    let high = (1..=250).map(|n| format!("high-{n}"));
    let low = (1..=250).map(|n| format!("low-{n}"));
    assert_eq!(seen, high.chain(low).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_job_is_shown_whole_in_every_state() {
    let stage = Stage::set();
    let worker = stage.one_of_each().await;

    let waiting = show(&stage, "high-2").await;
    assert_eq!(
        (waiting.state.as_str(), waiting.ahead),
        ("waiting", Some(1))
    );
    assert_eq!(waiting.args.unwrap().get(), r#"{"n":2}"#);

    let scheduled = show(&stage, "default+1").await;
    assert_eq!(scheduled.state, "scheduled");
    assert!(scheduled.due_ms.unwrap() > scheduled.now_ms);

    let claimed = show(&stage, "default-3").await;
    let claim = claimed.claim.as_ref().unwrap();
    assert_eq!(claimed.state, "claimed");
    assert_eq!(claim.worker, worker.id.to_string());
    assert_eq!((claimed.attempts, claim.info.pid), (1, std::process::id()));
    assert!(claim.alive_until_ms.unwrap() > claimed.now_ms);

    let dead = show(&stage, "default-1").await;
    assert_eq!(dead.state, "dead");
    let [buried] = &dead.history[..] else {
        panic!("{:?}", dead.history)
    };
    assert_eq!(buried.event, "buried");
    assert_eq!(buried.error.as_deref(), Some("the disk is on fire"));
    assert_eq!(buried.worker, Some(worker.id.to_string()));

    let retried = show(&stage, "default-2").await;
    assert_eq!(retried.history[0].retry_in_ms, Some(3_600_000));
}

#[tokio::test]
async fn an_id_that_is_gone_is_told_from_one_that_never_was() {
    let stage = Stage::set();
    let job = stage.enqueue(&Nothing { n: 1 }).await;
    stage.operator.discard(&[job]).await.unwrap();

    let finished = stage.inspector.show(job).await.unwrap();
    let never = stage.inspector.show(id("default-2")).await.unwrap();
    let nothing_yet = stage.inspector.show(id("low+1")).await.unwrap();

    assert!(matches!(finished, Known::Finished));
    assert!(matches!(never, Known::Never { newest } if newest == Some(job)));
    assert!(matches!(nothing_yet, Known::Never { newest: None }));
}

#[tokio::test]
async fn a_group_is_seen_from_its_master_s_children_and_from_what_follows() {
    let stage = Stage::set();
    let _worker = stage.worker("default=8");

    let master = stage.enqueue(&Holds).await;

    let children = ["default-2", "default-3", "default-4"];
    stage.wait_for_claims(&children).await;
    let child = show(&stage, "default-2").await;
    let group = child.child_of.expect("it is a child");
    assert_eq!((group.master, group.policy.as_str()), (master, "continue"));
    assert_eq!((group.total, group.left, group.failed), (3, 3, 0));
    assert!(group.sealed && group.open);
    stage.gate.add_permits(3);
    stage.settle_down("all is done", [0, 0, 0]).await;
    let child = stage.inspector.show(child.id).await.unwrap();
    assert!(matches!(child, Known::Finished));
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_shown_as_it_is() {
    let stage = Stage::set();
    stage.enqueue(&Hold).await;
    stage
        .command("HSET", "jobs:default-0", &["default-1", "junk"])
        .await;

    let job = show(&stage, "default-1").await;

    assert_eq!((job.state.as_str(), job.task), ("waiting", None));
    assert_eq!(job.unreadable.as_deref(), Some("junk"));
}

#[tokio::test]
async fn the_children_of_a_master_are_listed_with_where_they_are() {
    let stage = Stage::set();
    let worker = stage.worker("default=4");
    let master = stage.enqueue(&Holds).await;
    let children = eventually("the children run", async || {
        let page = stage.inspector.children(master, 0, 10).await.unwrap();
        let states = page.left.iter().filter_map(|child| child.job.as_ref());
        // The group was read before its children were.
        let run = states.filter(|job| job.state == "claimed").count() == 3;
        (run && page.group.total == 3).then_some(page)
    })
    .await;

    assert_eq!((children.group.total, children.group.left), (3, 3));
    assert_eq!((children.next, children.failed.len()), (None, 0));
    worker.stop().await;
    let one = children.left[0].id;
    stage.operator.discard(&[one]).await.unwrap();
    let children = stage.inspector.children(master, 0, 10).await.unwrap();
    assert_eq!((children.group.left, children.left.len()), (2, 2));
    assert_eq!(children.failed[0].0, one.to_string());
}

/// What workers hold costs as much as they hold, and a page asks again and again.
#[tokio::test]
async fn what_workers_hold_is_not_asked_for_a_job_that_nobody_holds() {
    let stage = Stage::set();
    let worker = stage.one_of_each().await;
    worker.stop().await;
    stage.command("ZADD", "workers", &["1e15", "w"]).await;
    stage
        .command("SET", "claims:w", &["who asks gets an error"])
        .await;

    for (job, state) in [
        ("default-1", "dead"),
        ("default-2", "scheduled"),
        ("default-3", "waiting"),
        ("default+1", "scheduled"),
    ] {
        let known = stage
            .inspector
            .show(id(job))
            .await
            .expect("it is not asked");
        let Known::Job(seen) = &known else {
            panic!("{job} is there")
        };
        assert_eq!(seen.state, state, "{job}");
        if state != "waiting" {
            let why = stage.inspector.explain_known(id(job), &known).await;
            why.expect("it is not asked");
        }
    }
    let never = stage.inspector.explain(id("default-9")).await;
    never.expect("it is not asked");
}

#[tokio::test]
async fn the_children_of_a_page_are_looked_at_in_one_step() {
    let redis = RedisServer::start(&[]);
    let queue = TestQueue::on(&redis.url());
    let inspector = Inspector::new(queue.redis.clone(), queue.keys.clone());
    let master = queue.producer().enqueue(&Nothing { n: 0 }).await.unwrap();
    for n in 0..20 {
        let child = queue.producer().enqueue(&Nothing { n }).await.unwrap();
        let left = queue.keys.group_left(master);
        let _: u64 = queue.command(&["SADD", &left, &child.to_string()]).await;
    }
    let scripts = async || {
        let stats: String = queue.command(&["INFO", "commandstats"]).await;
        let calls = stats.lines().find_map(|line| {
            let calls = line.strip_prefix("cmdstat_evalsha:calls=")?;
            calls.split(',').next()?.parse::<u64>().ok()
        });
        calls.expect("scripts ran")
    };
    let _ = inspector.children(master, 0, 20).await.unwrap(); // loads the scripts
    let before = scripts().await;

    let page = inspector.children(master, 0, 20).await.unwrap();

    assert_eq!(scripts().await - before, 2, "the group, and its children");
    let waiting = page.left.iter().filter_map(|child| child.job.as_ref());
    assert_eq!(waiting.filter(|job| job.state == "waiting").count(), 20);
}
