//! Known mistakes, one line of a script each. A model that makes one must be refuted, or the check is
//! worth nothing.

use super::{
    bounds::{Accident, Bounds, Make},
    properties::{AS_PLANNED, DRAINS, IN_ONE_PLACE, ONE_RUNS_IT, SHORT},
    store::Role,
};

/// What the scripts, or those who call them, may do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Mistake {
    /// Whoever has an id claims it, whether it waits or not.
    NoGate,
    /// A claim moves the cursor over ids that somebody has popped, and does not list them as loose.
    ClaimLeavesGap,
    /// A claim does not put its worker on the list of workers.
    ClaimUnlisted,
    /// Whoever settles is believed.
    SettleUnfenced,
    /// The fence is the number of the attempt, without the time of the claim.
    FenceByAttempt,
    /// Who was dead when somebody looked is taken for dead later.
    ReapTheLiving,
    /// What a dead worker held when somebody looked is taken for what it holds.
    ReapUnfenced,
    /// A dead worker is struck off the list though it still holds something.
    ReapStrikesOff,
    /// A worker that stops is struck off the list though it still holds something.
    RetireHolding,
    /// The sweep does not move the cursor to where the list begins.
    SweepKeepsCursor,
    /// The sweep lists what it has been told is missing, though it is listed.
    SweepPassesPlace,
    /// A popped id counts as safe: nobody looks for lost ones. So do most queues that use BRPOP.
    NobodySweeps,
    /// Nobody looks for claims whose answer was lost.
    NobodyReconciles,
    /// What follows is enqueued when no child is left, though more may come.
    FireUnsealed,
    /// It is not noted that what follows was enqueued.
    FireForgets,
    /// Whoever splits is believed.
    FanOutUnfenced,
    /// A chunk of children is added as often as it is sent.
    FanOutForgetsIndex,
    /// Whoever seals is believed.
    SealUnfenced,
}

/// Where each mistake shows, and how.
impl Mistake {
    pub(super) const ALL: [Self; 18] = [
        Self::NoGate,
        Self::ClaimLeavesGap,
        Self::ClaimUnlisted,
        Self::SettleUnfenced,
        Self::FenceByAttempt,
        Self::ReapTheLiving,
        Self::ReapUnfenced,
        Self::ReapStrikesOff,
        Self::RetireHolding,
        Self::SweepKeepsCursor,
        Self::SweepPassesPlace,
        Self::NobodySweeps,
        Self::NobodyReconciles,
        Self::FireUnsealed,
        Self::FireForgets,
        Self::FanOutUnfenced,
        Self::FanOutForgetsIndex,
        Self::SealUnfenced,
    ];

    /// The bounds within which it shows, and the property that it breaks.
    pub(super) fn shows(self) -> (Bounds, &'static str) {
        use Accident::{Crash, MissBeats, SlowReap, Stall, Stop};
        let one = Bounds::of(&[Make::Now(Role::Plain)]);
        let two = Bounds::of(&[Make::Now(Role::Plain); 2]);
        let group = Bounds::of(&[Make::Now(Role::Master)]);
        let (bounds, property) = match self {
            Self::NoGate => (one, IN_ONE_PLACE),
            Self::ClaimLeavesGap => (two, IN_ONE_PLACE),
            Self::ClaimUnlisted => (one.with_accidents(2, &[MissBeats, Crash]), DRAINS),
            Self::SettleUnfenced => (one.with_accidents(1, &[MissBeats]), IN_ONE_PLACE),
            Self::FenceByAttempt => (one.with_accidents(3, &[MissBeats, Stall]), IN_ONE_PLACE),
            Self::ReapTheLiving => (one.with_accidents(2, &[MissBeats, SlowReap]), ONE_RUNS_IT),
            Self::ReapUnfenced => (one.with_accidents(2, &[MissBeats, SlowReap]), IN_ONE_PLACE),
            Self::ReapStrikesOff => (one.with_accidents(3, &[MissBeats, SlowReap, Crash]), DRAINS),
            Self::RetireHolding => (one.with_accidents(2, &[Stall, Stop]), DRAINS),
            Self::SweepKeepsCursor | Self::NobodySweeps => {
                (one.with_accidents(1, &[Crash]), DRAINS)
            }
            Self::SweepPassesPlace => (one, SHORT),
            Self::NobodyReconciles => (one.with_accidents(1, &[Stall]), DRAINS),
            Self::FireUnsealed => (group, AS_PLANNED),
            Self::FireForgets => (group, DRAINS),
            Self::FanOutUnfenced | Self::SealUnfenced => {
                (group.with_accidents(1, &[MissBeats]), DRAINS)
            }
            Self::FanOutForgetsIndex => (group.with_accidents(1, &[Stall]), AS_PLANNED),
        };
        (bounds.with_mistake(self), property)
    }

    /// Whether a script makes it, and not those who call them.
    pub(super) fn is_a_scripts(self) -> bool {
        !matches!(self, Self::NobodySweeps | Self::NobodyReconciles)
    }
}
