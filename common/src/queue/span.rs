//! Spans: the steps of a trace that are told to a collector, if one is set ([`crate::telemetry::spans`]).
//!
//! A span has the very ids that [`TraceParent`] carries: what a job enqueues names the job's run as its parent, and
//! the run is told under that id. What is not sampled is carried on and not told.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{KeyValue, Value};

use super::{Queue, TraceParent, trace::within};
use crate::telemetry::spans::{self, Draft};

pub use crate::telemetry::spans::SpanKind;

/// A step that is under way and is told when it has ended.
#[derive(Debug)]
#[must_use]
pub struct Span {
    context: TraceParent,
    draft: Box<Draft>,
}

impl Span {
    fn new(
        context: TraceParent,
        parent: u64,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
    ) -> Self {
        let draft = Draft {
            name: name.into(),
            kind,
            trace: context.trace,
            id: context.span,
            parent,
            start: SystemTime::now(),
            attributes: Vec::new(),
            failed: false,
        };
        Self {
            context,
            draft: Box::new(draft),
        }
    }

    /// A part of what runs here; none if that is not traced.
    pub fn part(name: &'static str, kind: SpanKind) -> Option<Self> {
        if !spans::is_on() {
            return None;
        }
        let parent = TraceParent::current().filter(|context| context.is_sampled())?;
        Some(Self::new(parent.child(), parent.span, name, kind))
    }

    /// With something to tell of it. Never a body, nor who somebody is.
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.draft.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Ends it.
    pub(super) fn end(mut self, failed: bool) {
        self.draft.failed = failed;
        self.draft.end();
    }
}

/// The step that makes a job.
pub(crate) fn enqueuing(task: &'static str) -> Option<Span> {
    let span = Span::part("enqueue", SpanKind::Producer)?;
    Some(span.with("job.task", task))
}

/// Does something as a span, or just so.
///
/// # Errors
/// Those of what is done.
pub async fn spanned<T, E>(
    span: Option<Span>,
    doing: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Some(span) = span else { return doing.await };
    let done = within(Some(span.context), doing).await;
    span.end(done.is_err());
    done
}

/// Several outcomes as one, so that a step with several can be told: it has failed if one of them has.
///
/// # Errors
/// The outcomes themselves, if one is an error.
#[expect(
    clippy::type_complexity,
    reason = "the same on both sides: whoever asks goes on with each outcome"
)]
pub fn as_one<T, E>(outcomes: Vec<Result<T, E>>) -> Result<Vec<Result<T, E>>, Vec<Result<T, E>>> {
    if outcomes.iter().all(Result::is_ok) {
        Ok(outcomes)
    } else {
        Err(outcomes)
    }
}

/// The beginning of what a process was asked for: a frame or a request.
#[derive(Debug)]
#[must_use]
pub struct Request {
    /// The trace that all it leads to belongs to.
    context: Option<TraceParent>,
    span: Option<Span>,
}

impl Request {
    /// A request that may come with a trace; of the others a share begins one.
    pub fn new(name: &'static str, from: Option<TraceParent>) -> Self {
        let kind = SpanKind::Server;
        let span = match from {
            Some(parent) if spans::is_on() && parent.is_sampled() => {
                Some(Span::new(parent.child(), parent.span, name, kind))
            }
            None if spans::chance() => Some(Span::new(TraceParent::fresh(), 0, name, kind)),
            _ => None,
        };
        let context = span.as_ref().map(|span| span.context).or(from);
        Self { context, span }
    }

    /// Does what was asked for.
    ///
    /// # Errors
    /// Those of what is done.
    pub async fn answer<T, E>(self, doing: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        match self {
            Self {
                span: Some(span), ..
            } => spanned(Some(span), doing).await,
            Self {
                context: Some(context),
                span: None,
            } => context.scope(doing).await,
            Self {
                context: None,
                span: None,
            } => doing.await,
        }
    }
}

/// The span of a run, if its job belongs to a trace that is told; its claim, which is its parent, is told at once:
/// it lasts from when the job might run, if that is known, to when it was claimed.
pub(super) fn of_run(
    parent: Option<TraceParent>,
    own: Option<TraceParent>,
    queue: Queue,
    task: &str,
    claimed_ms: u64,
    waited_ms: Option<u64>,
) -> Option<Span> {
    if !spans::is_on() {
        return None;
    }
    let (parent, own) = (parent?, own.filter(|own| own.is_sampled())?);
    let of = |context, parent, kind, what| {
        Span::new(context, parent, format!("{what} {task}"), kind).with("queue", queue.name())
    };
    let mut claim = of(parent.child(), parent.span, SpanKind::Internal, "claim");
    let id = claim.context.span;
    let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
    claim.draft.start = at(claimed_ms.saturating_sub(waited_ms.unwrap_or(0)));
    claim.draft.end_at(at(claimed_ms));
    Some(of(own, id, SpanKind::Consumer, "run"))
}
