//! A subscription: one connection that hears any number of channels, and comes back by itself.
//!
//! Redis's publications are at most once: whoever is not subscribed at that moment misses them. So a
//! lost connection is not mended silently: after the new one has subscribed to all channels again,
//! [`Heard::Resumed`] tells the user to read what may have been missed.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{CONNECT_TIMEOUT, Redis};
use crate::error::Chain;

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(200);
/// Between two questions whether the connection lives.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The longest an answer may take; then the connection counts as dead.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);
/// Channels a SUBSCRIBE at most.
const CHANNELS: usize = 500;

/// What is heard.
#[derive(Debug)]
pub enum Heard<'a> {
    /// Something was published.
    Message {
        /// Where.
        channel: &'a str,
        /// What.
        payload: &'a [u8],
    },
    /// The connection was lost and is back: anything may have been missed.
    Resumed,
}

/// A subscription as its users hold it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Subscription {
    ask: mpsc::UnboundedSender<Request>,
    hearing: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Request {
    Subscribe(String, oneshot::Sender<()>),
    Unsubscribe(String),
}

impl Subscription {
    /// Connects and listens, for as long as a clone of the subscription is held. `hear` is called for
    /// all that is heard, in its order.
    pub fn start(redis: Redis, hear: impl FnMut(Heard<'_>) + Send + 'static) -> Self {
        let (ask, requests) = mpsc::unbounded_channel();
        let listener = Listener {
            redis,
            channels: HashSet::new(),
            waiting: Vec::new(),
            requests,
            hear,
            hearing: Arc::default(),
        };
        let hearing = Arc::clone(&listener.hearing);
        tokio::spawn(listener.run());
        Self { ask, hearing }
    }

    /// Subscribes to a channel; asks for it at once, also if what is returned is never awaited. When that
    /// gives true, every later publication is heard; false if Redis could not be reached in time (it is
    /// subscribed to as soon as it can, and then there is [`Heard::Resumed`]).
    pub fn subscribe(&self, channel: String) -> impl Future<Output = bool> + Send + use<> {
        let (done, subscribed) = oneshot::channel();
        let _ = self.ask.send(Request::Subscribe(channel, done));
        async move { matches!(timeout(ANSWER_WITHIN * 2, subscribed).await, Ok(Ok(()))) }
    }

    /// Stops listening to a channel.
    pub fn unsubscribe(&self, channel: String) {
        let _ = self.ask.send(Request::Unsubscribe(channel));
    }

    /// Whether the connection works now.
    pub fn is_hearing(&self) -> bool {
        self.hearing.load(Ordering::Relaxed)
    }
}

struct Listener<F> {
    redis: Redis,
    channels: HashSet<String>,
    /// Who waits for a subscription.
    waiting: Vec<(String, oneshot::Sender<()>)>,
    requests: mpsc::UnboundedReceiver<Request>,
    hear: F,
    /// Whether there is a connection.
    hearing: Arc<AtomicBool>,
}

/// Why listening ended.
enum Ended {
    /// The connection failed.
    Broken(String),
    /// Nobody holds the subscription any more.
    Unused,
}

/// What a batch of requests changes.
#[derive(Default)]
struct Changes {
    new: HashSet<String>,
    gone: HashSet<String>,
}

impl<F: FnMut(Heard<'_>)> Listener<F> {
    async fn run(mut self) {
        // Before the first connection only what was asked for too early can be missed.
        let mut may_have_missed = false;
        let mut well = true;
        loop {
            match self.connect().await {
                Ok((sink, stream)) => {
                    if std::mem::replace(&mut may_have_missed, true) {
                        tracing::info!("the subscription to Redis is back");
                        (self.hear)(Heard::Resumed);
                    }
                    well = true;
                    self.hearing.store(true, Ordering::Relaxed);
                    let ended = self.listen(sink, stream).await;
                    self.hearing.store(false, Ordering::Relaxed);
                    match ended {
                        Ended::Unused => return,
                        Ended::Broken(why) => {
                            metrics::counter!("rhubarb_subscription_losses_total").increment(1);
                            tracing::warn!(why, "the subscription to Redis was lost");
                        }
                    }
                }
                Err(error) => {
                    may_have_missed = true;
                    if std::mem::replace(&mut well, false) {
                        tracing::warn!(error = %Chain(&error), "cannot subscribe to Redis; trying until it is back");
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
            let mut changes = Changes::default();
            while let Ok(request) = self.requests.try_recv() {
                self.note(request, &mut changes);
            }
            if self.requests.is_closed() {
                return;
            }
        }
    }

    /// Connects and subscribes to all channels.
    async fn connect(&mut self) -> redis::RedisResult<(PubSubSink, PubSubStream)> {
        let late = || redis::RedisError::from((redis::ErrorKind::Io, "no answer in time"));
        let connection = timeout(CONNECT_TIMEOUT, self.redis.client().get_async_pubsub())
            .await
            .map_err(|_| late())??;
        let (mut sink, stream) = connection.split();
        let channels: Vec<&String> = self.channels.iter().collect();
        for channels in channels.chunks(CHANNELS) {
            timeout(ANSWER_WITHIN, sink.subscribe(channels))
                .await
                .map_err(|_| late())??;
        }
        for (_, done) in self.waiting.drain(..) {
            let _ = done.send(());
        }
        Ok((sink, stream))
    }

    async fn listen(&mut self, mut sink: PubSubSink, mut stream: PubSubStream) -> Ended {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut requests = Vec::new();
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else { return Ended::Broken("it was closed".to_owned()) };
                    heard = Instant::now();
                    (self.hear)(Heard::Message {
                        channel: message.get_channel_name(),
                        payload: message.get_payload_bytes(),
                    });
                }
                count = self.requests.recv_many(&mut requests, CHANNELS) => {
                    if count == 0 {
                        return Ended::Unused;
                    }
                    if let Err(why) = self.carry_out(&mut sink, std::mem::take(&mut requests)).await {
                        return Ended::Broken(why);
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() < PING_EVERY {
                        continue; // what is heard shows that it lives
                    }
                    match timeout(ANSWER_WITHIN, sink.ping::<redis::Value>()).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return Ended::Broken(error.to_string()),
                        Err(_) => return Ended::Broken("no answer to PING".to_owned()),
                    }
                }
            }
        }
    }

    /// Notes what is wanted, and what that changes.
    fn note(&mut self, request: Request, changes: &mut Changes) {
        match request {
            Request::Subscribe(channel, done) => {
                if self.channels.insert(channel.clone()) && !changes.gone.remove(&channel) {
                    changes.new.insert(channel.clone());
                }
                self.waiting.push((channel, done));
            }
            Request::Unsubscribe(channel) => {
                self.waiting.retain(|(waiting, _)| *waiting != channel);
                if self.channels.remove(&channel) && !changes.new.remove(&channel) {
                    changes.gone.insert(channel);
                }
            }
        }
    }

    /// Subscribes and unsubscribes, many channels in one command.
    async fn carry_out(
        &mut self,
        sink: &mut PubSubSink,
        requests: Vec<Request>,
    ) -> Result<(), String> {
        let mut changes = Changes::default();
        for request in requests {
            self.note(request, &mut changes);
        }
        let new: Vec<_> = changes.new.into_iter().collect();
        let gone: Vec<_> = changes.gone.into_iter().collect();
        let both = async {
            if !new.is_empty() {
                sink.subscribe(new).await?;
            }
            if !gone.is_empty() {
                sink.unsubscribe(gone).await?;
            }
            Ok::<_, redis::RedisError>(())
        };
        timeout(ANSWER_WITHIN, both)
            .await
            .map_err(|_| "no answer to SUBSCRIBE".to_owned())?
            .map_err(|error| error.to_string())?;
        for (_, done) in self.waiting.drain(..) {
            let _ = done.send(());
        }
        Ok(())
    }
}
