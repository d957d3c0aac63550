//! Appending: messages on their way into the logs of their rooms, gathered and appended in batches.
//!
//! A call costs Redis far more than a message in it: the system calls for it, the script's beginning, a
//! transaction in the append-only file; and a room of which several messages are in one call costs little more
//! than one. So what comes while two batches are under way goes with the next one; and who makes very many calls, or
//! appends very many messages, pauses between them, so that more gathers. Elsewhere a message goes at once.
//!
//! Batches under way may overtake one another. So what one sender said in a row is never in two of them.

use std::{
    mem,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use redis::{FromRedisValue, Value};
use tokio::{sync::oneshot, time::sleep};

use super::Content;
use crate::{
    id::{MessageId, RoomId},
    kv::{Keys, KvError, Redis, Script},
    lead::Lead,
    queue::enqueue::millis,
};

const DOING: &str = "append a message";

static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        DOING,
        &[super::LIB, super::ENTRY, include_str!("lua/append.lua")],
    )
    .repeatable() // by the sender's own id
});

/// Batches under way at once: with one, a message would wait for the answers to those before it, too.
const UNDER_WAY: usize = 2;
/// Messages of one call at most: some ms of Redis's time.
const BATCH: usize = 512;
/// And bytes of them: Redis publishes each again, and cuts off who has 32 MB to read.
const BATCH_BYTES: usize = 1 << 19;
/// So long on average a call is to be after the one before it.
const BETWEEN_CALLS: Duration = Duration::from_micros(400);
/// And so long a message after the one before it.
const BETWEEN_MESSAGES: Duration = Duration::from_micros(100);
/// So much the appends may be ahead of that before there is a pause.
const BURST: Duration = Duration::from_millis(2);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(24);

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The message's id; for a resend, the first one's.
    pub id: MessageId,
    /// Whether it was a resend.
    pub duplicate: bool,
    /// Messages in the room since the last flush was asked for.
    pub fresh: u64,
}

/// A message on its way into a room.
#[derive(Debug, Clone)]
pub struct Posting<'a> {
    /// Where to.
    pub room: &'a RoomId,
    /// What its sender wrote.
    pub content: Content<'a>,
}

type Answer = Result<Appended, KvError>;

/// A task that appends. Another may begin in its place if it panics.
struct Appending(Appends);

impl Appending {
    async fn run(self) {
        self.0.append_all().await;
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.gathered().under_way -= 1;
        }
    }
}

/// The way of all messages of a process into the logs. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Appends {
    redis: Redis,
    keys: Keys,
    resend_window: Duration,
    gathered: Arc<Mutex<Gathered>>,
}

#[derive(Debug)]
struct Gathered {
    waiting: Vec<Row>,
    /// How many tasks append them.
    under_way: usize,
    lead: Lead,
}

/// What one sender said in a row.
#[derive(Debug)]
struct Row {
    messages: Vec<Waiting>,
    answer: oneshot::Sender<Vec<Answer>>,
}

#[derive(Debug)]
struct Waiting {
    room: RoomId,
    own_id: String,
    content: String,
}

impl Gathered {
    /// For how long more is to gather before the next call.
    fn pause(&self) -> Option<Duration> {
        Some(self.lead.ahead()).filter(|ahead| *ahead > BURST)
    }

    /// The next batch; none if nothing has gathered, and then one task less appends.
    fn take(&mut self) -> Option<Vec<Row>> {
        if self.waiting.is_empty() {
            self.under_way -= 1;
            return None;
        }
        let (mut messages, mut bytes) = (0, 0);
        let fitting = self.waiting.iter().take_while(|row| {
            let is_first = messages == 0;
            messages += row.messages.len();
            bytes += row.bytes();
            is_first || (messages <= BATCH && bytes <= BATCH_BYTES)
        });
        let rest = self.waiting.split_off(fitting.count());
        let batch = mem::replace(&mut self.waiting, rest);
        let messages: usize = batch.iter().map(|row| row.messages.len()).sum();
        let time = BETWEEN_MESSAGES * u32::try_from(messages).unwrap_or(u32::MAX);
        if self.waiting.is_empty() {
            self.lead.note(time.max(BETWEEN_CALLS), LONGEST_PAUSE);
        } else {
            self.lead = Lead::default(); // a call's worth has gathered: what is left goes at once
        }
        Some(batch)
    }
}

impl Row {
    fn bytes(&self) -> usize {
        self.messages.iter().map(|said| said.content.len()).sum()
    }

    fn answer(self, answers: Vec<Answer>) {
        let _ = self.answer.send(answers); // whoever asked may be gone
    }

    fn fail(self, error: &KvError) {
        let answers = self.messages.iter().map(|_| Err(error.clone())).collect();
        self.answer(answers);
    }
}

impl Appends {
    pub(super) fn new(redis: Redis, keys: Keys, resend_window: Duration) -> Self {
        let gathered = Gathered {
            waiting: Vec::new(),
            under_way: 0,
            lead: Lead::default(),
        };
        Self {
            redis,
            keys,
            resend_window,
            gathered: Arc::new(Mutex::new(gathered)),
        }
    }

    /// Appends what one sender said in a row with the next batch, and gives an answer to each.
    pub(super) async fn append(&self, said: &[Posting<'_>]) -> Vec<Answer> {
        if said.is_empty() {
            return Vec::new();
        }
        let waiting = said.iter().map(|Posting { room, content }| Waiting {
            room: RoomId::clone(room),
            own_id: format!("{} {}", content.user_id, content.client_id),
            content: content.write(),
        });
        let (answer, answered) = oneshot::channel();
        let row = Row {
            messages: waiting.collect(),
            answer,
        };
        let is_one_more = {
            let mut gathered = self.gathered();
            gathered.waiting.push(row);
            let is_one_more = gathered.under_way < UNDER_WAY;
            gathered.under_way += usize::from(is_one_more);
            is_one_more
        };
        if is_one_more {
            // A task of its own: whoever asks may be gone before its message is kept, the others are not.
            tokio::spawn(Appending(self.clone()).run());
        }
        let ended = || said.iter().map(|_| Err(KvError::ConnectTimeout)).collect(); // as the process ends
        answered.await.unwrap_or_else(|_| ended())
    }

    /// Appends what has gathered until nothing is left.
    async fn append_all(&self) {
        while let Some(batch) = self.take() {
            match self.run(&batch).await {
                Ok(answers) => {
                    let mut answers = answers.into_iter();
                    for row in batch {
                        let of_row = answers.by_ref().take(row.messages.len()).collect();
                        row.answer(of_row);
                    }
                }
                Err(error) => {
                    // Who has waited meanwhile is not to wait for as long once more.
                    let others = if error.is_away() {
                        mem::take(&mut self.gathered().waiting)
                    } else {
                        Vec::new()
                    };
                    for row in batch.into_iter().chain(others) {
                        row.fail(&error);
                    }
                }
            }
            // Again and again, as another task may have taken a batch meanwhile.
            loop {
                let pause = self.gathered().pause();
                let Some(pause) = pause else { break };
                sleep(pause).await;
            }
        }
    }

    /// Appends a batch, room by room, and gives an answer to each message, in the batch's order.
    async fn run(&self, batch: &[Row]) -> Result<Vec<Answer>, KvError> {
        let messages = batch.iter().flat_map(|row| &row.messages);
        let mut by_room: Vec<(usize, &Waiting)> = messages.enumerate().collect();
        by_room.sort_by(|(_, one), (_, next)| one.room.cmp(&next.room)); // each room's stay in their order
        let mut call = APPEND.on(self.keys.prefix());
        call.arg(millis(self.resend_window));
        for of_a_room in by_room.chunk_by(|(_, one), (_, next)| one.room == next.room) {
            call.arg(&of_a_room[0].1.room).arg(of_a_room.len());
            for (_, said) in of_a_room {
                call.arg(&said.own_id).arg(&said.content);
            }
        }
        let answers: Vec<(Value, u8, u64)> = call.run(&self.redis).await?;
        if answers.len() != by_room.len() {
            let error = redis::make_extension_error("ANSWERS".to_owned(), None);
            return Err(self.redis.failed(DOING, error)); // else some would wait for ever
        }
        let places = by_room.into_iter().map(|(place, _)| place);
        let mut answers: Vec<_> = places.zip(answers).collect();
        answers.sort_unstable_by_key(|(place, _)| *place);
        Ok(answers
            .into_iter()
            .map(|(_, answer)| self.read(answer))
            .collect())
    }

    /// Reads what the script answers to one message.
    fn read(&self, (id, duplicate, fresh): (Value, u8, u64)) -> Answer {
        if let Value::BulkString(text) = &id {
            let text = String::from_utf8_lossy(text);
            let (code, detail) = text.split_once(' ').unwrap_or((&text, ""));
            let error = redis::make_extension_error(code.to_owned(), Some(detail.to_owned()));
            return Err(self.redis.failed(DOING, error));
        }
        let id = FromRedisValue::from_redis_value(id)
            .map_err(|error| self.redis.failed(DOING, error.into()))?;
        Ok(Appended {
            id,
            duplicate: duplicate != 0,
            fresh,
        })
    }

    fn take(&self) -> Option<Vec<Row>> {
        self.gathered().take()
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_with;

    use super::*;
    use crate::testing::TestChat;

    fn row(messages: usize, bytes: usize) -> Row {
        let message = || Waiting {
            room: "room".parse().unwrap(),
            own_id: String::new(),
            content: "x".repeat(bytes),
        };
        Row {
            messages: repeat_with(message).take(messages).collect(),
            answer: oneshot::channel().0,
        }
    }

    fn gathered(rows: usize, messages: usize, bytes: usize) -> Gathered {
        Gathered {
            waiting: repeat_with(|| row(messages, bytes)).take(rows).collect(),
            under_way: 1,
            lead: Lead::default(),
        }
    }

    #[test]
    fn few_are_followed_at_once_many_after_a_pause() {
        let (mut few, mut many) = (gathered(10, 1, 1), gathered(BATCH, 1, 1));

        assert_eq!(few.take().unwrap().len(), 10);
        assert_eq!(few.pause(), None);
        assert_eq!(many.take().unwrap().len(), BATCH);
        assert!(many.pause().unwrap() <= LONGEST_PAUSE);

        assert!(many.take().is_none());
        assert_eq!(many.under_way, 0);
    }

    #[test]
    fn what_one_call_cannot_take_waits_for_no_pause() {
        for (mut gathered, first) in [
            (gathered(BATCH + 1, 1, 1), BATCH),
            (gathered(3, 1, BATCH_BYTES / 2), 2),
        ] {
            assert_eq!(gathered.take().unwrap().len(), first);
            assert_eq!(gathered.pause(), None);
            assert_eq!(gathered.take().unwrap().len(), 1);
        }
    }

    #[test]
    fn what_was_said_in_a_row_is_in_one_call() {
        let mut gathered = gathered(3, BATCH / 2 - 1, 1);
        gathered.waiting.push(row(BATCH + 1, 1));

        let rows = [(); 3].map(|()| gathered.take().unwrap().len());

        assert_eq!(rows, [2, 1, 1]);
    }

    #[tokio::test]
    async fn a_task_that_panics_makes_room_for_another() {
        let test = TestChat::start().await;
        let appends = Appends::new(
            test.queue.redis.clone(),
            test.queue.keys.clone(),
            Duration::from_secs(60),
        );
        appends.gathered().under_way = 1;
        let appending = Appending(appends.clone());

        let ended = tokio::spawn(async move {
            let _appending = appending;
            panic!("as a test wants it");
        });

        assert!(ended.await.is_err_and(|error| error.is_panic()));
        assert_eq!(appends.gathered().under_way, 0);
    }
}
