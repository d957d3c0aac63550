//! What can happen: what is enqueued, how jobs may end, what may go wrong, and so which actions each state
//! allows.

use super::{
    mistakes::Mistake,
    scripts::Verdict,
    store::{Heart, Policy, Role, Store},
    system::{Action, State},
    worker::{Life, Progress, Worker},
};

/// A job's attempts, unless its workers die.
const MAX_ATTEMPTS: u8 = 2;

/// What is enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Make {
    Now(Role),
    Later(Role),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Accident {
    /// `kill -9`.
    Crash,
    /// Its heartbeat ends while it lives: it was stopped, or cut off.
    MissBeats,
    /// A call gets no answer: see [`Action::Stall`].
    Stall,
    /// BRPOP popped, and its answer was lost.
    LosePop,
    /// By hand.
    DeleteList,
    /// SIGTERM.
    Stop,
    /// Between taking a worker for dead, reading what it holds and giving that back, much happens.
    SlowReap,
    /// Somebody retries a dead job by hand: see [`Action::Revive`].
    Revive,
}

impl Accident {
    pub(super) const ALL: [Self; 8] = [
        Self::Crash,
        Self::MissBeats,
        Self::Stall,
        Self::LosePop,
        Self::DeleteList,
        Self::Stop,
        Self::SlowReap,
        Self::Revive,
    ];
}

/// What is enqueued, by how many workers it is run, what may go wrong.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) jobs: Vec<Make>,
    pub(super) workers: usize,
    pub(super) policy: Policy,
    /// How jobs may fail; they may always be buried when their attempts are used up.
    pub(super) failures: Vec<Verdict>,
    /// At most so many accidents, of these kinds.
    pub(super) accidents: usize,
    pub(super) kinds: Vec<Accident>,
    pub(super) mistake: Option<Mistake>,
}

impl Bounds {
    /// Two workers, and no accidents.
    pub(super) fn of(jobs: &[Make]) -> Self {
        Self {
            jobs: jobs.to_vec(),
            workers: 2,
            policy: Policy::Continue,
            failures: Vec::new(),
            accidents: 0,
            kinds: Vec::new(),
            mistake: None,
        }
    }

    pub(super) fn failing(mut self, failures: &[Verdict]) -> Self {
        self.failures = failures.to_vec();
        self
    }

    pub(super) fn with_accidents(mut self, most: usize, kinds: &[Accident]) -> Self {
        (self.accidents, self.kinds) = (most, kinds.to_vec());
        self
    }

    pub(super) fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    pub(super) fn with_mistake(mut self, mistake: Mistake) -> Self {
        self.mistake = Some(mistake);
        self
    }

    /// Where all begins.
    pub(super) fn start(&self) -> State {
        let mut store = Store {
            mistake: self.mistake,
            ..Store::default()
        };
        for worker in 0..self.workers {
            store.beat(worker);
        }
        State {
            store,
            workers: vec![Worker::FRESH; self.workers],
            late: Vec::new(),
            made: 0,
            accidents: self.accidents,
        }
    }

    /// How the job that a worker runs may end.
    fn verdicts(&self, worker: &Worker) -> Vec<Verdict> {
        let Some(running) = worker.running else {
            return Vec::new();
        };
        let attempt = running.lease.attempt;
        let is_split = running.role != Role::Master || running.progress == Progress::Sealed;
        let may_end = |verdict: &Verdict| match verdict {
            Verdict::Done => attempt <= MAX_ATTEMPTS && is_split,
            Verdict::Retry | Verdict::RetryLater => {
                attempt < MAX_ATTEMPTS && self.failures.contains(verdict)
            }
            Verdict::Bury => attempt >= MAX_ATTEMPTS || self.failures.contains(verdict),
            Verdict::Back => false,
        };
        let all = [
            Verdict::Done,
            Verdict::Retry,
            Verdict::RetryLater,
            Verdict::Bury,
        ];
        all.into_iter().filter(may_end).collect()
    }

    /// What goes on by itself, without accidents.
    pub(super) fn calm_actions(&self, state: &State) -> Vec<Action> {
        let State { store, workers, .. } = state;
        let mut actions = Vec::new();
        if state.made < self.jobs.len() {
            actions.push(Action::Enqueue);
        }
        for (who, worker) in workers.iter().enumerate() {
            if worker.life == Life::Down {
                if store.workers.get(&who) == Some(&Heart::Beats) {
                    actions.push(Action::Expire(who));
                }
                continue;
            }
            let has_slot = worker.running.is_none() && worker.life == Life::Up;
            if has_slot && worker.popped.is_none() && !store.queue.is_empty() {
                actions.push(Action::Pop(who));
            }
            if has_slot || worker.popped.is_some() || !worker.finished.is_empty() {
                actions.push(Action::Turn(who));
            }
            if worker.next_split(self.policy).is_some() {
                actions.push(Action::Split(who));
            }
            let verdicts = self.verdicts(worker).into_iter();
            actions.extend(verdicts.map(|verdict| Action::Finish(who, verdict)));
            if store.workers.get(&who) != Some(&Heart::Beats) {
                actions.push(Action::Beat(who));
            }
            if worker.life == Life::Up {
                if worker.holds_more_than_it_knows(store, who)
                    && !store.errs(Mistake::NobodyReconciles)
                {
                    actions.push(Action::Reconcile(who));
                }
            } else if worker.running.is_some() {
                actions.push(Action::Abort(who));
            } else if worker.finished.is_empty() && worker.popped.is_none() {
                actions.push(Action::Retire(who));
            }
        }
        if !workers.iter().any(|worker| worker.life == Life::Up) {
            actions.push(Action::Boot);
            return actions; // nobody is there to care
        }
        let dead = store
            .workers
            .iter()
            .filter(|(_, heart)| **heart == Heart::Ended);
        actions.extend(dead.map(|(who, _)| Action::Reap(*who)));
        actions.extend(store.scheduled.iter().map(|id| Action::Promote(*id)));
        if !store.errs(Mistake::NobodySweeps) {
            actions.push(Action::Sweep(None));
            actions.extend(store.ledger.made.keys().map(|id| Action::Sweep(Some(*id))));
        }
        actions
    }

    /// What may happen and need not: late calls, a worker that compares its claims for another reason than
    /// their number, and what goes wrong.
    pub(super) fn chances(&self, state: &State) -> Vec<Action> {
        let mut actions: Vec<_> = (0..state.late.len()).map(Action::Arrive).collect();
        if !state.store.errs(Mistake::NobodyReconciles) {
            let workers = state.workers.iter().enumerate();
            let up = workers.filter(|(_, worker)| worker.life == Life::Up);
            let untold = up.filter(|(who, it)| !it.holds_more_than_it_knows(&state.store, *who));
            actions.extend(untold.map(|(who, _)| Action::Reconcile(who)));
        }
        if state.accidents == 0 {
            return actions;
        }
        for kind in &self.kinds {
            match kind {
                Accident::LosePop | Accident::DeleteList => {
                    if !state.store.queue.is_empty() {
                        actions.push(Action::Accident(*kind, 0));
                    }
                }
                Accident::Stall => actions.extend(self.stalls(state)),
                Accident::Revive => {
                    actions.extend(state.store.dead.iter().map(|id| Action::Revive(*id)));
                }
                Accident::SlowReap => {
                    let ended = |heart| heart == Heart::Ended;
                    let dead = state
                        .store
                        .workers
                        .iter()
                        .filter(|(_, heart)| ended(**heart));
                    actions.extend(dead.map(|(who, _)| Action::Accident(*kind, *who)));
                }
                _ => {
                    let workers = state.workers.iter().enumerate();
                    let up = workers.filter(|(_, worker)| worker.life != Life::Down);
                    actions.extend(up.map(|(who, _)| Action::Accident(*kind, who)));
                }
            }
        }
        actions
    }

    fn stalls(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for (who, worker) in state.workers.iter().enumerate() {
            let turn = worker.turn();
            if turn.wanted > 0 || turn.popped.is_some() || worker.next_split(self.policy).is_some()
            {
                actions.push(Action::Stall(who, None));
            }
            let verdicts = self.verdicts(worker).into_iter();
            actions.extend(verdicts.map(|verdict| Action::Stall(who, Some(verdict))));
        }
        actions
    }
}
