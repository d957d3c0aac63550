//! Spans on their way to a collector: OTLP over HTTP. Off unless an endpoint is set; then what is asked of who has
//! nothing to trace is one look at whether it is on.
//!
//! Nothing waits for the collector: spans lie in a bounded queue, and those that do not fit are dropped and counted.

use std::{
    borrow::Cow,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use metrics::{Counter, counter};
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, Status, TraceState},
};
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter, SpanLinks},
};
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use crate::config::{Process, Tracing};

pub use opentelemetry::trace::SpanKind;

/// Spans that wait at most.
const QUEUE: usize = 4096;
/// Spans that are sent at once, at most.
const BATCH: usize = 512;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// And for the last ones, when the process ends.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

static EXPORT: OnceLock<Export> = OnceLock::new();

/// Why spans cannot be sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TracingError {
    /// The address is of another kind.
    #[error(
        "the OTLP endpoint has to begin with http://; to a collector elsewhere send by way of one on this machine"
    )]
    Scheme,
    /// The address cannot be used.
    #[error("prepare to send traces")]
    Build(#[from] ExporterBuildError),
}

/// The way out.
struct Export {
    queue: mpsc::Sender<Item>,
    /// The share of traces that are begun here.
    ratio: f64,
    dropped: Counter,
}

enum Item {
    Span(Box<Draft>, SystemTime),
    /// To be answered when all before it are sent.
    Flush(oneshot::Sender<()>),
}

/// A span that has not ended.
#[derive(Debug)]
pub struct Draft {
    /// What is done.
    pub name: Cow<'static, str>,
    /// On which side.
    pub kind: SpanKind,
    /// The trace.
    pub trace: u128,
    /// Its own id.
    pub id: u64,
    /// The span that it is a part of; 0 for the first.
    pub parent: u64,
    /// When it began.
    pub start: SystemTime,
    /// What there is to tell of it. No bodies, no names of people.
    pub attributes: Vec<KeyValue>,
    /// Whether it came to nothing.
    pub failed: bool,
}

/// Whether spans are sent anywhere.
pub fn is_on() -> bool {
    EXPORT.get().is_some()
}

/// Whether a trace that begins now is one of the share that is sent.
pub fn chance() -> bool {
    EXPORT
        .get()
        .is_some_and(|export| rand::random_bool(export.ratio))
}

/// Begins to send spans, if there is a collector to send them to. `instance` names this process.
///
/// # Errors
/// If the endpoint cannot be used.
pub fn start(settings: &Tracing, process: Process, instance: &str) -> Result<(), TracingError> {
    let Some(endpoint) = settings
        .otlp_endpoint
        .as_deref()
        .filter(|at| !at.is_empty())
    else {
        return Ok(());
    };
    if !endpoint.starts_with("http://") {
        return Err(TracingError::Scheme);
    }
    let base = endpoint.trim_end_matches('/');
    let base = base.strip_suffix("/v1/traces").unwrap_or(base);
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{base}/v1/traces"))
        .with_timeout(PATIENCE)
        .build()?;
    let resource = Resource::builder()
        .with_service_name(format!("rhubarb-{}", process.name()))
        .with_attributes([
            KeyValue::new("service.namespace", "rhubarb"),
            KeyValue::new("service.instance.id", instance.to_owned()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build();
    exporter.set_resource(&resource);
    let (queue, items) = mpsc::channel(QUEUE);
    let export = Export {
        queue,
        ratio: settings.trace_ratio,
        dropped: counter!("rhubarb_spans_total", "result" => "dropped"),
    };
    if EXPORT.set(export).is_ok() {
        tokio::spawn(send_all(exporter, items));
        tracing::info!(
            ratio = settings.trace_ratio,
            "traces are sent to a collector"
        );
    }
    Ok(())
}

/// Sends what waits, when the process ends.
pub async fn end() {
    let Some(export) = EXPORT.get() else { return };
    let (sent, all_sent) = oneshot::channel();
    let flush = async {
        if export.queue.send(Item::Flush(sent)).await.is_ok() {
            let _ = all_sent.await;
        }
    };
    let _ = timeout(LAST_PATIENCE, flush).await;
}

impl Draft {
    /// It ends now.
    pub fn end(self: Box<Self>) {
        self.end_at(SystemTime::now());
    }

    /// It ended at a time.
    pub fn end_at(self: Box<Self>, end: SystemTime) {
        if let Some(export) = EXPORT.get()
            && export.queue.try_send(Item::Span(self, end)).is_err()
        {
            export.dropped.increment(1);
        }
    }

    fn finished(self, end: SystemTime) -> SpanData {
        let trace = TraceId::from(self.trace);
        SpanData {
            span_context: SpanContext::new(
                trace,
                SpanId::from(self.id),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::from(self.parent),
            parent_span_is_remote: false,
            span_kind: self.kind,
            name: self.name,
            start_time: self.start,
            end_time: end.max(self.start),
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if self.failed {
                Status::error("")
            } else {
                Status::Unset
            },
            instrumentation_scope: InstrumentationScope::builder("rhubarb").build(),
        }
    }
}

async fn send_all(exporter: opentelemetry_otlp::SpanExporter, mut items: mpsc::Receiver<Item>) {
    let sent = counter!("rhubarb_spans_total", "result" => "sent");
    let failed = counter!("rhubarb_spans_total", "result" => "failed");
    let mut well = true;
    while let Some((batch, flushed)) = gather(&mut items).await {
        let n = batch.len() as u64;
        let outcome = if batch.is_empty() {
            Ok(())
        } else {
            let sending = timeout(PATIENCE, exporter.export(batch)).await;
            let late = || format!("no answer within {PATIENCE:?}");
            sending.map_or_else(
                |_| Err(late()),
                |done| done.map_err(|error| error.to_string()),
            )
        };
        match outcome {
            Ok(()) => {
                sent.increment(n);
                well |= n > 0;
            }
            Err(error) => {
                failed.increment(n);
                if std::mem::replace(&mut well, false) {
                    tracing::warn!(
                        error,
                        "the collector does not take spans: they are lost, and counted"
                    );
                }
            }
        }
        if let Some(flushed) = flushed {
            let _ = flushed.send(());
        }
    }
}

/// A batch, and who waits until it is sent; none when the process ends.
async fn gather(
    items: &mut mpsc::Receiver<Item>,
) -> Option<(Vec<SpanData>, Option<oneshot::Sender<()>>)> {
    let mut batch = Vec::new();
    let mut until = None;
    loop {
        let item = tokio::select! {
            item = items.recv() => item,
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
        };
        match item {
            Some(Item::Span(draft, end)) => batch.push(draft.finished(end)),
            Some(Item::Flush(flushed)) => return Some((batch, Some(flushed))),
            None if batch.is_empty() => return None,
            None => break,
        }
        if batch.len() == BATCH {
            break;
        }
        until.get_or_insert_with(|| Instant::now() + GATHER);
    }
    Some((batch, None))
}
