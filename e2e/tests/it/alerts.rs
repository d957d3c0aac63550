//! What is in `ops/` fits what there is: each expression can be read and asks for metrics that exist, by labels that
//! they have, and each alert has its section in `docs/operations.md`.

use std::{collections::BTreeSet, fs, path::Path};

use common::telemetry::{catalog::METRICS, metric::Kind};
use promql_parser::{
    label::Matchers,
    parser::{self, Expr},
    util::{ExprVisitor, walk_expr},
};
use serde_json::Value;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics that an expression asks for, with the labels that it chooses by.
#[derive(Debug, Default)]
struct Asks(Vec<(String, Vec<(String, String)>)>);

impl Asks {
    fn of(expression: &str) -> Self {
        // Grafana puts a span there.
        let plain = expression.replace("$__rate_interval", "5m");
        let parsed = parser::parse(&plain).unwrap_or_else(|error| panic!("{expression}: {error}"));
        let mut asks = Self::default();
        walk_expr(&mut asks, &parsed).expect("a walk");
        assert!(!asks.0.is_empty(), "{expression} asks for nothing");
        asks
    }

    /// What it asks for that there is not.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, labels) in &self.0 {
            if name == "up" {
                continue; // Prometheus's own
            }
            let metric = METRICS.iter().find(|metric| match metric.kind {
                Kind::Histogram(_) => name.strip_suffix("_bucket") == Some(metric.name),
                _ => *name == metric.name,
            });
            let Some(metric) = metric else {
                wrong.push(format!("there is no metric {name}"));
                continue;
            };
            for (label, value) in labels {
                let known = metric.labels.iter().find(|known| known.name == label);
                let fits = known.is_some_and(|known| {
                    let is_one =
                        |value: &str| known.values.is_empty() || known.values.contains(&value);
                    value.split('|').all(is_one)
                });
                if !fits {
                    wrong.push(format!("{name} has no {label}=\"{value}\""));
                }
            }
        }
        wrong
    }
}

impl ExprVisitor for Asks {
    type Error = String;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, String> {
        let selector = match expr {
            Expr::VectorSelector(selector) => selector,
            Expr::MatrixSelector(selector) => &selector.vs,
            _ => return Ok(true),
        };
        let Matchers { matchers, .. } = &selector.matchers;
        let labels = matchers.iter().map(|m| (m.name.clone(), m.value.clone()));
        let name = selector.name.clone().ok_or("a selector without a name")?;
        self.0.push((name, labels.collect()));
        Ok(true)
    }
}

/// The anchors of a page's headings, as hosts of Markdown make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let text = line.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn each_alert_asks_for_what_there_is_and_has_its_section() {
    let rules: Value = serde_yaml_ng::from_str(&read("ops/prometheus/alerts.yaml")).expect("YAML");
    let anchors = anchors(&read("docs/operations.md"));
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    let groups = rules["groups"].as_array().expect("groups");
    for rule in groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"))
    {
        let name = rule["alert"].as_str().expect("a name");
        assert!(names.insert(name.to_lowercase()), "{name} is there twice");
        let expression = rule["expr"].as_str().expect("an expression");
        wrong.extend(
            Asks::of(expression)
                .wrong()
                .into_iter()
                .map(|why| format!("{name}: {why}")),
        );
        let runbook = rule["annotations"]["runbook"].as_str().expect("a runbook");
        let anchor = runbook
            .strip_prefix("docs/operations.md#")
            .expect("the page");
        assert_eq!(anchor, name.to_lowercase());
        if !anchors.contains(anchor) {
            wrong.push(format!("{name} has no section in docs/operations.md"));
        }
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("page" | "ticket")), "{name}");
        assert!(
            rule["annotations"]["summary"].is_string() && rule["for"].is_string(),
            "{name}"
        );
    }
    assert!(names.len() > 20, "{names:?}");
    let of_no_alert = anchors
        .iter()
        .filter(|anchor| anchor.starts_with("rhubarb") && !names.contains(*anchor));
    wrong.extend(of_no_alert.map(|anchor| format!("the section {anchor} has no alert")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_panel_asks_for_what_there_is_and_none_is_left_out() {
    let dashboard: Value = serde_json::from_str(&read("ops/grafana/rhubarb.json")).expect("JSON");
    let mut wrong = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64()), "two panels have one id");
        let targets = panel["targets"].as_array();
        assert!(panel["type"] == "row" || targets.is_some_and(|all| !all.is_empty()));
        for target in targets.into_iter().flatten() {
            let expression = target["expr"].as_str().expect("an expression");
            wrong.extend(Asks::of(expression).wrong());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn prometheus_reads_the_alerts_and_names_the_jobs_that_they_ask_for() {
    let config: Value =
        serde_yaml_ng::from_str(&read("ops/prometheus/prometheus.yaml")).expect("YAML");
    assert_eq!(config["rule_files"][0], "alerts.yaml");
    let jobs = config["scrape_configs"].as_array().expect("jobs");
    let names: Vec<_> = jobs
        .iter()
        .filter_map(|job| job["job_name"].as_str())
        .collect();
    assert_eq!(names, ["rhubarb-server", "rhubarb-worker"]);
}

#[test]
fn what_there_is_not_is_found() {
    let wrong = |expression| Asks::of(expression).wrong();
    assert_eq!(wrong("max(rhubarb_dead_jobs) > 1"), [""; 0]);
    assert_eq!(wrong("rhubarb_dead"), ["there is no metric rhubarb_dead"]);
    let bad =
        "rate(rhubarb_jobs_total{outcome=~\"done|lost\"}[5m]) > rhubarb_queue_depth{room=\"a\"}";
    assert_eq!(wrong(bad).len(), 2);
    assert_eq!(
        wrong("rhubarb_job_seconds").len(),
        1,
        "a histogram has buckets"
    );
}
