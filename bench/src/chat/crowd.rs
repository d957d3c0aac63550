//! A crowd: the members of all rooms, and what each of them has seen. Every member checks for itself
//! that each message follows the one before it, so a loss, a double or a change of order shows at once.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::{Context, Result};
use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, SplitSink, SplitStream},
};
use hdrhistogram::Histogram;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use super::client::{Client, Socket};
use crate::machine::now_ns;

/// Connections under way at once.
const IN_FLIGHT: usize = 64;
/// Latencies beyond this count as this, in µs.
const LONGEST_US: u64 = 60_000_000;

/// The half of a socket that is written to.
pub(super) type Writer = SplitSink<Socket, Message>;

/// Rooms of equal size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// How many.
    pub(super) rooms: usize,
    /// Members of each.
    pub(super) size: usize,
}

/// The members of some rooms, all connected and joined.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Their rooms.
    pub(super) shape: Shape,
    /// By room, then by member.
    members: Vec<Member>,
    /// Where each member's frames are written, in the same order.
    pub(super) writers: Vec<Writer>,
    rooms: Vec<Arc<str>>,
    measure_from: Arc<AtomicU64>,
}

/// One member.
#[derive(Debug)]
struct Member {
    seen: Arc<Mutex<Seen>>,
    reader: JoinHandle<()>,
}

/// What a member has seen.
#[derive(Debug)]
pub(super) struct Seen {
    /// The last message.
    pub(super) last: i64,
    /// Messages since it joined.
    pub(super) messages: u64,
    /// Answers to its own messages.
    pub(super) acks: u64,
    /// Messages that were due in the time that is measured: due to receipt, in µs.
    pub(super) delivery_us: Histogram<u32>,
    /// The same of answers.
    pub(super) ack_us: Histogram<u32>,
    /// The first message that did not follow the one before it.
    pub(super) disorder: Option<String>,
    /// Why it sees no more, or what it was refused.
    pub(super) trouble: Option<String>,
}

impl Crowd {
    /// Connects all members, dealt over the servers in turn, and joins them to rooms named after `name`.
    pub(super) async fn gather(ports: &[u16], shape: Shape, name: &str) -> Result<Self> {
        let measure_from = Arc::new(AtomicU64::new(u64::MAX));
        let rooms: Vec<Arc<str>> = (0..shape.rooms)
            .map(|n| format!("{name}-{n}").into())
            .collect();
        let (mut members, mut writers) = (Vec::new(), Vec::new());
        let mut connecting = stream::iter(0..shape.rooms * shape.size)
            .map(|n| {
                let room = &rooms[n / shape.size];
                let port = ports[n % ports.len()];
                async move {
                    let mut client = Client::connect(port, &format!("{name}-{n}")).await?;
                    let joined = client.join(room, 1).await?;
                    anyhow::Ok((client.into_socket(), joined.top.0))
                }
            })
            .buffered(IN_FLIGHT);
        while let Some((socket, top)) = connecting.try_next().await? {
            let (writer, reader) = socket.split();
            let seen = Arc::new(Mutex::new(Seen::from(top)?));
            let reading = read(reader, Arc::clone(&seen), Arc::clone(&measure_from));
            members.push(Member {
                seen,
                reader: tokio::spawn(reading),
            });
            writers.push(writer);
        }
        drop(connecting);
        Ok(Self {
            shape,
            members,
            writers,
            rooms,
            measure_from,
        })
    }

    /// The rooms' names.
    pub(super) fn rooms(&self) -> Vec<Arc<str>> {
        self.rooms.clone()
    }

    /// Measures messages that are due from a moment on, and forgets what was measured before.
    pub(super) fn measure_from(&self, moment: u64) {
        self.measure_from.store(moment, Relaxed);
        for mut seen in self.all_seen() {
            seen.delivery_us.reset();
            seen.ack_us.reset();
        }
    }

    /// What all members have seen, by room, then by member.
    pub(super) fn all_seen(&self) -> impl Iterator<Item = MutexGuard<'_, Seen>> {
        self.members
            .iter()
            .map(|member| member.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Seen {
    fn from(top: i64) -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 2).context("make a histogram");
        Ok(Self {
            last: top,
            messages: 0,
            acks: 0,
            delivery_us: histogram()?,
            ack_us: histogram()?,
            disorder: None,
            trouble: None,
        })
    }

    /// Takes note of a frame that arrived.
    fn take(&mut self, text: &str, measure_from: u64) {
        let record = |histogram: &mut Histogram<u32>, due: Option<u64>| {
            if let Some(due) = due.filter(|due| *due >= measure_from) {
                histogram.saturating_record(now_ns().saturating_sub(due) / 1000);
            }
        };
        match kind(text) {
            "message" => {
                let (id, prev) = (number(text, r#""messageId":"#), number(text, r#""prev":"#));
                let (id, prev) = (id.unwrap_or_default(), prev.unwrap_or_default());
                if prev != self.last && self.disorder.is_none() {
                    let last = self.last;
                    self.disorder = Some(format!("{id}, which follows {prev}, came after {last}"));
                }
                self.last = id;
                self.messages += 1;
                let due = number(text, r#""message":""#);
                record(&mut self.delivery_us, due.map(i64::unsigned_abs));
            }
            "ack" => {
                self.acks += 1;
                let due = number(text, r#""id":"#);
                record(&mut self.ack_us, due.map(i64::unsigned_abs));
            }
            "error" | "reset" | "goaway" => {
                self.trouble.get_or_insert_with(|| text.to_owned());
            }
            _ => {}
        }
    }
}

/// Reads frames until the connection ends.
async fn read(
    mut socket: SplitStream<Socket>,
    seen: Arc<Mutex<Seen>>,
    measure_from: Arc<AtomicU64>,
) {
    let note = |what: String| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.trouble.get_or_insert(what);
    };
    while let Some(frame) = socket.next().await {
        match frame {
            Ok(Message::Text(text)) => {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.take(&text, measure_from.load(Relaxed));
            }
            Ok(Message::Close(why)) => note(format!("the server closed the connection: {why:?}")),
            Ok(_) => {}
            Err(error) => return note(format!("the connection broke: {error}")),
        }
    }
    note("the connection ended".to_owned());
}

/// The type of a frame.
fn kind(text: &str) -> &str {
    let rest = text.strip_prefix(r#"{"type":""#).unwrap_or_default();
    rest.split('"').next().unwrap_or_default()
}

/// The number behind `name` in a frame. Looking for it is much cheaper than reading the JSON, and the
/// texts in it cannot look like a name: their quotes are escaped.
fn number(text: &str, name: &str) -> Option<i64> {
    let at = text.find(name)? + name.len();
    let digits = text[at..].bytes().take_while(u8::is_ascii_digit);
    Some(digits.fold(0, |number: i64, digit| {
        number.wrapping_mul(10) + i64::from(digit - b'0')
    }))
}

impl Drop for Member {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: i64, prev: i64) -> String {
        format!(
            r#"{{"type":"message","payload":{{"roomId":"r","messageId":{id},"prev":{prev},"timestamp":"","userId":"u","username":"u","clientId":"c","message":"77 ...."}}}}"#
        )
    }

    #[test]
    fn a_loss_and_a_double_are_seen_as_disorder() {
        for wrong in [message(30, 20), message(10, 0)] {
            let mut seen = Seen::from(0).unwrap();
            seen.take(&message(10, 0), 0);
            assert_eq!(seen.disorder, None);

            seen.take(&wrong, 0);
            assert!(seen.disorder.is_some(), "{wrong} passed");
        }
    }

    #[test]
    fn only_what_is_due_in_the_measured_time_is_measured() {
        let mut seen = Seen::from(0).unwrap();
        seen.take(&message(1, 0), 78);
        seen.take(&message(2, 1), 77);
        seen.take(r#"{"type":"ack","id":80,"payload":{"roomId":"r"}}"#, 78);

        assert_eq!((seen.messages, seen.delivery_us.len()), (2, 1));
        assert_eq!((seen.acks, seen.ack_us.len()), (1, 1));
    }
}
