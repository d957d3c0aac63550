//! An explanation in a sentence or two, and what to do.

use super::{Reason, Slots};
use crate::{
    queue::{JobId, pause::Decision},
    words::{add, count, number, since, span},
};

/// Longer a job that is next does not wait, if all is well.
const MOMENT_MS: u64 = 10_000;

/// Tells what a reason means for a job.
pub(super) struct Teller<'a> {
    pub(super) id: JobId,
    pub(super) now_ms: u64,
    /// Whether its queue is paused.
    pub(super) paused: Option<&'a Decision>,
}

/// What is told, and what to do.
pub(super) type Told = (String, Option<String>);

impl Teller<'_> {
    pub(super) fn tell(&self, reason: &Reason) -> Told {
        let (id, queue, now) = (self.id, self.id.queue(), self.now_ms);
        let (text, advice) = match reason {
            Reason::Running { .. } | Reason::WorkerSilent { .. } => self.claimed(reason),
            Reason::Paused {
                decision,
                ahead,
                workers,
            } => {
                let (by, before) = (decided(decision, now), before(*ahead));
                let mut text = format!(
                    "Queue {queue} is paused{by}: workers take nothing from it. {before} before it."
                );
                if *workers == 0 {
                    text.push_str(" No worker that is alive serves it, either.");
                }
                (
                    text,
                    Some(format!("To let it go on: queuectl resume {queue}")),
                )
            }
            Reason::NoWorker { alive: 0, ahead } => (
                format!(
                    "No worker is running. {} before it in queue {queue}.",
                    before(*ahead)
                ),
                Some(format!("Start a worker that serves {queue}.")),
            ),
            Reason::NoWorker { alive, .. } => (
                format!(
                    "No worker that is alive serves queue {queue}; {} other queues.",
                    if *alive == 1 {
                        "one serves".to_owned()
                    } else {
                        format!("{alive} serve")
                    }
                ),
                Some(format!(
                    "Start a worker that serves {queue} (--queues {queue}=8), or give it to one that runs."
                )),
            ),
            Reason::Busy { slots, ahead } => (self.busy(*slots, *ahead), Some(more_slots(*slots))),
            Reason::Behind { slots, ahead } => (
                format!(
                    "It waits for its turn: {} before it in queue {queue}, and {} free.",
                    before(*ahead).to_lowercase(),
                    slots_are(slots.free)
                ),
                None,
            ),
            Reason::Next { since_ms, .. } => self.next(*since_ms),
            Reason::Unlisted { .. } => (
                "It was popped and nobody has claimed it, or its list was deleted: a worker lists it \
                 again within seconds."
                    .to_owned(),
                None,
            ),
            Reason::Laned { .. } => self.laned(reason),
            Reason::Scheduled {
                due_ms,
                attempts,
                error,
                alive,
            } => self.scheduled(*due_ms, *attempts, error.as_deref(), *alive),
            Reason::Parked { .. } => self.parked(reason),
            Reason::Dead { .. } => self.dead(reason),
            Reason::GroupOpen {
                total,
                left,
                failed,
            } => {
                let failed = match failed {
                    0 => String::new(),
                    n => format!(" ({} failed so far)", number(n)),
                };
                (
                    format!(
                        "It has run, and what follows its group waits for {} of its {}{failed}.",
                        number(left),
                        children(*total)
                    ),
                    Some(format!(
                        "To see the dead among them: queuectl jobs dead --group {id}"
                    )),
                )
            }
            Reason::Ended { how } => (ended(how.as_deref()), None),
            Reason::Never { .. } => self.never(reason),
            Reason::Astray { places } => (
                format!("Its record is damaged: it is {places}."),
                Some("To mend this: queuectl audit --repair".to_owned()),
            ),
        };
        (self.with_pause(text, reason), advice)
    }

    /// What is not in its queue yet would wait there all the same.
    fn with_pause(&self, mut text: String, reason: &Reason) -> String {
        let comes_back = matches!(
            reason,
            Reason::Laned { .. } | Reason::Scheduled { .. } | Reason::Parked { .. }
        );
        if let (true, Some(by)) = (comes_back, self.paused) {
            let (queue, by) = (self.id.queue(), decided(by, self.now_ms));
            add(
                &mut text,
                format_args!(" Then it waits on: queue {queue} is paused{by}."),
            );
        }
        text
    }

    fn claimed(&self, reason: &Reason) -> Told {
        match reason {
            Reason::Running {
                worker,
                host,
                pid,
                since_ms,
                attempt,
            } => {
                let time = since_ms.map(|then| since(self.now_ms, then));
                let time = time.map(|time| format!(" for {time}")).unwrap_or_default();
                let worker = short(worker);
                let text = format!(
                    "It is running{time}: attempt {attempt}, on worker {worker} ({host}, process {pid}), whose heartbeat is well."
                );
                let advice = format!("To end it: queuectl cancel {}", self.id);
                (text, Some(advice))
            }
            Reason::WorkerSilent {
                worker,
                host,
                silent_since_ms,
                alive,
            } => {
                let (worker, time) = (short(worker), since(self.now_ms, *silent_since_ms));
                let text =
                    format!("Worker {worker} ({host}) ran it, and its heartbeat ended {time} ago.");
                if *alive == 0 {
                    let text = format!("{text} No other worker is there to give it back.");
                    return (text, Some("Start a worker.".to_owned()));
                }
                let text = format!("{text} Another worker gives it back within a second or two.");
                (text, None)
            }
            _ => Told::default(),
        }
    }

    fn busy(&self, slots: Slots, ahead: u64) -> String {
        let queue = self.id.queue();
        let workers = if slots.workers == 1 {
            "the one worker that serves".to_owned()
        } else {
            format!("the {} workers that serve", slots.workers)
        };
        let mut text = format!(
            "All slots are taken that {workers} queue {queue} may use for it: {} run jobs of {queue}",
            number(slots.own)
        );
        if slots.others > 0 {
            add(
                &mut text,
                format_args!(", {} those of other queues", number(slots.others)),
            );
        }
        if slots.kept > 0 {
            let slots = number(slots.kept);
            add(
                &mut text,
                format_args!(", {slots} are kept for other queues"),
            );
        }
        format!("{text}. {} before it.", before(ahead))
    }

    fn next(&self, since_ms: Option<u64>) -> Told {
        let waited = since_ms.map_or(0, |then| self.now_ms.saturating_sub(then));
        let text = "It is next, and a worker has a free slot for it".to_owned();
        if waited < MOMENT_MS {
            return (format!("{text}: it starts in a moment."), None);
        }
        (
            format!("{text}, but it has waited for {}.", span(waited)),
            Some(
                "Look at the workers' logs and at their way to Redis: they beat and do not take jobs."
                    .to_owned(),
            ),
        )
    }
}

fn ended(how: Option<&str>) -> String {
    match how {
        Some("done") => "It is done.".to_owned(),
        Some(how) => format!("It has ended: {how}."),
        None => {
            "It has ended: it was completed, discarded or cancelled, or has expired, and nothing is kept of it."
                .to_owned()
        }
    }
}

/// `since 3 min by ada`, with a blank before it.
fn decided(by: &Decision, now: u64) -> String {
    let mut told = String::new();
    if by.since_ms > 0 {
        add(&mut told, format_args!(" for {}", since(now, by.since_ms)));
    }
    if !by.by.is_empty() {
        add(&mut told, format_args!(" by {}", by.by));
    }
    told
}

/// `No job is`, `3 jobs are`.
pub(super) fn before(n: u64) -> String {
    match n {
        0 => "No job is".to_owned(),
        1 => "1 job is".to_owned(),
        n => format!("{} are", count(n, "job")),
    }
}

fn slots_are(n: u64) -> String {
    format!("{} {}", count(n, "slot"), if n == 1 { "is" } else { "are" })
}

fn children(n: u64) -> String {
    count(n, "child").replace("childs", "children")
}

fn more_slots(slots: Slots) -> String {
    if slots.own == 0 && slots.others > 0 {
        "Other queues take all: reserve slots (--reserve), or start a worker for this queue alone."
            .to_owned()
    } else {
        "Start more workers, or give them more slots (--queues, --concurrency).".to_owned()
    }
}

/// The beginning of an identity, enough to tell workers apart.
pub(super) fn short(worker: &str) -> String {
    worker.chars().take(8).collect()
}
