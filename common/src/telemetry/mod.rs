//! What a process tells of itself. Here the logs: human or JSON lines on standard error, filtered by `RUST_LOG`.
//! Then [`metric`] and the list of all, [`catalog`]; and [`spans`], for traces.

mod beats;
pub mod catalog;
mod json;
pub mod metric;
pub mod spans;

use std::fmt::{self, Write};

use clap::ValueEnum;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::format::JsonFields,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

pub use beats::Beats;
pub use json::identify;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, text, fields.
    Human,
    /// For machines: one JSON object a line.
    Json,
}

/// Starts logging for this process. `RUST_LOG` chooses what is shown (default `info`).
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .ok()
        .filter(|filter| !filter.to_string().is_empty())
        .unwrap_or_else(|| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false);
    match format {
        LogFormat::Human => lines.finish().with(NoHangUps).init(),
        LogFormat::Json => {
            let lines = lines
                .fmt_fields(JsonFields::default())
                .event_format(json::Lines);
            lines.finish().with(NoHangUps).init();
        }
    }
}

/// Leaves out what warp calls an error and is none: that somebody hung up within an answer, as each reader
/// of an event stream does.
struct NoHangUps;

impl<S: Subscriber> Layer<S> for NoHangUps {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if !event.metadata().target().starts_with("warp::server") {
            return true;
        }
        let mut message = Message::default();
        event.record(&mut message);
        let hung_up = ["IncompleteMessage", "ConnectionReset", "BrokenPipe"];
        !hung_up.iter().any(|how| message.0.contains(how))
    }
}

/// The text of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a String cannot fail.
            let _ = write!(self.0, "{value:?}");
        }
    }
}
