//! Load: messages at fixed times, whatever happens to those before. Latency counts from the time at
//! which a message was due, so a generator or a server that falls behind shows.

use std::{
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    crowd::{Crowd, Seen, Shape},
    site::{CpuSpent, Site},
    socket::Writer,
};
use crate::{
    machine::{now_ns, precise_sleeps, sleep_until_ns},
    number::{count, float, per_second, whole},
};

/// Before what is measured.
const WARM_UP: Duration = Duration::from_millis(600);
/// After the last message was sent, all must have arrived within this.
const GRACE: Duration = Duration::from_secs(2);
/// What has not arrived then, on a connection that lives, is lost.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// A generator that is so far behind gives up: the step has failed.
const FAR_BEHIND: Duration = Duration::from_millis(1500);
/// Bytes of a message's text.
pub(super) const TEXT: usize = 64;

/// How a step went.
#[derive(Debug)]
pub(super) struct Step {
    /// Copies a second that were delivered of what was due in the time that is measured.
    pub(super) copies_per_second: f64,
    /// Due to receipt, in µs, over all copies.
    pub(super) delivery_us: Histogram<u32>,
    /// Due to answer, in µs.
    pub(super) ack_us: Histogram<u32>,
    /// Copies per second of CPU time is what this is for.
    pub(super) cpu: CpuSpent,
    /// Copies of the whole step.
    pub(super) copies: u64,
    /// Why it was not good, if it was not.
    pub(super) failure: Option<String>,
}

/// Sends at `copies` delivered copies a second for `time`, to rooms and from members in turn.
pub(super) async fn step(
    site: &Site,
    crowd: &mut Crowd,
    copies: f64,
    time: Duration,
) -> Result<Step> {
    let Shape { rooms, size } = crowd.shape;
    let before: Vec<_> = crowd
        .all_seen()
        .map(|seen| (seen.messages, seen.acks))
        .collect();
    let cpu_before = site.cpu().await?;

    let interval = 1e9 * float(count(size)) / copies;
    let start = now_ns() + 5_000_000;
    crowd.measure_from(start + crate::number::nanos(WARM_UP));
    let messages = whole(float(crate::number::nanos(WARM_UP + time)) / interval);
    let schedule = Schedule {
        start,
        interval,
        messages,
        rooms: crowd.rooms(),
        size,
    };
    let writers = std::mem::take(&mut crowd.writers);
    let (writers, paced) = schedule.follow(writers).await?;
    crowd.writers = writers;
    let sent = paced.sent;
    let mut failure = paced.failure;

    // A room gets every `rooms`-th message.
    let due = |member: usize| {
        let room = member / size;
        sent / count(rooms) + u64::from(count(room) < sent % count(rooms))
    };
    let arrived = |crowd: &Crowd| {
        let acks = |(seen, before): (MutexGuard<'_, Seen>, &(u64, u64))| seen.acks - before.1;
        let mut all = crowd.all_seen().zip(&before).enumerate();
        all.all(|(n, (seen, before))| seen.messages - before.0 >= due(n))
            && (!crowd.side.answers()
                || crowd.all_seen().zip(&before).map(acks).sum::<u64>() >= sent)
    };
    let sent_at = Instant::now();
    while !arrived(crowd) && crowd.all_seen().all(|seen| seen.trouble.is_none()) {
        if sent_at.elapsed() > LOST_AFTER {
            let lost = format!("LOST: not all messages arrived within {LOST_AFTER:?}");
            ensure!(!crowd.side.keeps(), lost);
            // What comes later is not to be counted for another step: the crowd is no longer whole.
            for mut seen in crowd.all_seen() {
                seen.trouble.get_or_insert_with(|| lost.clone());
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if sent_at.elapsed() > GRACE {
        failure.get_or_insert(format!(
            "not all had arrived {GRACE:?} after the last was sent"
        ));
    }
    let cpu = site.cpu().await?.since(&cpu_before);

    if let Some(trouble) = crowd.all_seen().find_map(|seen| seen.trouble.clone()) {
        failure.get_or_insert(trouble);
    }
    let mut step = Step {
        copies_per_second: 0.0,
        delivery_us: Histogram::new(3)?,
        ack_us: Histogram::new(3)?,
        cpu,
        copies: sent * count(size),
        failure,
    };
    for seen in crowd.all_seen() {
        step.delivery_us.add(&seen.delivery_us)?;
        step.ack_us.add(&seen.ack_us)?;
    }
    step.copies_per_second = per_second(step.delivery_us.len(), time);
    check(crowd, &before, &due, step.failure.is_some())?;
    Ok(step)
}

/// Every member has seen every message of its room once, in the same order, and every sender was
/// answered. Where connections were cut, only what was seen can be checked.
fn check(
    crowd: &Crowd,
    before: &[(u64, u64)],
    due: &dyn Fn(usize) -> u64,
    has_failed: bool,
) -> Result<()> {
    let size = crowd.shape.size;
    let mut acks = 0;
    let mut last_of_room = 0;
    for (n, (seen, before)) in crowd.all_seen().zip(before).enumerate() {
        // Where the server told of a hole, the member knows that it is to read again.
        let told = seen
            .trouble
            .as_deref()
            .is_some_and(|trouble| trouble.contains("reset"));
        if let Some(disorder) = seen.disorder.as_ref().filter(|_| !told) {
            bail!(
                "DISORDER: member {} of room {}: {disorder}",
                n % size,
                n / size
            );
        }
        acks += seen.acks - before.1;
        if has_failed {
            continue;
        }
        let (got, wanted) = (seen.messages - before.0, due(n));
        ensure!(
            got == wanted,
            "WRONG COUNT: member {} of room {} got {got} messages, and {wanted} were sent",
            n % size,
            n / size
        );
        if !crowd.side.orders() {
            continue;
        }
        if n % size == 0 {
            last_of_room = seen.last;
        }
        ensure!(
            seen.last == last_of_room,
            "DISORDER: members of room {} end differently",
            n / size
        );
    }
    let sent: u64 = (0..crowd.shape.rooms).map(|room| due(room * size)).sum();
    ensure!(
        has_failed || acks == sent || !crowd.side.answers(),
        "WRONG COUNT: {sent} messages were sent and {acks} answered"
    );
    Ok(())
}

/// When each message is due.
struct Schedule {
    start: u64,
    interval: f64,
    messages: u64,
    rooms: Vec<Arc<str>>,
    size: usize,
}

/// How far a schedule was followed.
struct Paced {
    sent: u64,
    failure: Option<String>,
}

impl Schedule {
    /// Follows it on a thread of its own, so that reading does not delay sending.
    async fn follow(self, writers: Vec<Writer>) -> Result<(Vec<Writer>, Paced)> {
        let (mut done, ended) = oneshot::channel();
        let runtime = Handle::current();
        std::thread::spawn(move || {
            precise_sleeps();
            let paced = self.send_all(&runtime, &writers, &mut done);
            let _ = done.send((writers, paced));
        });
        ended.await.context("the thread that sends has failed")
    }

    fn send_all(
        &self,
        runtime: &Handle,
        writers: &[Writer],
        done: &mut oneshot::Sender<(Vec<Writer>, Paced)>,
    ) -> Paced {
        for n in 0..self.messages {
            let due = self.start + whole(float(n) * self.interval);
            sleep_until_ns(due);
            if now_ns() > due + crate::number::nanos(FAR_BEHIND) {
                let failure = Some(format!("the generator fell {FAR_BEHIND:?} behind"));
                return Paced { sent: n, failure };
            }
            let (room, member) = self.place_of(n);
            let frame = frame(&self.rooms[room], due);
            let sending = writers[room * self.size + member].text(&frame);
            if let Err(error) = runtime.block_on(sending) {
                let failure = Some(format!("a message could not be sent: {error}"));
                return Paced { sent: n, failure };
            }
            if done.is_closed() {
                break; // nobody waits for it any more
            }
        }
        Paced {
            sent: self.messages,
            failure: None,
        }
    }

    /// The room and the member of it that send the message of this number: both in turn.
    fn place_of(&self, n: u64) -> (usize, usize) {
        let rooms = self.rooms.len();
        let n = crate::number::length(n);
        (n % rooms, n / rooms % self.size)
    }
}

/// A message that tells when it was due, in its text and in the frame's id.
pub(super) fn frame(room: &str, due: u64) -> String {
    let text = format!(
        "{due} {:.<width$}",
        "",
        width = TEXT - 1 - due.to_string().len()
    );
    format!(
        r#"{{"type":"message","id":{due},"payload":{{"roomId":"{room}","clientId":"{due}","message":"{text}"}}}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_64_bytes_of_text() {
        let frame: serde_json::Value = serde_json::from_str(&frame("r", 123_456_789)).unwrap();

        assert_eq!(frame["id"], 123_456_789);
        assert_eq!(frame["payload"]["message"].as_str().unwrap().len(), TEXT);
    }
}
