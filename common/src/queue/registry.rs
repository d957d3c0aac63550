//! The registry: which tasks a worker knows, by their names on the wire.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::value::RawValue;

use super::{
    BlockingTask, Middleware, Periodic, Task, TaskError, context::JobContext, middleware::Layer,
    report::Tally,
};

/// What a task gives back is kept if it has no more bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// What a task gave back, as JSON, if anybody wants it.
pub(super) type Output = Option<Box<RawValue>>;
/// A run of a task.
pub(super) type Outcome<'a> = Pin<Box<dyn Future<Output = Result<Output, TaskError>> + Send + 'a>>;
type Run = Box<dyn for<'a> Fn(Args<'a>, &'a JobContext) -> Outcome<'a> + Send + Sync>;

/// Arguments as they lie in a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Args<'a> {
    pub(super) version: u32,
    pub(super) text: &'a str,
}

/// A task with its types erased.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) version: u32,
    pub(super) max_attempts: u32,
    pub(super) timeout: Option<Duration>,
    pub(super) soft_timeout: Option<Duration>,
    pub(super) cancel_grace: Duration,
    pub(super) backoff: fn(u32) -> Duration,
    pub(super) run: Run,
    /// What is counted of it.
    pub(super) tally: Tally,
    /// Whether its last run was over at once.
    quick: AtomicBool,
}

/// A run that takes less is over at once.
const AT_ONCE: Duration = Duration::from_micros(100);

impl Entry {
    /// Whether the next run will likely be over at once, so that it may be tried where others wait for it.
    pub(super) fn is_quick(&self) -> bool {
        self.quick.load(Ordering::Relaxed)
    }

    pub(super) fn took(&self, time: Duration) {
        self.quick.store(time < AT_ONCE, Ordering::Relaxed);
    }
}

/// The tasks that a worker knows, and what is around them.
#[derive(Default)]
pub struct Registry {
    tasks: HashMap<&'static str, Arc<Entry>>,
    periodic: Vec<Arc<Periodic>>,
    /// The outermost first.
    pub(super) layers: Vec<Box<dyn Layer>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.tasks.keys()).finish()
    }
}

impl Registry {
    /// A registry that knows no task.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task, with what its code works with.
    ///
    /// # Panics
    /// If another task has the same name: one of the two would never run.
    #[must_use]
    pub fn with<T: Task>(mut self, context: &Arc<T::Context>) -> Self {
        let context = Arc::clone(context);
        let run: Run = Box::new(move |args, job| {
            let context = Arc::clone(&context);
            Box::pin(async move {
                let task: T = read(args)?;
                let output = task.run(&context, job).await?;
                if !job.wants_output {
                    return Ok(None);
                }
                let output = serde_json::value::to_raw_value(&output).map_err(|error| {
                    TaskError::fatal(format!("what it gave back is no JSON: {error}"))
                })?;
                let bytes = output.get().len();
                if bytes > MAX_OUTPUT {
                    return Err(TaskError::fatal(format!(
                        "what it gave back has {bytes} bytes; {MAX_OUTPUT} is the most that is kept"
                    )));
                }
                Ok(Some(output))
            })
        });
        let entry = Entry {
            name: T::NAME,
            version: T::VERSION,
            max_attempts: T::MAX_ATTEMPTS,
            timeout: T::TIMEOUT,
            soft_timeout: T::SOFT_TIMEOUT,
            cancel_grace: T::CANCEL_GRACE,
            backoff: T::backoff,
            run,
            tally: Tally::default(),
            quick: AtomicBool::new(false),
        };
        let before = self.tasks.insert(T::NAME, Arc::new(entry));
        assert!(before.is_none(), "two tasks have the name `{}`", T::NAME);
        self
    }

    /// Adds a task that blocks its thread: it runs on one where it may. It takes a slot of its queue like
    /// any other.
    ///
    /// # Panics
    /// If another task has the same name.
    #[must_use]
    pub fn with_blocking<T: BlockingTask>(
        self,
        context: &Arc<<T as BlockingTask>::Context>,
    ) -> Self {
        self.with::<T>(&Arc::new(Arc::clone(context)))
    }

    /// Has this worker, and all others that are told so, enqueue a task again and again: each tick once,
    /// whoever is quickest.
    ///
    /// # Panics
    /// If another periodic task has the same name: only one of the two would run.
    #[must_use]
    pub fn periodic(mut self, periodic: Periodic) -> Self {
        let name = periodic.name();
        let is_new = self.periodic.iter().all(|other| other.name() != name);
        assert!(is_new, "two periodic tasks have the name `{name}`");
        self.periodic.push(Arc::new(periodic));
        self
    }

    pub(super) fn periodics(&self) -> &[Arc<Periodic>] {
        &self.periodic
    }

    /// Adds code around every task, those that are added later included. What was added first is outermost: it
    /// begins first and ends last.
    #[must_use]
    pub fn around(mut self, middleware: impl Middleware) -> Self {
        self.layers.push(Box::new(middleware));
        self
    }

    /// The names of all tasks, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.tasks.keys().copied().collect();
        names.sort_unstable();
        names
    }

    /// All tasks.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.tasks.values().map(|entry| &**entry)
    }

    /// The task of a job, if this worker knows it in its version.
    pub(super) fn get(&self, name: &str, version: u32) -> Option<Arc<Entry>> {
        let entry = self.tasks.get(name)?;
        (version <= entry.version).then(|| Arc::clone(entry))
    }
}

/// Reads arguments, of an older version, too.
fn read<T: Task>(args: Args<'_>) -> Result<T, TaskError> {
    let misfit = |error: serde_json::Error| {
        TaskError::fatal(format!("its arguments do not fit `{}`: {error}", T::NAME))
    };
    if args.version == T::VERSION {
        return serde_json::from_str(args.text).map_err(misfit);
    }
    let older = serde_json::from_str(args.text).map_err(misfit)?;
    serde_json::from_value(T::upcast(args.version, older)?).map_err(misfit)
}
