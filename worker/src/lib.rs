//! What the worker's binaries share: the list of tasks.
#![deny(missing_docs)]

pub mod tasks;

/// The examples of `docs/tasks.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/tasks.md")]
struct TasksPage;

/// The examples of `docs/results.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/results.md")]
struct ResultsPage;
/// The examples of `docs/limits.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/limits.md")]
struct LimitsPage;
/// The examples of `docs/flows.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/flows.md")]
struct FlowsPage;
/// The examples of `docs/middleware.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/middleware.md")]
struct MiddlewarePage;
/// The examples of `docs/testing.md`, run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct TestingPage;
