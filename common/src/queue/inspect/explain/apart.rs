//! An explanation of what is in no line of a queue: in a lane, scheduled, parked, dead, or never made.

use super::{
    Reason,
    words::{Teller, Told, before, short},
};
use crate::{
    queue::lane::Rate,
    words::{add, count, number, since, span, until},
};

/// A job that is due waits again within this time, while a worker looks.
const CARE_MS: u64 = 5_000;

impl Teller<'_> {
    pub(super) fn laned(&self, reason: &Reason) -> Told {
        let Reason::Laned {
            lane,
            ahead,
            holders,
            alive,
        } = reason
        else {
            return Told::default();
        };
        let name = &lane.lane;
        let mut text = format!(
            "It is in the line of lane {name}, {} before it.",
            before(*ahead).to_lowercase()
        );
        let idle = *alive == 0;
        let nobody = |text: String| {
            let advice = Some("Start a worker.".to_owned());
            (format!("{text} No worker is running."), advice)
        };
        if lane.in_flight >= u64::from(lane.width) {
            let (held, width) = (number(lane.in_flight), number(lane.width));
            add(
                &mut text,
                format_args!(" {held} of {width} slots of the lane are held"),
            );
            if !holders.is_empty() {
                let more = lane.in_flight > holders.len() as u64;
                let more = if more { ", …" } else { "" };
                add(&mut text, format_args!(" by {}{more}", holders.join(", ")));
            }
            text.push_str(": one must end first.");
            if idle {
                return nobody(text);
            }
            let advice = holders
                .first()
                .map(|id| format!("What holds a slot: queuectl explain {id}"));
            return (text, advice);
        }
        match (lane.rate, lane.next_ms) {
            (Some(rate), Some(next)) => {
                let (rate, when) = (tell_rate(rate), until(self.now_ms, next));
                add(
                    &mut text,
                    format_args!(" The lane lets {rate} go; the next one may go {when}."),
                );
            }
            _ if idle => text.push_str(" A slot of the lane is free."),
            _ => text.push_str(" A slot is free: it goes in a moment."),
        }
        if idle { nobody(text) } else { (text, None) }
    }

    pub(super) fn scheduled(
        &self,
        due_ms: u64,
        attempts: u32,
        error: Option<&str>,
        alive: u64,
    ) -> Told {
        let when = until(self.now_ms, due_ms);
        let mut text = match error.filter(|_| attempts > 0) {
            Some(error) => {
                format!("Attempt {attempts} failed ({error}); the next one is due {when}.")
            }
            None => format!("It is scheduled, and due {when}."),
        };
        if alive == 0 {
            text.push_str(" No worker is running.");
            return (text, Some("Start a worker.".to_owned()));
        }
        let advice = if self.now_ms > due_ms + CARE_MS {
            text.push_str(" A worker should have let it wait in its queue by now.");
            "Look at the workers' logs and at their way to Redis.".to_owned()
        } else {
            format!("To run it now: queuectl retry {}", self.id)
        };
        (text, Some(advice))
    }

    pub(super) fn parked(&self, reason: &Reason) -> Told {
        let Reason::Parked {
            task,
            version,
            workers,
            ..
        } = reason
        else {
            return Told::default();
        };
        let queue = self.id.queue();
        let text = match &workers[..] {
            [] => format!(
                "It is parked: no worker knew version {version} of {task}, and none that is alive serves queue {queue}."
            ),
            some => {
                let names: Vec<_> = some.iter().take(3).map(|id| short(id)).collect();
                let more = if some.len() > names.len() {
                    ", …"
                } else {
                    ""
                };
                let (are, names) = (count(some.len() as u64, "worker"), names.join(", "));
                format!(
                    "It is parked: no worker that serves queue {queue} knows version {version} of {task} ({are}: {names}{more})."
                )
            }
        };
        let id = self.id;
        let advice = format!(
            "Start a worker that serves {queue} and knows it, or if the name is wrong: queuectl discard {id}"
        );
        (text, Some(advice))
    }

    pub(super) fn dead(&self, reason: &Reason) -> Told {
        let Reason::Dead {
            since_ms,
            attempts,
            deaths,
            error,
            children_of,
            unreadable,
        } = reason
        else {
            return Told::default();
        };
        let id = self.id;
        let time = since_ms.map(|then| format!(" for {}", since(self.now_ms, then)));
        let time = time.unwrap_or_default();
        if let Some(master) = children_of {
            return (
                format!(
                    "It is dead{time}: children of {master}, which it was to follow, are dead."
                ),
                Some(format!(
                    "First the children: queuectl replay --group {master}; then: queuectl retry {id}"
                )),
            );
        }
        let mut text = format!("It is dead{time}");
        if *deaths > 0 {
            let workers = count(u64::from(*deaths), "worker");
            add(
                &mut text,
                format_args!(", and {workers} died while running it"),
            );
        } else if *attempts > 1 {
            add(&mut text, format_args!(", after {attempts} attempts"));
        }
        match error {
            Some(error) => add(&mut text, format_args!(": {error}")),
            None => text.push('.'),
        }
        let advice = if *unreadable {
            format!("It cannot be read. To remove it: queuectl discard {id}")
        } else {
            format!(
                "When the cause is mended: queuectl retry {id}; to give it up: queuectl discard {id}"
            )
        };
        (text, Some(advice))
    }

    pub(super) fn never(&self, reason: &Reason) -> Told {
        let Reason::Never {
            newest,
            inbox,
            draining,
        } = reason
        else {
            return Told::default();
        };
        let (id, queue) = (self.id, self.id.queue());
        let mut text = match newest {
            Some(newest) => format!("No job has the id {id}: the newest of its kind is {newest}."),
            None => format!("No job has the id {id}: none of its kind has been enqueued yet."),
        };
        let mut advice = None;
        if *inbox > 0 {
            let are = if *inbox == 1 { "lies" } else { "lie" };
            let bodies = count(*inbox, "body").replace("bodys", "bodies");
            add(
                &mut text,
                format_args!(
                    " {bodies} {are} in the inbox of queue {queue}, to be made jobs by a worker."
                ),
            );
        }
        if *draining {
            add(
                &mut text,
                format_args!(" Queue {queue} drains: it takes no new jobs."),
            );
            advice = Some(format!("To end that: queuectl resume {queue}"));
        }
        (text, advice)
    }
}

fn tell_rate(rate: Rate) -> String {
    let jobs = count(u64::from(rate.jobs), "job");
    format!("{jobs} in {}", span(rate.period_ms))
}
