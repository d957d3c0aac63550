//! What the worker's binaries share: the list of tasks; and what a worker answers over HTTP.
#![deny(missing_docs)]

pub mod listen;
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
/// The examples of `docs/outbox.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/outbox.md")]
struct OutboxPage;
/// The examples of `docs/flows.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/flows.md")]
struct FlowsPage;
/// The examples of `docs/control.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/control.md")]
struct ControlPage;

/// The examples of `docs/periodic.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/periodic.md")]
struct PeriodicPage;

/// The examples of `docs/deploy.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/deploy.md")]
struct DeployPage;
/// The examples of `docs/middleware.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/middleware.md")]
struct MiddlewarePage;
/// The examples of `docs/testing.md`, run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct TestingPage;
