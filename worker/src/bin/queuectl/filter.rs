//! Which dead jobs: the flags that `jobs dead`, `replay` and `discard --all-dead` share.

use std::time::Duration;

use common::queue::{JobId, Queue, dead::Filter};

use crate::{
    out::add,
    time::{millis, read_span, read_time, stamp},
};

#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which dead jobs")]
pub(crate) struct DeadArgs {
    /// Of this task
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,

    /// With this text in the reason of their death, in capitals or not
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: Option<String>,

    /// Children of this master
    #[arg(long, value_name = "MASTER")]
    pub(crate) group: Option<JobId>,

    /// Buried since then: a span, e.g. 2h, or a time, e.g. 2026-09-21T14:13:20Z
    #[arg(long, value_name = "WHEN", value_parser = read_when)]
    pub(crate) since: Option<When>,

    /// Buried before then: a span or a time
    #[arg(long, value_name = "WHEN", value_parser = read_when)]
    pub(crate) before: Option<When>,
}

/// A time, or how long ago that was.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    Ago(Duration),
    At(u64),
}

fn read_when(text: &str) -> Result<When, String> {
    if let Ok(span) = read_span(text) {
        return Ok(When::Ago(span));
    }
    let time = read_time(text).map_err(|_| {
        format!("`{text}` is neither a span (such as 2h) nor a time (such as 2026-09-21T14:13:20Z)")
    })?;
    Ok(When::At(millis(time)))
}

impl When {
    fn ms(self, now_ms: u64) -> u64 {
        match self {
            Self::At(ms) => ms,
            Self::Ago(span) => {
                now_ms.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(now_ms))
            }
        }
    }
}

impl DeadArgs {
    pub(crate) fn is_empty(&self) -> bool {
        self.task.is_none()
            && self.error.is_none()
            && self.group.is_none()
            && self.since.is_none()
            && self.before.is_none()
    }

    /// The filter, at this time by Redis's clock.
    pub(crate) fn at(&self, now_ms: u64, queue: Option<Queue>) -> Filter {
        Filter {
            task: self.task.clone(),
            queue,
            error: self.error.clone(),
            group: self.group,
            since_ms: self.since.map(|when| when.ms(now_ms)),
            before_ms: self.before.map(|when| when.ms(now_ms)),
        }
    }
}

/// The filter in words: `dead jobs of demo.a in queue low`.
pub(crate) fn words(filter: &Filter) -> String {
    let mut told = "dead jobs".to_owned();
    if let Some(task) = &filter.task {
        add(&mut told, format_args!(" of {task}"));
    }
    if let Some(queue) = filter.queue {
        add(&mut told, format_args!(" in queue {queue}"));
    }
    if let Some(group) = filter.group {
        add(&mut told, format_args!(" in the group of {group}"));
    }
    if let Some(error) = &filter.error {
        add(&mut told, format_args!(" with `{error}` in the reason"));
    }
    if let Some(ms) = filter.since_ms {
        add(&mut told, format_args!(" since {}", stamp(ms)));
    }
    if let Some(ms) = filter.before_ms {
        add(&mut told, format_args!(" before {}", stamp(ms)));
    }
    told
}

/// The filter as flags, for a shell: ` --task demo.a --error 'no route'`.
pub(crate) fn flags(filter: &Filter) -> String {
    let mut told = String::new();
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:+".contains(c);
            if value.is_empty() || !value.chars().all(is_plain) {
                let quoted = value.replace('\'', r"'\''");
                add(&mut told, format_args!(" --{name} '{quoted}'"));
            } else {
                add(&mut told, format_args!(" --{name} {value}"));
            }
        }
    };
    flag("task", filter.task.clone());
    flag("queue", filter.queue.map(|queue| queue.to_string()));
    flag("group", filter.group.map(|group| group.to_string()));
    flag("error", filter.error.clone());
    flag("since", filter.since_ms.map(stamp));
    flag("before", filter.before_ms.map(stamp));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_told_in_words_and_as_flags_that_read_as_the_same_filter() {
        let args = DeadArgs {
            task: Some("demo.a".to_owned()),
            error: Some("can't".to_owned()),
            since: Some(read_when("1m").unwrap()),
            before: Some(read_when("2026-09-21T14:13:20.017Z").unwrap()),
            ..DeadArgs::default()
        };
        let filter = args.at(1_790_000_060_000, Some(Queue::Low));

        assert_eq!(
            words(&filter),
            "dead jobs of demo.a in queue low with `can't` in the reason since \
             2026-09-21T14:13:20.000Z before 2026-09-21T14:13:20.017Z"
        );
        assert_eq!(
            flags(&filter),
            r" --task demo.a --queue low --error 'can'\''t' --since 2026-09-21T14:13:20.000Z --before 2026-09-21T14:13:20.017Z"
        );
        assert!(read_when("yesterday").is_err());
    }
}
