//! Why a job was given to somebody again: each such case has one of these causes, or is a fault of the
//! queue.

use super::{
    event::Outcome,
    faults::Fault,
    history::{Claim, History, Run},
};

/// A cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Cause {
    /// It failed, as the plan says, and is tried again.
    Planned,
    /// It was given back in order.
    GivenBack,
    /// Its worker was killed.
    Killed,
    /// Its worker was frozen for longer than its time to live.
    Frozen,
    /// Its worker was out of reach for longer than that.
    Isolated,
    /// Its worker was stopped in order, and did not get to say so.
    Stopped,
    /// An operator has retried it.
    Revived,
}

impl Cause {
    /// In the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::GivenBack => "given back in order",
            Self::Killed => "its worker was killed",
            Self::Frozen => "its worker was frozen",
            Self::Isolated => "its worker was out of reach",
            Self::Stopped => "its worker was stopped in order",
            Self::Revived => "retried by hand",
        }
    }
}

/// A worker that is silent for less cannot be taken for dead: its last heartbeat was at most one pause of
/// 2 s old, and it has 6 s.
const SILENCE_NS: u64 = 3_000_000_000;
/// How long after its silence it may still be taken for dead, or its zombies end.
const AFTERMATH_NS: u64 = 8_000_000_000;

/// Why `after` could be made though there was `before`, whose run is `run` if it began.
pub(super) fn cause(
    history: &History,
    before: &Claim,
    after: &Claim,
    run: Option<&Run>,
) -> Option<Cause> {
    match before.settled.as_deref() {
        Some("retry") => return Some(Cause::Planned),
        Some("back") => return Some(Cause::GivenBack),
        Some("bury") => return Some(Cause::Revived),
        _ => {}
    }
    let life = history.lives.get(&before.who)?;
    if life.killed.is_some_and(|t| t < after.t) {
        return Some(Cause::Killed);
    }
    if let Some((from, fault)) = silenced(history, before)
        && from < after.t
    {
        return Some(match fault {
            Fault::FreezeWorker { .. } => Cause::Frozen,
            _ => Cause::Isolated,
        });
    }
    if life.stopped.is_some_and(|t| t < after.t) {
        return Some(Cause::Stopped);
    }
    // The answer to its settlement was lost on the way; Redis has carried it out.
    let has_failed = run
        .and_then(|run| run.end)
        .is_some_and(|(_, outcome)| outcome != Outcome::Done);
    has_failed.then_some(Cause::Planned)
}

/// When its worker fell silent for so long that it could be taken for dead, if it did.
fn silenced(history: &History, claim: &Claim) -> Option<(u64, Fault)> {
    let life = history.lives.get(&claim.who)?;
    let silence = life
        .silent
        .iter()
        .find(|(from, to, _)| to - from >= SILENCE_NS && claim.t < to + AFTERMATH_NS);
    silence.map(|(from, _, fault)| (*from, *fault))
}

/// Whether its worker was killed, or could be taken for dead, before it was settled.
pub(super) fn has_died(history: &History, claim: &Claim) -> bool {
    let life = history.lives.get(&claim.who);
    let is_killed = life.is_some_and(|life| life.killed.is_some());
    claim.settled.is_none() && (is_killed || silenced(history, claim).is_some())
}
