//! A crowd: the members of all rooms, and what each of them has seen. Every member checks for itself
//! that each message follows the one before it, so a loss, a double or a change of order shows at once.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use memchr::memmem;
use tokio::task::JoinHandle;

use super::{
    client::Client,
    site::{Side, Site},
    socket::{Frames, Socket, Writer},
};
use crate::machine::now_ns;

/// Connections under way at once.
const IN_FLIGHT: usize = 64;
/// Latencies beyond this count as this, in µs.
const LONGEST_US: u64 = 60_000_000;

/// Connections from one address of this machine, which has 28,000 ports to connect from.
const FROM_ONE_ADDRESS: usize = 10_000;

/// The address from which the connection of this number is made.
fn source(number: usize) -> Ipv4Addr {
    let address = number / FROM_ONE_ADDRESS;
    Ipv4Addr::new(127, 0, 0, u8::try_from(address + 1).unwrap_or(u8::MAX))
}

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
    /// Whose they are.
    pub(super) side: Side,
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
    side: Side,
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
    pub(super) async fn gather(site: &Site, shape: Shape, name: &str) -> Result<Self> {
        let ports = site.ports();
        let measure_from = Arc::new(AtomicU64::new(u64::MAX));
        let rooms: Vec<Arc<str>> = (0..shape.rooms)
            .map(|n| format!("{name}-{n}").into())
            .collect();
        let mut connecting = stream::iter(0..shape.rooms * shape.size)
            .map(|n| {
                let room = &rooms[n / shape.size];
                let port = ports[n % ports.len()];
                let from = source(n);
                async move {
                    let user = format!("{name}-{n}");
                    let mut client = Client::connect_from(from, port, &user).await?;
                    let joined = client.join(room, 1).await?;
                    anyhow::Ok((n, client.into_socket(), joined.top))
                }
            })
            .buffer_unordered(IN_FLIGHT);
        let mut came = Vec::new();
        while let Some((n, socket, top)) = connecting.try_next().await? {
            let writer = socket.writer();
            let seen = Arc::new(Mutex::new(Seen::from(site.side(), top)?));
            let reading = read(socket, Arc::clone(&seen), Arc::clone(&measure_from));
            let reader = tokio::spawn(reading);
            came.push((n, (Member { seen, reader }, writer)));
        }
        drop(connecting);
        came.sort_unstable_by_key(|(n, _)| *n);
        let (members, writers) = came.into_iter().map(|(_, member)| member).unzip();
        Ok(Self {
            shape,
            side: site.side(),
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

    /// Whether everybody is connected, and has seen all.
    pub(super) fn is_whole(&self) -> bool {
        let well = |seen: MutexGuard<'_, Seen>| seen.trouble.is_none() && seen.disorder.is_none();
        self.all_seen().all(well)
    }

    /// What all members have seen, by room, then by member.
    pub(super) fn all_seen(&self) -> impl Iterator<Item = MutexGuard<'_, Seen>> {
        self.members
            .iter()
            .map(|member| member.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Seen {
    fn from(side: Side, top: i64) -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 2).context("make a histogram");
        Ok(Self {
            side,
            last: top,
            messages: 0,
            acks: 0,
            delivery_us: histogram()?,
            ack_us: histogram()?,
            disorder: None,
            trouble: None,
        })
    }

    /// Takes note of a frame that arrived at `now`.
    fn take(&mut self, text: &[u8], now: u64, measure_from: u64) {
        let record = |histogram: &mut Histogram<u32>, due: Option<i64>| {
            let due = due.map(i64::unsigned_abs);
            if let Some(due) = due.filter(|due| *due >= measure_from) {
                histogram.saturating_record(now.saturating_sub(due) / 1000);
            }
        };
        match kind(text) {
            b"message" => {
                if self.side.orders() {
                    self.follow(text);
                }
                self.messages += 1;
                record(&mut self.delivery_us, due(text));
            }
            b"ack" => {
                self.acks += 1;
                record(&mut self.ack_us, number(text, br#""id":"#));
            }
            b"error" | b"reset" | b"goaway" => {
                self.trouble
                    .get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
            }
            _ => {}
        }
    }

    /// Checks that a message follows the last one.
    fn follow(&mut self, text: &[u8]) {
        let (id, prev) = (
            number(text, br#""messageId":"#),
            number(text, br#""prev":"#),
        );
        let (id, prev) = (id.unwrap_or_default(), prev.unwrap_or_default());
        if prev != self.last && self.disorder.is_none() {
            let last = self.last;
            self.disorder = Some(format!("{id}, which follows {prev}, came after {last}"));
        }
        self.last = id;
    }
}

/// Reads frames until the connection ends.
async fn read(socket: Socket, seen: Arc<Mutex<Seen>>, measure_from: Arc<AtomicU64>) {
    let hear = |frames: &mut Frames<'_>| {
        let (now, measure_from) = (now_ns(), measure_from.load(Relaxed));
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for text in &mut *frames {
            seen.take(text, now, measure_from);
        }
        if let Some(why) = frames.closed.take() {
            seen.trouble
                .get_or_insert(format!("the server closed the connection: {why}"));
        }
    };
    if let Err(error) = socket.listen(hear).await {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.trouble.get_or_insert(error.to_string());
    }
}

/// The type of a frame.
pub(super) fn kind(text: &[u8]) -> &[u8] {
    let rest = text.strip_prefix(br#"{"type":""#).unwrap_or_default();
    rest.split(|byte| *byte == b'"').next().unwrap_or_default()
}

/// The number behind `name` in a frame. Looking for it is much cheaper than reading the JSON, and the
/// texts in it cannot look like a name: their quotes are escaped.
pub(super) fn number(text: &[u8], name: &[u8]) -> Option<i64> {
    let at = memmem::find(text, name)? + name.len();
    Some(digits(&text[at..]))
}

/// When a message was due: its text begins with it, and is the last of its frame.
pub(super) fn due(text: &[u8]) -> Option<i64> {
    const NAME: &[u8] = br#""message":""#;
    // The text and what ends the frame have so many bytes at most: no need to look at all others.
    let tail = &text[text
        .len()
        .saturating_sub(super::load::TEXT + NAME.len() + 8)..];
    let at = memmem::find(tail, NAME)? + NAME.len();
    Some(digits(&tail[at..]))
}

fn digits(text: &[u8]) -> i64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: i64, digit| {
        number.wrapping_mul(10) + i64::from(digit - b'0')
    })
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
            let mut seen = Seen::from(Side::Rhubarb, 0).unwrap();
            seen.take(message(10, 0).as_bytes(), 0, 0);
            assert_eq!(seen.disorder, None);

            seen.take(wrong.as_bytes(), 0, 0);
            assert!(seen.disorder.is_some(), "{wrong} passed");
        }
    }

    #[test]
    fn only_what_is_due_in_the_measured_time_is_measured() {
        let mut seen = Seen::from(Side::Rhubarb, 0).unwrap();
        seen.take(message(1, 0).as_bytes(), 99, 78);
        seen.take(message(2, 1).as_bytes(), 99, 77);
        seen.take(
            br#"{"type":"ack","id":80,"payload":{"roomId":"r"}}"#,
            99,
            78,
        );

        assert_eq!((seen.messages, seen.delivery_us.len()), (2, 1));
        assert_eq!((seen.acks, seen.ack_us.len()), (1, 1));
    }
}
