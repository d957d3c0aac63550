//! Trace: which request a job belongs to, from its enqueue to whatever it leads to.
//!
//! A body carries the trace context of whoever enqueued the job, in the format of W3C Trace Context's
//! `traceparent`. A job that runs is a span of its own in the same trace, and the parent of what it
//! enqueues: children, what follows them, flows, calls.

use std::{borrow::Cow, fmt, future::Future, str::FromStr};

use serde::{Deserialize, Deserializer};

use super::context::JobContext;
use crate::id::IdError;

tokio::task_local! {
    /// The trace context of the job, or of the scope, that runs.
    static CURRENT: Option<TraceParent>;
}

/// A trace context: which trace, and which span in it. As text it is a W3C `traceparent`.
///
/// ```
/// use common::queue::TraceParent;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace: TraceParent = text.parse()?;
/// assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(trace.to_string(), text);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    pub(super) trace: u128,
    pub(super) span: u64,
    flags: u8,
}

impl TraceParent {
    /// The first span of a new trace.
    pub fn fresh() -> Self {
        Self {
            trace: rand::random_range(1..=u128::MAX),
            span: rand::random_range(1..=u64::MAX),
            flags: 1, // sampled
        }
    }

    /// Another span in the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        let span = rand::random_range(1..=u64::MAX);
        Self { span, ..self }
    }

    /// The context of the job that runs here, or of the innermost [`Self::scope`]. What a task spawns is not
    /// inside of it: take it along with `scope`.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| *current).ok().flatten()
    }

    /// Runs a future in this context: what it enqueues belongs to the trace.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        within(Some(self), future)
    }

    /// Whether whoever began the trace has it told.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// The trace: 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span: 16 hexadecimal digits.
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span)
    }
}

/// Runs a future in a context or, whatever is around, in none.
pub(super) fn within<F: Future>(
    trace: Option<TraceParent>,
    future: F,
) -> impl Future<Output = F::Output> {
    CURRENT.scope(trace, future)
}

impl JobContext {
    /// The job's own place in its trace, if it belongs to one: what it enqueues has this as its parent.
    pub fn trace(&self) -> Option<TraceParent> {
        self.trace
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

impl FromStr for TraceParent {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        read(text).ok_or_else(|| {
            let expected = "a traceparent (00-<32 hexadecimal digits>-<16>-<2>, not all zeros)";
            IdError::new(text, expected)
        })
    }
}

crate::id_as_text!(TraceParent);

fn read(text: &str) -> Option<TraceParent> {
    let mut parts = text.split('-');
    let mut hex = |digits: usize| {
        let part = parts.next()?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let fits = part.len() == digits && part.bytes().all(is_hex);
        fits.then(|| u128::from_str_radix(part, 16).ok()).flatten()
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    // A later version may say more after what is known of it.
    let is_known = version != 0xff && (version > 0 || parts.next().is_none());
    (is_known && trace != 0 && span != 0).then_some(TraceParent {
        trace,
        span: u64::try_from(span).ok()?,
        flags: u8::try_from(flags).ok()?,
    })
}

/// Reads the context in a body. No job fails because somebody wrote a bad one.
pub(super) fn in_body<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TraceParent>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(from)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Body;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_reads_as_it_is_written_and_nothing_else_is_one() {
        let trace: TraceParent = GOOD.parse().unwrap();
        assert_eq!(trace.to_string(), GOOD);
        assert_eq!(trace.span_id(), "00f067aa0ba902b7");
        let fresh = TraceParent::fresh();
        assert_eq!(fresh.to_string().parse::<TraceParent>().unwrap(), fresh);
        let later = format!("01{}-what-comes", &GOOD[2..]);
        assert_eq!(later.parse::<TraceParent>().unwrap(), trace);
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(wrong.parse::<TraceParent>().is_err(), "{wrong} passed");
        }
    }

    #[test]
    fn a_child_is_another_span_of_the_same_trace() {
        let trace = TraceParent::fresh();
        let child = trace.child();
        assert_eq!(child.trace_id(), trace.trace_id());
        assert_ne!(child.span_id(), trace.span_id());
    }

    #[test]
    fn a_body_with_a_bad_context_is_read_without_it() {
        let with = |trace: &str| format!(r#"{{"task":"t","args":1,"trace":{trace}}}"#);
        let good = with(&format!("\"{GOOD}\""));
        assert_eq!(Body::read(&good).unwrap().write().unwrap(), good);
        assert_eq!(Body::read(&with("\"bad\"")).unwrap().trace, None);
        assert_eq!(Body::read(&with("null")).unwrap().trace, None);
    }

    #[tokio::test]
    async fn the_innermost_scope_holds() {
        let (outer, inner) = (TraceParent::fresh(), TraceParent::fresh());
        assert_eq!(TraceParent::current(), None);
        outer
            .scope(async {
                assert_eq!(TraceParent::current(), Some(outer));
                inner
                    .scope(async { assert_eq!(TraceParent::current(), Some(inner)) })
                    .await;
                within(None, async { assert_eq!(TraceParent::current(), None) }).await;
                assert_eq!(TraceParent::current(), Some(outer));
            })
            .await;
    }
}
