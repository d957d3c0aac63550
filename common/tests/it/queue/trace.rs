//! Trace context: from the enqueue to whatever a job leads to.

use std::sync::{Arc, Mutex};

use common::{
    queue::{JobContext, OnDeath, Options, Producer, Registry, Task, TaskError, TraceParent, job},
    testing::TestQueue,
};
use serde::{Deserialize, Serialize};

use super::Look;

/// Notes its place in its trace, then leads to something.
#[derive(Debug, Serialize, Deserialize)]
struct Link {
    name: String,
    leads_to: LeadsTo,
}

#[derive(Debug, Serialize, Deserialize)]
enum LeadsTo {
    Nothing,
    Group,
    Job,
    Flow,
}

fn link(name: &str, leads_to: LeadsTo) -> Link {
    let name = name.to_owned();
    Link { name, leads_to }
}

struct Chain {
    producer: Producer,
    seen: Mutex<Vec<(String, Option<TraceParent>)>>,
}

impl Chain {
    fn seen(&self) -> Vec<(String, Option<TraceParent>)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Task for Link {
    const NAME: &'static str = "test.link";
    type Context = Chain;
    type Output = ();

    async fn run(self, chain: &Chain, job: &JobContext) -> Result<(), TaskError> {
        assert_eq!(TraceParent::current(), job.trace());
        let last = |name| link(name, LeadsTo::Nothing);
        match self.leads_to {
            LeadsTo::Nothing => {}
            LeadsTo::Group => {
                let mut split = job.fan_out(OnDeath::Fail, &()).await?;
                split.add(&last("child")).await?;
                split.then(&link("what follows", LeadsTo::Job)).await?;
            }
            LeadsTo::Job => {
                let leads_to = LeadsTo::Flow;
                chain.producer.enqueue(&link("another", leads_to)).await?;
            }
            LeadsTo::Flow => {
                let flow = self::job(&last("first step")).then(&last("second step"));
                chain.producer.start(flow).await?;
            }
        }
        chain.seen.lock().unwrap().push((self.name, job.trace()));
        Ok(())
    }
}

/// Runs a link and all that it leads to; returns who saw which context.
async fn play(queue: &TestQueue, options: &Options) -> Vec<(String, Option<TraceParent>)> {
    let chain = Arc::new(Chain {
        producer: queue.producer(),
        seen: Mutex::default(),
    });
    let registry = Registry::new().with::<Link>(&chain);
    let master = link("master", LeadsTo::Group);
    let enqueued = queue.producer().enqueue_with(&master, options).await;
    enqueued.unwrap();
    queue.run_all(registry).await;
    queue.ends_clean().await;
    chain.seen()
}

const ALL: [&str; 6] = [
    "master",
    "child",
    "what follows",
    "another",
    "first step",
    "second step",
];

#[tokio::test]
async fn all_that_a_job_leads_to_is_in_its_trace_each_as_a_span_of_its_own() {
    let queue = TestQueue::start();
    let trace = TraceParent::fresh();
    let options = Options {
        trace: Some(trace),
        ..Options::default()
    };

    let seen = play(&queue, &options).await;

    let names: Vec<_> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ALL);
    let mut spans = vec![trace.span_id()];
    for (name, context) in seen {
        let context = context.unwrap();
        assert_eq!(context.trace_id(), trace.trace_id(), "of {name}");
        assert!(!spans.contains(&context.span_id()), "of {name}");
        spans.push(context.span_id());
    }
}

#[tokio::test]
async fn a_child_names_its_master_as_its_parent() {
    let queue = TestQueue::start();
    let chain = Arc::new(Chain {
        producer: queue.producer(),
        seen: Mutex::default(),
    });
    let registry = Registry::new().with::<Link>(&chain);
    let master = link("master", LeadsTo::Group);
    let trace = TraceParent::fresh();
    let enqueue = async { queue.producer().enqueue(&master).await.unwrap() };
    let id = trace.scope(enqueue).await;
    let body = async |id: &str| -> serde_json::Value {
        let text = queue.body(id.parse().unwrap()).await.unwrap();
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(body(&id.to_string()).await["trace"], trace.to_string());

    queue.stepper(registry).step().await.unwrap();

    let (_, of_master) = chain.seen()[0].clone();
    let child = body("default-2").await;
    assert_eq!(child["trace"], of_master.unwrap().to_string());
}

#[tokio::test]
async fn a_job_without_a_trace_starts_none() {
    let queue = TestQueue::start();

    let seen = play(&queue, &Options::default()).await;

    assert_eq!(seen.len(), ALL.len());
    assert!(seen.iter().all(|(_, trace)| trace.is_none()), "{seen:?}");
}

#[tokio::test]
async fn a_stepper_in_a_scope_does_not_lend_its_trace_to_the_jobs_that_it_runs() {
    let queue = TestQueue::start();

    let lone = link("lone", LeadsTo::Job);
    queue.producer().enqueue(&lone).await.unwrap();
    let chain = Arc::new(Chain {
        producer: queue.producer(),
        seen: Mutex::default(),
    });
    let registry = Registry::new().with::<Link>(&chain);
    TraceParent::fresh().scope(queue.run_all(registry)).await;

    let seen = chain.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|(_, trace)| trace.is_none()), "{seen:?}");
}
