//! Tests of the parts of a consumer.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::sync::watch;

use super::{
    Bell, Consumer, Inbox, Listening, News, Question, Queue, Runner, Slots, Turns,
    compare::OVERHEARD,
};
use crate::{
    kv::KvError,
    queue::{JobId, Registry, tail::Tail, watch::Polls},
    shutdown::{Shutdown, Stop},
    testing::TestQueue,
};

/// A consumer that knows no task, and what a worker would hold beside it.
struct ConsumerOf {
    consumer: Consumer,
    news: watch::Sender<News>,
    listed: watch::Sender<Vec<Queue>>,
    shutdown: Shutdown,
    _stop: Stop,
}

impl ConsumerOf {
    fn queue(queue: &TestQueue) -> Self {
        let (stop, shutdown) = Shutdown::manual();
        let (tell_news, news) = watch::channel(News::default());
        let (tell_listed, listed) = watch::channel(Vec::new());
        let runner = Runner {
            tail: Tail::default(),
            registry: Arc::new(Registry::new()),
            turns: Turns::on(queue),
            closures: Arc::default(),
            polls: Polls::default(),
            shutdown: shutdown.clone(),
            news: news.clone(),
        };
        let options = TestQueue::options("default=1");
        let slots = Slots::new(options.limits, 1, options.starvation);
        let inbox = Inbox::new(queue.redis.clone());
        let (turns, bell) = (Turns::on(queue), Bell::default());
        Self {
            consumer: Consumer::new(turns, runner, slots, inbox, news, listed, bell),
            news: tell_news,
            listed: tell_listed,
            shutdown,
            _stop: stop,
        }
    }
}

#[tokio::test]
async fn a_worker_whose_heartbeat_ended_stops() {
    let queue = TestQueue::start();
    let mut of = ConsumerOf::queue(&queue);

    let run = of.consumer.run(&of.shutdown, Duration::ZERO);
    let end = async {
        tokio::task::yield_now().await;
        drop(of.news);
    };
    let both = async { tokio::join!(run, end) };
    let stopped = tokio::time::timeout(Duration::from_secs(20), both).await;

    assert!(stopped.is_ok(), "it goes on");
    assert!(!of.shutdown.is_asked());
}

#[tokio::test]
async fn a_connection_is_given_up_only_if_it_does_not_bring_what_stays_listed() {
    let queue = TestQueue::start();
    let mut of = ConsumerOf::queue(&queue);
    let consumer = &mut of.consumer;
    let care_saw = |consumer: &mut Consumer, queues: &[Queue], waited: bool| {
        if let Listening::On(Question {
            overheard: Some(since),
            ..
        }) = &mut consumer.listening
            && waited
        {
            *since -= OVERHEARD;
        }
        consumer.hungry = false;
        of.listed.send_replace(queues.to_vec());
        consumer.cared();
        (
            consumer.hungry,
            matches!(consumer.listening, Listening::On(_)),
        )
    };
    consumer.hungry = false;
    consumer.listen();

    let seen = [
        care_saw(consumer, &[], true),
        care_saw(consumer, &[Queue::Low], true), // not its own
        care_saw(consumer, &[Queue::Default], true), // for the first time
        care_saw(consumer, &[Queue::Default], false), // at once again
        care_saw(consumer, &[], true),
        care_saw(consumer, &[Queue::Default], true), // another time
        care_saw(consumer, &[Queue::Default], true), // and still
    ];

    let (at_rest, claims, gives_up) = ((false, true), (true, true), (true, false));
    let expected = [at_rest, at_rest, claims, claims, at_rest, claims, gives_up];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn what_was_popped_for_a_turn_that_failed_waits_before_what_was_popped_meanwhile() {
    let queue = TestQueue::start();
    let mut of = ConsumerOf::queue(&queue);
    let consumer = &mut of.consumer;
    let [first, second]: [JobId; 2] = ["default-1", "default-2"].map(|id| id.parse().unwrap());
    consumer.popped.push_back(first);
    consumer.begin_turn();
    consumer.popped.push_back(second);
    let mut turned = consumer.under_way.next().await.unwrap();

    turned.reply = Err(KvError::ConnectTimeout);
    consumer.turned(turned);

    assert_eq!(consumer.popped, [first, second]);
}
