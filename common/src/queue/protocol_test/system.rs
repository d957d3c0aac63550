//! What comes of it: the whole as one state, and the actions that lead from one to the next.

use std::collections::BTreeMap;

use super::{
    bounds::{Accident, Bounds, Make},
    scripts::{Held, Split, SplitReply, Turn, Verdict},
    store::{CHILDREN, Heart, Id, Lease, Store, Who},
    worker::{Life, Progress, Worker},
};

/// A call that its worker has given up, and that Redis carries out some time, or never.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Late {
    Turn(Who, Turn),
    Split(Who, Id, Lease, Split),
    /// Somebody took a worker for dead, then read what it holds, and is slow at each step.
    Reap(Who, Option<BTreeMap<Id, Held>>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) workers: Vec<Worker>,
    pub(super) late: Vec<Late>,
    /// How many jobs have been enqueued.
    pub(super) made: usize,
    /// How many accidents may still happen.
    pub(super) accidents: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Enqueue,
    Pop(Who),
    Turn(Who),
    Split(Who),
    /// Its job ends like this, and it takes a turn. Nothing that others do lies between for Redis to see.
    Finish(Who, Verdict),
    Reconcile(Who),
    Beat(Who),
    /// A stopping worker has lost its patience.
    Abort(Who),
    Retire(Who),
    /// Another worker is started, when none is left.
    Boot,
    /// A dead worker's heartbeat ends.
    Expire(Who),
    Reap(Who),
    Promote(Id),
    Sweep(Option<Id>),
    /// A late call reaches Redis.
    Arrive(usize),
    Accident(Accident, Who),
    /// A call gets no answer; it was carried out, or will be at any time. It tells how the job ended, if
    /// one ran.
    Stall(Who, Option<Verdict>),
    /// Somebody retries a dead job by hand.
    Revive(Id),
}

impl State {
    /// A lease needs to differ only from those that somebody still remembers; there is doubt only about
    /// what is held.
    fn forget_what_is_over(&mut self) {
        let State {
            store,
            workers,
            late,
            ..
        } = self;
        let claimed = store.claims.values().flat_map(BTreeMap::keys);
        let running = workers
            .iter()
            .flat_map(|worker| worker.running.iter().map(|it| &it.id));
        let finished = workers
            .iter()
            .flat_map(|worker| worker.finished.iter().map(|it| &it.id));
        let late = late.iter().flat_map(|late| match late {
            Late::Turn(_, turn) => turn.settle.iter().map(|it| it.id).collect(),
            Late::Split(_, id, ..) => vec![*id],
            Late::Reap(_, held) => held.iter().flatten().map(|(id, _)| *id).collect(),
        });
        let known: Vec<Id> = claimed
            .chain(running)
            .chain(finished)
            .copied()
            .chain(late)
            .collect();
        store.ledger.claims.retain(|id, _| known.contains(id));
        for (who, worker) in workers.iter_mut().enumerate() {
            let running = worker.running.map(|it| it.id);
            let claims = store.claims.get(&who);
            let holds = |id: &Id| claims.is_some_and(|claims| claims.contains_key(id));
            worker
                .doubtful
                .retain(|id| running == Some(*id) || holds(id));
        }
    }
}

impl Bounds {
    /// What a worker asks for by an action that is a turn.
    pub(super) fn turn_of(state: &State, action: Action) -> Option<(Who, Turn)> {
        let (who, verdict) = match action {
            Action::Turn(who) => (who, None),
            Action::Finish(who, verdict) => (who, Some(verdict)),
            Action::Abort(who) => (who, Some(Verdict::Back)),
            _ => return None,
        };
        let mut worker = state.workers[who].clone();
        if let Some(verdict) = verdict {
            worker.finish(verdict);
        }
        Some((who, worker.turn()))
    }

    /// What comes of an action; nothing if it changes nothing.
    pub(super) fn step(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let State {
            store,
            workers,
            late,
            made,
            accidents,
        } = &mut state;
        match action {
            Action::Enqueue => {
                match self.jobs[*made] {
                    Make::Now(role) => {
                        store.push_new(&[role]);
                    }
                    Make::Later(role) => {
                        let id = store.make_unlisted(role);
                        store.scheduled.insert(id);
                    }
                }
                *made += 1;
            }
            Action::Pop(who) => workers[who].popped = store.queue.pop(),
            Action::Turn(who) => workers[who].take_turn(store, who),
            Action::Split(who) => self.split(store, &mut workers[who], who),
            Action::Finish(who, verdict) => {
                workers[who].finish(verdict);
                workers[who].take_turn(store, who);
            }
            Action::Reconcile(who) => {
                for (id, held) in workers[who].unknown_claims(store, who) {
                    let worker = &mut workers[who];
                    let running = worker.running;
                    worker.start(&vec![(id, held.lease, held.role)]);
                    if running.is_some() {
                        worker.finish(Verdict::Back);
                        worker.running = running;
                    }
                }
            }
            Action::Beat(who) => store.beat(who),
            Action::Abort(who) => {
                workers[who].finish(Verdict::Back);
                workers[who].take_turn(store, who);
            }
            Action::Retire(who) => {
                store.retire(who);
                workers[who].life = Life::Down;
            }
            Action::Boot => {
                store.beat(workers.len());
                workers.push(Worker::FRESH);
            }
            Action::Expire(who) => {
                store.workers.insert(who, Heart::Ended);
            }
            Action::Reap(who) => {
                let held = store.held(who);
                store.reap(who, &held);
            }
            Action::Promote(id) => store.promote(id),
            Action::Sweep(asked) => store.sweep(asked),
            Action::Arrive(at) => match late.remove(at) {
                Late::Turn(who, turn) => {
                    store.turn(who, &turn);
                }
                Late::Split(who, master, lease, split) => {
                    store.split(who, master, lease, split);
                }
                Late::Reap(who, None) => late.push(Late::Reap(who, Some(store.held(who)))),
                Late::Reap(who, Some(read)) => store.reap(who, &read),
            },
            Action::Accident(accident, who) => {
                *accidents -= 1;
                Self::accident(&mut state, accident, who)?;
            }
            Action::Stall(who, verdict) => {
                *accidents -= 1;
                late.push(self.stall(&mut workers[who], who, verdict));
            }
            Action::Revive(id) => {
                *accidents -= 1;
                store.revive(id);
            }
        }
        state.forget_what_is_over();
        (state != *before).then_some(state)
    }

    fn split(&self, store: &mut Store, worker: &mut Worker, who: Who) {
        let (Some(split), Some(running)) = (worker.next_split(self.policy), &mut worker.running)
        else {
            return;
        };
        running.had_group = true;
        running.progress = match store.split(who, running.id, running.lease, split) {
            SplitReply::Next(total) => Progress::Has(total),
            SplitReply::Sealed if split == Split::Seal => Progress::Sealed,
            SplitReply::Sealed => Progress::Has(CHILDREN),
            SplitReply::ClaimLost => return worker.finish(Verdict::Bury),
        };
    }

    fn stall(&self, worker: &mut Worker, who: Who, verdict: Option<Verdict>) -> Late {
        if verdict.is_none()
            && let Some(split) = worker.next_split(self.policy)
            && let Some(running) = &mut worker.running
        {
            // The task begins its split again, or fails.
            running.had_group = true;
            running.progress = Progress::Nothing;
            return Late::Split(who, running.id, running.lease, split);
        }
        if let Some(verdict) = verdict {
            worker.finish(verdict);
        }
        Late::Turn(who, worker.turn())
    }

    fn accident(state: &mut State, accident: Accident, who: Who) -> Option<()> {
        let State {
            store,
            workers,
            late,
            ..
        } = state;
        match accident {
            Accident::Crash => {
                workers[who] = Worker {
                    life: Life::Down,
                    ..Worker::FRESH
                }
            }
            Accident::MissBeats => {
                let running = workers[who].running.map(|it| it.id);
                let held = store.held(who).into_keys();
                workers[who].doubtful.extend(held.chain(running));
                store.workers.insert(who, Heart::Ended);
            }
            Accident::Stall | Accident::Revive => return None, // these are actions of their own
            Accident::LosePop => {
                store.queue.pop();
            }
            Accident::DeleteList => store.queue.clear(),
            Accident::Stop => {
                if workers[who].life != Life::Up {
                    return None;
                }
                workers[who].life = Life::Stopping;
            }
            Accident::SlowReap => late.push(Late::Reap(who, None)),
        }
        Some(())
    }
}
