//! The bus: one subscription connection per server. It hears every room that the server has members in.
//!
//! Redis's publications are at most once: whoever is not subscribed at that moment misses them. So a
//! lost connection is not mended silently: after the new one has subscribed to all rooms again,
//! [`BusEvent::Resumed`] tells the hub to read each room's log from where it was.

use std::{
    collections::HashSet,
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

use super::Entry;
use crate::{
    error::Chain,
    id::RoomId,
    kv::{CONNECT_TIMEOUT, Keys, Redis},
};

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(200);
/// Between two questions whether the connection lives.
const PING_EVERY: Duration = Duration::from_secs(1);
/// The longest an answer may take; then the connection counts as dead.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);
/// Channels a SUBSCRIBE at most.
const CHANNELS: usize = 500;

/// What is heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusEvent {
    /// A message was appended.
    Message(RoomId, Entry),
    /// So many members are in the room.
    Members(RoomId, u64),
    /// The room's log is complete now.
    Hydrated(RoomId),
    /// Somebody types: a ready frame.
    Typing(RoomId, String),
    /// The connection was lost and is back: anything may have been missed.
    Resumed,
}

/// The bus as its users hold it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    ask: mpsc::UnboundedSender<Request>,
    hearing: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Request {
    Subscribe(RoomId, oneshot::Sender<()>),
    Unsubscribe(RoomId),
}

impl Bus {
    /// Connects and listens, for as long as a clone of the bus is held.
    pub fn start(redis: Redis, keys: Keys) -> (Self, mpsc::UnboundedReceiver<BusEvent>) {
        let (ask, requests) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::unbounded_channel();
        let prefix = format!("{}room:", keys.prefix());
        let listener = Listener {
            redis,
            keys,
            prefix,
            rooms: HashSet::new(),
            waiting: Vec::new(),
            requests,
            tell,
            hearing: Arc::default(),
        };
        let hearing = Arc::clone(&listener.hearing);
        tokio::spawn(listener.run());
        (Self { ask, hearing }, events)
    }

    /// Subscribes to a room. When this returns true, every later publication is heard; false if Redis
    /// could not be reached in time (it is subscribed to as soon as it can).
    pub async fn subscribe(&self, room: &RoomId) -> bool {
        let (done, subscribed) = oneshot::channel();
        let _ = self.ask.send(Request::Subscribe(room.clone(), done));
        matches!(timeout(ANSWER_WITHIN * 2, subscribed).await, Ok(Ok(())))
    }

    /// Whether the subscription connection works now.
    pub fn is_hearing(&self) -> bool {
        self.hearing.load(Ordering::Relaxed)
    }

    /// Stops listening to a room.
    pub fn unsubscribe(&self, room: &RoomId) {
        let _ = self.ask.send(Request::Unsubscribe(room.clone()));
    }
}

struct Listener {
    redis: Redis,
    keys: Keys,
    /// What the channels begin with.
    prefix: String,
    rooms: HashSet<RoomId>,
    /// Who waits for a subscription.
    waiting: Vec<(RoomId, oneshot::Sender<()>)>,
    requests: mpsc::UnboundedReceiver<Request>,
    tell: mpsc::UnboundedSender<BusEvent>,
    /// Whether there is a connection.
    hearing: Arc<AtomicBool>,
}

/// Why listening ended.
enum Ended {
    /// The connection failed.
    Broken(String),
    /// Nobody holds the bus any more.
    Unused,
}

impl Listener {
    async fn run(mut self) {
        let mut connected_before = false;
        let mut well = true;
        loop {
            match self.connect().await {
                Ok((sink, stream)) => {
                    if connected_before {
                        tracing::info!("the subscription to Redis is back");
                        let _ = self.tell.send(BusEvent::Resumed);
                    }
                    connected_before = true;
                    well = true;
                    self.hearing.store(true, Ordering::Relaxed);
                    let ended = self.listen(sink, stream).await;
                    self.hearing.store(false, Ordering::Relaxed);
                    match ended {
                        Ended::Unused => return,
                        Ended::Broken(why) => {
                            tracing::warn!(why, "the subscription to Redis was lost");
                        }
                    }
                }
                Err(error) => {
                    if std::mem::replace(&mut well, false) {
                        tracing::warn!(error = %Chain(&error), "cannot subscribe to Redis; trying until it is back");
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
            while let Ok(request) = self.requests.try_recv() {
                self.note(request);
            }
            if self.requests.is_closed() {
                return;
            }
        }
    }

    /// Connects and subscribes to all rooms.
    async fn connect(&mut self) -> redis::RedisResult<(PubSubSink, PubSubStream)> {
        let late = || redis::RedisError::from((redis::ErrorKind::Io, "no answer in time"));
        let connection = timeout(CONNECT_TIMEOUT, self.redis.client().get_async_pubsub())
            .await
            .map_err(|_| late())??;
        let (mut sink, stream) = connection.split();
        let channels: Vec<String> = self.rooms.iter().map(|room| self.keys.live(room)).collect();
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
                    if let Some(event) = self.read(&message) {
                        let _ = self.tell.send(event);
                    }
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

    /// Notes what is wanted, for when there is a connection.
    fn note(&mut self, request: Request) {
        match request {
            Request::Subscribe(room, done) => {
                self.rooms.insert(room.clone());
                self.waiting.push((room, done));
            }
            Request::Unsubscribe(room) => {
                self.rooms.remove(&room);
                self.waiting.retain(|(waiting, _)| *waiting != room);
            }
        }
    }

    /// Subscribes and unsubscribes, many rooms in one command.
    async fn carry_out(
        &mut self,
        sink: &mut PubSubSink,
        requests: Vec<Request>,
    ) -> Result<(), String> {
        let before = self.rooms.clone();
        for request in requests {
            self.note(request);
        }
        let new: Vec<_> = self
            .rooms
            .difference(&before)
            .map(|room| self.keys.live(room))
            .collect();
        let gone: Vec<_> = before
            .difference(&self.rooms)
            .map(|room| self.keys.live(room))
            .collect();
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

    fn read(&self, message: &redis::Msg) -> Option<BusEvent> {
        let channel = message.get_channel_name();
        let room = channel.strip_prefix(&self.prefix)?.strip_suffix(":live")?;
        let room: RoomId = room.parse().ok()?;
        let text = std::str::from_utf8(message.get_payload_bytes()).ok()?;
        let event = match (text.as_bytes().first()?, text.get(2..)) {
            (b'm', Some(entry)) => BusEvent::Message(room, Entry::parse(entry)?),
            (b'p', Some(total)) => BusEvent::Members(room, total.parse().ok()?),
            (b't', Some(frame)) => BusEvent::Typing(room, frame.to_owned()),
            (b'h', _) => BusEvent::Hydrated(room),
            _ => return None,
        };
        Some(event)
    }
}
