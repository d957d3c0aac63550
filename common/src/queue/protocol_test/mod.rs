//! The protocol of the queue as a small model, every state of which is looked at; and the real scripts
//! held against it, step by step. The random tests of `model_test` go further, and miss what is rare.
//!
//! In the order of reading: [`store`] (what lies in Redis, and what the scripts share), [`scripts`] (one
//! function each), [`worker`] (a process's memory), [`bounds`] (what can happen), [`system`] (what comes of
//! it), [`properties`] (what must be so), [`mistakes`] (what must not pass), [`replay`] (the real scripts).
//!
//! | Action | Stands for |
//! |---|---|
//! | `Enqueue` | `enqueue_one.lua`, `schedule.lua` |
//! | `Pop` | BRPOP, answered; the id is in the worker's memory alone |
//! | `Turn`, `Finish`, `Abort` | `turn.lua`: done; with `turn_seldom.lua`: retry, retry later, bury, back; then the claim, of a job that was popped alone by `turn_alone.lua` |
//! | `Split` | `fan_out.lua` (the plan, then a chunk of one child), `seal.lua` |
//! | `Reconcile` | `held.lua`: the worker finds claims whose answer was lost |
//! | `Beat`, `Retire`, `Boot` | `beat.lua`, `retire.lua`, a process that starts |
//! | `Promote`, `Reap`, `Sweep` | care: `overdue.lua`, `held.lua` with `reap.lua`, `sweep.lua` |
//! | `Expire` | a heartbeat that ends with its process |
//! | `Stall`, then `Arrive` | a call whose answer is lost; it is carried out at any later time, or never |
//! | `Accident`, `Revive` | crash, missed beats, lost pop, deleted list, stop, slow reaper; a retry by hand |
//!
//! Each script is one step, as in Redis; a worker may die between any two. Times are left open: a
//! heartbeat, a delay and the sweep's grace may end at any moment, so a worker's clock cannot matter.
//! A turn follows the end of a job at once, since nothing that Redis sees lies between.
//!
//! Left out: several queues and their priorities, several slots of a worker (so turns that overlap with
//! running jobs), chunks and other limits on
//! how much a call does, `discard.lua` and what else people do by hand, bodies that cannot be read, a full
//! or restarted Redis. The names of the properties and the figures are in `docs/model.md`.

mod bounds;
mod mistakes;
mod properties;
mod replay;
mod scripts;
mod store;
mod system;
mod worker;

use stateright::{Checker, HasDiscoveries, Model};

use self::{
    bounds::{Accident, Bounds, Make},
    mistakes::Mistake,
    properties::{DRAINS, Protocol},
    replay::{Replayed, replay, replay_way},
    scripts::Verdict,
    store::{Policy, Role},
    system::Action,
};

const NOW: Make = Make::Now(Role::Plain);
const LATER: Make = Make::Later(Role::Plain);
const GROUP: Make = Make::Now(Role::Master);
/// Every way to fail.
const ALL_FAILURES: [Verdict; 3] = [Verdict::Retry, Verdict::RetryLater, Verdict::Bury];

/// What is told of each test's figures; it must be so.
const TOLD: &str = include_str!("../../../../docs/model.md");

/// Accidents beside those of each test: `MODEL_ACCIDENTS=1` takes minutes, and more memory.
fn more_accidents() -> usize {
    std::env::var("MODEL_ACCIDENTS").map_or(0, |more| more.parse().unwrap())
}

fn with_more_accidents(mut bounds: Bounds) -> Bounds {
    if bounds.accidents > 0 {
        bounds.accidents += more_accidents();
    }
    bounds
}

fn is_told(test: &str, figures: &str) {
    println!("{test}: {figures}");
    let row = TOLD
        .lines()
        .find(|line| line.contains(&format!("`{test}`")));
    let is_told = row.is_some_and(|row| row.ends_with(&format!("| {figures} |")));
    assert!(
        is_told || more_accidents() > 0,
        "docs/model.md should tell of {test}: {figures}"
    );
}

/// Explores all states within the bounds.
fn explore(test: &str, bounds: Bounds) {
    let model = Protocol::new(with_more_accidents(bounds));
    let checker = model.checker().spawn_bfs().join();
    if let Some((name, path)) = checker.discoveries().into_iter().next() {
        let state = path.last_state().clone();
        let actions = path.into_actions();
        let then = (name == DRAINS).then(|| checker.model().way_to_where_it_sticks(&state));
        panic!("not so: {name}\nafter {actions:#?}\nin {state:#?}\nand then {then:#?}");
    }
    let states = checker.unique_state_count();
    is_told(test, &format!("{states} states"));
}

/// Replays all steps within the bounds on the real scripts.
async fn replay_all(test: &str, bounds: Bounds) {
    let replayed = replay(&with_more_accidents(bounds)).await;
    let Replayed { states, steps } = replayed.unwrap_or_else(|difference| panic!("{difference}"));
    is_told(test, &format!("{steps} steps from {states} states"));
}

#[test]
fn two_jobs_whatever_fails_and_one_accident() {
    let bounds = Bounds::of(&[NOW, LATER]).failing(&ALL_FAILURES);
    let bounds = bounds.with_accidents(1, &Accident::ALL);
    explore("two_jobs_whatever_fails_and_one_accident", bounds);
}

#[test]
fn two_jobs_and_two_accidents() {
    let bounds = Bounds::of(&[NOW, LATER]);
    let bounds = bounds.with_accidents(2, &Accident::ALL);
    explore("two_jobs_and_two_accidents", bounds);
}

#[test]
fn one_job_and_three_accidents() {
    let bounds = Bounds::of(&[NOW]);
    let bounds = bounds.with_accidents(3, &Accident::ALL);
    explore("one_job_and_three_accidents", bounds);
}

#[test]
fn a_group_whatever_fails() {
    let bounds = Bounds::of(&[GROUP]).failing(&[Verdict::Retry, Verdict::Bury]);
    let bounds = bounds.with_policy(Policy::Fail);
    explore("a_group_whatever_fails", bounds);
}

#[test]
fn a_group_and_one_accident() {
    let bounds = Bounds::of(&[GROUP]);
    let bounds = bounds.with_accidents(1, &Accident::ALL);
    explore("a_group_and_one_accident", bounds);
}

#[test]
fn a_group_whose_jobs_may_die_and_one_accident() {
    let bounds = Bounds::of(&[GROUP]).failing(&[Verdict::Bury]);
    let bounds = bounds
        .with_policy(Policy::Fail)
        .with_accidents(1, &Accident::ALL);
    explore("a_group_whose_jobs_may_die_and_one_accident", bounds);
}

/// The way to where a mistake shows, if the property that it breaks is found broken.
fn way_to(mistake: Mistake) -> Option<Vec<Action>> {
    let (bounds, property) = mistake.shows();
    let checker = Protocol::new(bounds).checker();
    let checker = checker.finish_when(HasDiscoveries::Any).spawn_bfs().join();
    let path = checker.discovery(property)?;
    let state = path.last_state().clone();
    let mut way = path.into_actions();
    if property == DRAINS {
        way.extend(checker.model().way_to_where_it_sticks(&state).0);
    }
    Some(way)
}

#[tokio::test]
async fn every_known_mistake_is_found_and_the_scripts_make_none() {
    for mistake in Mistake::ALL {
        let way = way_to(mistake);
        let way = way.unwrap_or_else(|| panic!("{mistake:?} passes"));
        if mistake.is_a_scripts() {
            let replayed = replay_way(&mistake.shows().0, &way).await;
            assert!(
                replayed.is_err(),
                "the scripts do as in {mistake:?}: {way:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_steps_of_one_job_are_those_of_the_scripts() {
    let bounds = Bounds::of(&[NOW]).failing(&ALL_FAILURES);
    let bounds = bounds.with_accidents(1, &Accident::ALL);
    replay_all("the_steps_of_one_job_are_those_of_the_scripts", bounds).await;
}

#[tokio::test]
async fn the_steps_of_two_jobs_are_those_of_the_scripts() {
    let bounds = Bounds::of(&[NOW, LATER]);
    let kinds = [Accident::Crash, Accident::LosePop, Accident::DeleteList];
    let bounds = bounds.with_accidents(1, &kinds);
    replay_all("the_steps_of_two_jobs_are_those_of_the_scripts", bounds).await;
}

#[tokio::test]
async fn the_steps_of_a_group_are_those_of_the_scripts() {
    let bounds = Bounds::of(&[GROUP]).failing(&[Verdict::Bury]);
    let bounds = bounds.with_policy(Policy::Fail);
    replay_all("the_steps_of_a_group_are_those_of_the_scripts", bounds).await;
}
