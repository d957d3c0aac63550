//! The model against the real scripts: every step of the model, from every state within some bounds, is
//! done to the real Redis, and what lies there afterwards is read back and must be the model's next state,
//! key by key and score by score. What changes nothing in the model must change nothing there.
//!
//! [`real`]: doing it. [`read`]: reading it back. Each state is one that the real scripts have led to: the
//! search goes deep, and copies the namespace before each step.

mod read;
mod real;

use std::collections::{BTreeMap, HashSet};

use self::real::Real;
use super::{
    bounds::{Accident, Bounds, Make},
    store::{Id, Lease},
    system::{Action, Late, State},
};
use crate::{id::BootId, queue::When};

/// A state, and the leases that the real scripts gave out on the way to it.
#[derive(Clone)]
pub(super) struct Node {
    state: State,
    leases: BTreeMap<(Id, u8), String>,
}

impl Node {
    fn lease(&self, id: Id, lease: Lease) -> &str {
        &self.leases[&(id, lease.nth)]
    }
}

/// What a replay did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replayed {
    pub(super) states: usize,
    pub(super) steps: usize,
}

/// Namespaces, one per step of the way that is being looked at.
struct Replay<'a> {
    bounds: &'a Bounds,
    workers: Vec<BootId>,
    reals: Vec<Real>,
    /// Whether a namespace is still what it was when it was copied.
    is_copy: Vec<bool>,
}

impl<'a> Replay<'a> {
    async fn begin(bounds: &'a Bounds) -> (Self, Node) {
        let workers = Real::fresh_workers();
        let first = Real::start(&workers);
        first.begin(bounds.workers).await;
        let replay = Self {
            bounds,
            workers,
            reals: vec![first],
            is_copy: vec![false],
        };
        let node = Node {
            state: bounds.start(),
            leases: BTreeMap::new(),
        };
        (replay, node)
    }

    /// Does one action in a copy of the namespace at `depth`; returns where it leads to.
    async fn step(&mut self, depth: usize, before: &Node, action: Action) -> Result<Node, String> {
        if self.reals.len() == depth + 1 {
            self.reals.push(Real::start(&self.workers));
            self.is_copy.push(false);
        }
        let [from, real] = &mut self.reals[depth..=depth + 1] else {
            unreachable!("two neighbours")
        };
        let is_copy = &mut self.is_copy[depth + 1];
        if !std::mem::replace(is_copy, false) {
            real.copy(from).await;
        }
        let state = &before.state;
        let next = self.bounds.step(state, action);
        let next = next.unwrap_or_else(|| state.clone());
        act(real, self.bounds, before, action, &next).await?;
        let mut node = before.clone();
        let found = read::read(real, &next.store, &mut node).await?;
        if found != next.store {
            let (was, wanted) = (&state.store, &next.store);
            return Err(format!(
                "{action:?} on {was:#?}\nshould lead to {wanted:#?}\nand leads to {found:#?}"
            ));
        }
        *is_copy = found == state.store;
        node.state = next;
        Ok(node)
    }

    /// What is below `depth` is no copy of what is there from now on.
    fn goes_deeper(&mut self, depth: usize) {
        if let Some(is_copy) = self.is_copy.get_mut(depth + 1) {
            *is_copy = false;
        }
    }
}

/// Replays every step from every state.
///
/// # Errors
/// With the first step after which Redis and the model differ.
pub(super) async fn replay(bounds: &Bounds) -> Result<Replayed, String> {
    let (mut replay, start) = Replay::begin(bounds).await;
    let mut seen = HashSet::from([start.state.clone()]);
    let to_do = actions(bounds, &start.state);
    let mut way = vec![(start, to_do)];
    let mut steps = 0;
    while let Some((node, to_do)) = way.last_mut() {
        let (node, action) = (node.clone(), to_do.pop());
        let Some(action) = action else {
            way.pop();
            continue;
        };
        let next = replay.step(way.len() - 1, &node, action).await?;
        steps += 1;
        if seen.insert(next.state.clone()) {
            let to_do = actions(bounds, &next.state);
            replay.goes_deeper(way.len());
            way.push((next, to_do));
        }
    }
    Ok(Replayed {
        states: seen.len(),
        steps,
    })
}

/// Replays one way, and every step from its end.
///
/// # Errors
/// With the first step after which Redis and the model differ.
pub(super) async fn replay_way(bounds: &Bounds, way: &[Action]) -> Result<(), String> {
    let (mut replay, mut node) = Replay::begin(bounds).await;
    for (depth, action) in way.iter().enumerate() {
        node = replay.step(depth, &node, *action).await?;
    }
    for action in actions(bounds, &node.state) {
        replay.step(way.len(), &node, action).await?;
    }
    Ok(())
}

fn actions(bounds: &Bounds, state: &State) -> Vec<Action> {
    let mut actions = bounds.calm_actions(state);
    actions.extend(bounds.chances(state));
    actions
}

/// Does to Redis what an action does, and compares the answer.
async fn act(
    real: &mut Real,
    bounds: &Bounds,
    node: &Node,
    action: Action,
    next: &State,
) -> Result<(), String> {
    let State { workers, late, .. } = &node.state;
    let same = |same: bool| {
        if same {
            Ok(())
        } else {
            Err(format!("{action:?}: another answer"))
        }
    };
    match action {
        Action::Enqueue => match bounds.jobs[node.state.made] {
            Make::Now(_) => real.enqueue(When::Now).await,
            Make::Later(_) => real.enqueue_later().await,
        },
        Action::Pop(who) => {
            let popped = real.pop().await;
            return same(popped == next.workers[who].popped);
        }
        Action::Turn(_) | Action::Finish(..) | Action::Abort(_) => {
            let Some((who, turn)) = Bounds::turn_of(&node.state, action) else {
                return same(false);
            };
            let claimed = real.turn(who, &turn, node).await;
            let running = next.workers[who].running;
            let new = running.filter(|_| turn.wanted > 0);
            let expected = new.map(|it| (it.id, u32::from(it.lease.attempt)));
            return same(claimed == expected.into_iter().collect());
        }
        Action::Split(who) => {
            let (Some(step), Some(it)) =
                (workers[who].next_split(bounds.policy), workers[who].running)
            else {
                return same(false);
            };
            let reply = real.split(who, it.id, it.lease, step, node).await;
            let mut store = node.state.store.clone();
            return same(reply == store.split(who, it.id, it.lease, step));
        }
        Action::Reconcile(who) => {
            let held = node.state.store.held(who).into_iter();
            let held = held
                .map(|(id, held)| (id, (u32::from(held.lease.attempt), u32::from(held.deaths))));
            return same(real.held(who).await == held.collect());
        }
        Action::Beat(who) => real.beat(who).await,
        Action::Retire(who) => real.retire(who).await,
        Action::Boot => real.beat(workers.len()).await,
        Action::Expire(who) | Action::Accident(Accident::MissBeats, who) => real.expire(who).await,
        Action::Reap(who) => real.reap(who).await,
        Action::Promote(id) => real.promote(id).await,
        Action::Sweep(asked) => real.sweep(asked).await,
        Action::Arrive(at) => match &late[at] {
            Late::Turn(who, turn) => {
                real.turn(*who, turn, node).await;
            }
            Late::Split(who, master, lease, step) => {
                real.split(*who, *master, *lease, *step, node).await;
            }
            Late::Reap(_, None) => {}
            Late::Reap(who, Some(held)) => real.give_back(*who, held, node).await,
        },
        Action::Revive(id) => real.revive(id).await,
        Action::Accident(Accident::LosePop, _) => {
            real.pop().await;
        }
        Action::Accident(Accident::DeleteList, _) => real.delete_list().await,
        // In a worker's memory alone.
        Action::Accident(..) | Action::Stall(..) => {}
    }
    Ok(())
}
