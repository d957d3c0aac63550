//! Metrics: what each one is, and how a process begins to count. The list of all is [`super::catalog`].

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::catalog::METRICS;
use crate::config::Process;

/// How often what histograms were told is put into their buckets, if nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// One metric: its name on `/metrics` and what it tells. Names end with the base unit, and with `_total` if they
/// count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// What it is split by.
    pub labels: &'static [Label],
    /// Which processes have it.
    pub of: Of,
    /// What it tells.
    pub help: &'static str,
}

/// What a metric does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only goes up.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It sorts what it is told into buckets, by these upper bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// As Prometheus calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// What a metric is split by. Never what users make up: rooms, people, ids of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All that it can be; empty if that is decided elsewhere, such as by the names of tasks.
    pub values: &'static [&'static str],
}

/// Which processes have a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Servers.
    Server,
    /// Workers.
    Worker,
    /// Both.
    Both,
}

/// The metrics of a process; queuectl has none.
pub fn metrics_of(process: Process) -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(move |metric| {
        matches!(
            (metric.of, process),
            (Of::Both, Process::Server | Process::Worker)
                | (Of::Server, Process::Server)
                | (Of::Worker, Process::Worker)
        )
    })
}

/// Begins to count, from zero where the values of all labels are known, so that the first event is seen as one.
///
/// # Errors
/// If this process counts already.
pub fn install(process: Process) -> Result<PrometheusHandle, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in metrics_of(process) {
        if let Kind::Histogram(buckets) = metric.kind {
            builder =
                builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
        }
    }
    let handle = builder.install_recorder()?;
    for metric in metrics_of(process) {
        describe(metric);
        for labels in combinations(metric.labels) {
            begin(metric, &labels);
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    metrics::gauge!("rhubarb_build_info", "process" => process.name(), "version" => version)
        .set(1.0);
    metrics::gauge!("rhubarb_start_time_seconds").set(seconds_since_1970());
    Ok(handle)
}

/// Keeps histograms small while nobody scrapes.
pub async fn keep_up(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}

/// Now, by this machine's clock.
pub fn seconds_since_1970() -> f64 {
    std::time::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs_f64()
}

fn describe(metric: &Metric) {
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
        Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
        Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.help),
    }
}

type Labels = Vec<(&'static str, &'static str)>;

/// Every combination of values; none if one of the labels can be anything.
fn combinations(labels: &[Label]) -> Vec<Labels> {
    labels.iter().fold(vec![Vec::new()], |before, label| {
        let with = |value: &'static str| {
            before.iter().map(move |labels| {
                let mut labels = labels.clone();
                labels.push((label.name, value));
                labels
            })
        };
        label
            .values
            .iter()
            .flat_map(|value| with(value))
            .collect::<Vec<Labels>>()
    })
}

fn begin(metric: &Metric, labels: &Labels) {
    match metric.kind {
        Kind::Counter => metrics::counter!(metric.name, labels).increment(0),
        Kind::Gauge => metrics::gauge!(metric.name, labels).set(0.0),
        Kind::Histogram(_) => drop(metrics::histogram!(metric.name, labels)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_known_labels_begins_at_zero() {
        const QUEUES: Label = Label {
            name: "queue",
            values: &["high", "low"],
        };
        const TASK: Label = Label {
            name: "task",
            values: &[],
        };

        assert_eq!(combinations(&[]), [Labels::new()]);
        assert_eq!(
            combinations(&[QUEUES]),
            [[("queue", "high")], [("queue", "low")]]
        );
        assert_eq!(combinations(&[QUEUES, QUEUES]).len(), 4);
        assert!(combinations(&[QUEUES, TASK]).is_empty());
    }

    #[test]
    fn names_say_what_they_count() {
        for metric in METRICS {
            let name = metric.name;
            assert!(name.starts_with("rhubarb_"), "{name}");
            let counts = metric.kind == Kind::Counter;
            assert_eq!(name.ends_with("_total"), counts, "{name}");
            if matches!(metric.kind, Kind::Histogram(_)) {
                assert!(name.ends_with("_seconds"), "{name} has no unit");
            }
            let same = METRICS.iter().filter(|other| other.name == name).count();
            assert_eq!(same, 1, "{name} is listed twice");
        }
    }
}
