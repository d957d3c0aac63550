//! What must be so in every state, and that every state ends well when it is left alone.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use stateright::{Model, Property};

use super::{
    bounds::Bounds,
    store::{CHILDREN, Id, Role},
    system::{Action, State},
    worker::Life,
};

/// The model, as the checker takes it.
pub(super) struct Protocol {
    pub(super) bounds: Bounds,
    drained: Mutex<HashMap<u64, Drain>>,
}

/// What is known of the way on from a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    /// It is on the way that is looked at: to come back to it is to go round in a circle.
    OnTheWay,
    EndsWell,
    Sticks,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.bounds.start()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.bounds.calm_actions(state));
        actions.extend(self.bounds.chances(state));
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.bounds.step(state, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(IN_ONE_PLACE, |_, state: &State| {
                state.each_job_is_in_one_place()
            }),
            Property::always(ONE_RUNS_IT, |_, state: &State| {
                state.who_beats_holds_what_it_runs()
            }),
            Property::always(AS_PLANNED, |_, state: &State| state.groups_are_as_planned()),
            Property::always(SHORT, Self::list_is_short),
            Property::always(DRAINS, Self::drains),
        ]
    }
}

pub(super) const IN_ONE_PLACE: &str = "each job is in exactly one place, or done once";
pub(super) const ONE_RUNS_IT: &str = "a worker that beats holds what it runs";
pub(super) const AS_PLANNED: &str =
    "a group has its children once, and what follows once, after them";
pub(super) const SHORT: &str = "no id stands in the list again and again";
pub(super) const DRAINS: &str = "left alone, it works everything off, whatever the order";

impl Protocol {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            drained: Mutex::default(),
        }
    }

    /// A lost id may be listed while its popper still lives, and be popped and listed again; but each entry
    /// has cost somebody a pop.
    fn list_is_short(&self, state: &State) -> bool {
        let mut seen = state.store.queue.clone();
        seen.sort_unstable();
        let most = 2 + self.bounds.accidents;
        seen.chunk_by(PartialEq::eq).all(|same| same.len() <= most)
    }

    /// Whether every way on from here, without another accident, ends, and ends well. This says more than
    /// that some fair schedule does: there is no circle, so no schedule can go round for ever.
    fn drains(&self, state: &State) -> bool {
        self.way_on(&calm(state)) == Drain::EndsWell
    }

    fn way_on(&self, state: &State) -> Drain {
        let mut hasher = DefaultHasher::new();
        state.hash(&mut hasher);
        let known = self.set_drain(hasher.finish(), Drain::OnTheWay);
        let drain = known.unwrap_or_else(|| {
            let mut next = self.next_calm(state).peekable();
            let good = if !self.list_is_short(state) {
                false // it would go on for ever
            } else if next.peek().is_none() {
                state.is_drained(self.bounds.jobs.len())
            } else {
                next.all(|(_, state)| self.way_on(&state) == Drain::EndsWell)
            };
            if good { Drain::EndsWell } else { Drain::Sticks }
        });
        self.set_drain(hasher.finish(), drain);
        drain
    }

    /// Notes what is known of a state; returns what was known.
    fn set_drain(&self, state: u64, drain: Drain) -> Option<Drain> {
        let mut drained = self.drained.lock().unwrap_or_else(PoisonError::into_inner);
        drained.insert(state, drain)
    }

    fn next_calm(&self, state: &State) -> impl Iterator<Item = (Action, State)> {
        let actions = self.bounds.calm_actions(state).into_iter();
        actions.filter_map(|action| Some((action, self.bounds.step(state, action)?)))
    }

    /// The way from a state to where it sticks, to be read by a person.
    pub(super) fn way_to_where_it_sticks(&self, state: &State) -> (Vec<Action>, State) {
        let (mut way, mut at) = (Vec::new(), calm(state));
        while way.len() < 100 {
            let stuck = self
                .next_calm(&at)
                .find(|(_, state)| self.way_on(state) != Drain::EndsWell);
            let Some((action, state)) = stuck else { break };
            way.push(action);
            at = state;
        }
        (way, at)
    }
}

/// The same without what may still go wrong; a late call may as well never arrive.
fn calm(state: &State) -> State {
    State {
        late: Vec::new(),
        accidents: 0,
        ..state.clone()
    }
}

impl State {
    fn each_job_is_in_one_place(&self) -> bool {
        let store = &self.store;
        let all_known = store
            .jobs
            .keys()
            .all(|id| store.ledger.made.contains_key(id));
        all_known
            && store.ledger.made.keys().all(|id| {
                let claims = store
                    .claims
                    .values()
                    .filter(|claims| claims.contains_key(id))
                    .count();
                let others = [
                    store.waits(*id),
                    store.scheduled.contains(id),
                    store.dead.contains(id),
                ];
                let places = claims + others.into_iter().filter(|is_there| *is_there).count();
                match store.ledger.completed.get(id) {
                    None => places == 1 && store.jobs.contains_key(id),
                    Some(once) => *once == 1 && places == 0 && !store.jobs.contains_key(id),
                }
            })
    }

    /// Two run one job only if the first stopped beating.
    fn who_beats_holds_what_it_runs(&self) -> bool {
        self.workers.iter().enumerate().all(|(who, worker)| {
            worker.running.is_none_or(|it| {
                let claims = self.store.claims.get(&who);
                let holds = claims.and_then(|claims| claims.get(&it.id)) == Some(&it.lease);
                holds || worker.doubtful.contains(&it.id)
            })
        })
    }

    fn made_with(&self, role: Role) -> Vec<Id> {
        let made = self.store.ledger.made.iter();
        made.filter(|(_, its)| **its == role)
            .map(|(id, _)| *id)
            .collect()
    }

    fn groups_are_as_planned(&self) -> bool {
        let store = &self.store;
        let settled =
            |id: &Id| store.ledger.completed.contains_key(id) || store.ledger.buried.contains(id);
        self.made_with(Role::Master).into_iter().all(|master| {
            let children = self.made_with(Role::Child(master));
            let all_children = children.len() == usize::from(CHILDREN);
            let followers = self.made_with(Role::Follower(master)).len();
            let sealed = store.groups.get(&master).is_some_and(|group| group.sealed);
            children.len() <= usize::from(CHILDREN)
                && (!sealed || all_children)
                && followers <= 1
                && (followers == 0 || (all_children && children.iter().all(settled)))
        })
    }

    /// Whether nothing is left to do, nothing was forgotten and nothing lies about.
    fn is_drained(&self, jobs: usize) -> bool {
        let store = &self.store;
        let ended = |id: &Id| store.ledger.completed.contains_key(id) || store.dead.contains(id);
        let nothing_lies_about = store.queue.is_empty()
            && store.loose.is_empty()
            && store.scheduled.is_empty()
            && store.claims.is_empty()
            && store.left.is_empty();
        let nothing_at_all =
            store.attempts.is_empty() && store.groups.is_empty() && store.failed.is_empty();
        let groups_fired = self.made_with(Role::Master).into_iter().all(|master| {
            let done = store.ledger.completed.contains_key(&master);
            let sealed = store.groups.get(&master).is_some_and(|group| group.sealed);
            !(done || sealed) || self.made_with(Role::Follower(master)).len() == 1
        });
        self.made == jobs
            && store.ledger.made.keys().all(ended)
            && nothing_lies_about
            && (nothing_at_all || !store.dead.is_empty())
            && groups_fired
            && self.workers.iter().any(|worker| worker.life == Life::Up)
    }
}
