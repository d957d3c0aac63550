//! Metrics: `docs/metrics.md` lists what there is, and real processes have just that.
#![expect(clippy::float_cmp, reason = "counts are whole numbers")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use common::{
    config::Process,
    telemetry::{
        catalog::METRICS,
        metric::{Kind, Metric, Of, metrics_of},
    },
    testing::eventually,
};
use serde_json::json;

use crate::harness::{Stack, http};

const ROOM: &str = "stage";

/// The row of a metric in the page.
fn row(metric: &Metric) -> String {
    let label = |label: &common::telemetry::metric::Label| match label.values {
        [] => format!("`{}`", label.name),
        values => format!("`{}`: {}", label.name, values.join(", ")),
    };
    let labels: Vec<_> = metric.labels.iter().map(label).collect();
    let of = match metric.of {
        Of::Server => "server",
        Of::Worker => "worker",
        Of::Both => "both",
    };
    let (name, kind, help) = (metric.name, metric.kind.name(), metric.help);
    format!(
        "| `{name}` | {kind} | {} | {of} | {help} |",
        labels.join("; ")
    )
}

#[test]
fn the_page_lists_all_metrics_as_they_are() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = fs::read_to_string(page).expect("docs/metrics.md");
    let listed: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| `rhubarb_"))
        .collect();
    let are: Vec<_> = METRICS.iter().map(row).collect();
    assert!(
        listed == are,
        "docs/metrics.md should have these rows:\n{}",
        are.join("\n")
    );
}

/// What a scrape brought: for each metric its type, whether it is described, and the names of its labels.
#[derive(Debug, Default)]
struct Scrape {
    kinds: BTreeMap<String, String>,
    described: BTreeSet<String>,
    labels: BTreeMap<String, BTreeSet<String>>,
    values: BTreeMap<String, f64>,
}

async fn scrape(port: u16) -> Scrape {
    let text = http::get(port, "/metrics").await.expect("an answer").body;
    let mut found = Scrape::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            found.kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').expect("a text");
            found.described.insert(name.to_owned());
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let of_histogram = ["_bucket", "_sum", "_count"];
            let family = of_histogram
                .iter()
                .find_map(|ending| name.strip_suffix(ending))
                .filter(|family| found.kinds.contains_key(*family))
                .unwrap_or(name);
            let names = labels.split("=\"").filter_map(|part| {
                let name = part.rsplit([',', '{', '"']).next()?;
                (!name.contains('}') && name != "le").then(|| name.to_owned())
            });
            found
                .labels
                .entry(family.to_owned())
                .or_default()
                .extend(names);
            found
                .values
                .insert(series.to_owned(), value.parse().expect("a number"));
        }
    }
    found
}

impl Scrape {
    /// What is not as the list says.
    fn differs_from(&self, process: Process) -> Vec<String> {
        let mut wrong = Vec::new();
        let listed: BTreeMap<_, _> = metrics_of(process)
            .map(|metric| (metric.name, metric))
            .collect();
        for name in self.kinds.keys() {
            if !listed.contains_key(&**name) {
                wrong.push(format!("{name} is not in the list"));
            }
        }
        for (name, metric) in listed {
            let labels: BTreeSet<_> = metric
                .labels
                .iter()
                .map(|label| label.name.to_owned())
                .collect();
            match self.kinds.get(name) {
                None => wrong.push(format!("{name} is missing")),
                Some(kind) if *kind != metric.kind.name() => {
                    wrong.push(format!("{name} is a {kind}"));
                }
                Some(_) if self.labels.get(name) != Some(&labels) => {
                    wrong.push(format!("{name} has the labels {:?}", self.labels.get(name)));
                }
                Some(_) if !self.described.contains(name) => {
                    wrong.push(format!("{name} has no text"));
                }
                Some(_) => {}
            }
        }
        wrong
    }

    fn value(&self, series: &str) -> f64 {
        *self
            .values
            .get(series)
            .unwrap_or_else(|| panic!("{series} is not there"))
    }
}

#[tokio::test]
async fn a_server_and_a_worker_tell_what_is_listed_and_nothing_else() {
    let stack = Stack::start()
        .await
        .with("WORKER_LISTEN", "127.0.0.1:0")
        .with("JOIN_RATE", "1:1")
        .with("JWT_SECRET", &"s".repeat(32));
    let (server, mut worker) = tokio::join!(stack.server(), stack.worker());
    let of_worker = worker.listens().await;
    let before = scrape(server.port).await;
    assert_eq!(
        before.value("rhubarb_resends_total"),
        0.0,
        "it begins at zero"
    );

    // Something of each kind with a label that is not known beforehand.
    let mut ada = server.client("ada").await;
    ada.join(ROOM).await;
    let first = ada.post_as(ROOM, "my-1", "hi").await;
    assert!(ada.post_as(ROOM, "my-1", "hi").await.duplicate);
    assert!(!first.duplicate);
    for room in ["another", "a-third"] {
        let _ = ada.request("join", &json!({"roomId": room})).await;
    }
    let _ = ada.request("auth", &json!({"token": "no token"})).await;
    ada.leave(ROOM).await;
    stack.flushed(ROOM, 1).await;
    stack.forget_rooms().await;
    let mut bob = server.client("bob").await;
    bob.join(ROOM).await;
    eventually("a rehydration", async || {
        let series = "rhubarb_rehydrated_messages_total";
        (scrape(of_worker).await.value(series) > 0.0).then_some(())
    })
    .await;

    let told = scrape(server.port).await;
    assert_eq!(told.differs_from(Process::Server), [""; 0]);
    assert_eq!(told.value("rhubarb_resends_total"), 1.0);
    assert_eq!(
        told.value("rhubarb_ack_seconds_count{level=\"redis\"}"),
        2.0
    );
    assert_eq!(told.value("rhubarb_rooms"), 1.0);
    assert_eq!(told.value("rhubarb_members"), 1.0);
    assert_eq!(told.value("rhubarb_connections"), 2.0);
    assert_eq!(told.value("rhubarb_ready"), 1.0);
    let of_both = scrape(of_worker).await;
    assert_eq!(of_both.differs_from(Process::Worker), [""; 0]);
    assert!(of_both.value("rhubarb_job_wait_seconds_count{queue=\"default\"}") >= 3.0);
    assert_eq!(of_both.value("rhubarb_flush_seconds_count"), 1.0);
    assert_eq!(of_both.value("rhubarb_rehydrate_seconds_count"), 1.0);
    assert_eq!(of_both.value("rhubarb_slots"), 8.0);
    for scraped in [&told, &of_both] {
        assert_eq!(scraped.value("rhubarb_queue_workers{queue=\"low\"}"), 1.0);
        assert!(scraped.value("rhubarb_redis_used_bytes") > 0.0);
        assert!(scraped.value("rhubarb_clock_offset_seconds").abs() < 1.0);
        assert!(scraped.value("rhubarb_heartbeat_age_seconds") < 6.0);
    }
}

#[test]
fn buckets_go_up() {
    for metric in METRICS {
        if let Kind::Histogram(buckets) = metric.kind {
            assert!(
                buckets.is_sorted_by(|one, next| one < next),
                "{}",
                metric.name
            );
        }
    }
}
