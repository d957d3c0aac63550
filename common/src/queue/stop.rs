//! Stop: how a running job hears that it is to end, and what happens to one that does not.
//!
//! A cancel reaches the worker with its heartbeat ([`super::heartbeat::News`]), which the bell hurries.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{context::JobContext, heartbeat::News};

/// Why a running job is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its soft timeout is over. The hard one, if there is one, drops it.
    SoftTimeout,
    /// Somebody cancelled it. It ends for good, unless it is done before it is dropped.
    Cancelled,
    /// Its worker is to stop. What does not end in time is given back.
    Shutdown,
}

/// What may tell a job to stop.
#[derive(Debug)]
pub(super) struct Stops {
    news: watch::Receiver<News>,
    soft_deadline: Option<Instant>,
    /// Whether the task wants to know.
    listens: AtomicBool,
}

impl Stops {
    /// For a job that begins now.
    pub(super) fn new(news: watch::Receiver<News>, soft_timeout: Option<Duration>) -> Self {
        Self {
            news,
            soft_deadline: soft_timeout.and_then(|limit| Instant::now().checked_add(limit)),
            listens: AtomicBool::new(false),
        }
    }

    /// Nothing does.
    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self::new(watch::channel(News::default()).1, None)
    }
}

impl JobContext {
    /// Waits until the job is to end; tells why. A task that listens can end in order: save where it was,
    /// say what it did not do. A cancelled one has [`super::Task::CANCEL_GRACE`] for that.
    ///
    /// ```
    /// use std::time::Duration;
    /// use common::queue::{JobContext, Stop, Task, TaskError};
    /// # use serde::{Deserialize, Serialize};
    ///
    /// /// Copies pages until it has no more time; tells how far it came.
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Copy { from: u32, to: u32 }
    ///
    /// impl Task for Copy {
    ///     const NAME: &'static str = "demo.copy";
    ///     const SOFT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(50));
    ///     const TIMEOUT: Option<Duration> = Some(Duration::from_secs(60));
    ///     type Context = ();
    ///     type Output = u32;
    ///
    ///     async fn run(self, (): &(), job: &JobContext) -> Result<u32, TaskError> {
    ///         for page in self.from..self.to {
    ///             tokio::select! {
    ///                 () = copy(page) => {}
    ///                 _stop = job.stopping() => return Ok(page), // the caller asks for the rest
    ///             }
    ///         }
    ///         Ok(self.to)
    ///     }
    /// }
    /// # async fn copy(_page: u32) {}
    /// ```
    pub async fn stopping(&self) -> Stop {
        self.stops.listens.store(true, Ordering::Relaxed);
        let overtime = async {
            match self.stops.soft_deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancelled() => Stop::Cancelled,
            () = self.shutdown.asked() => Stop::Shutdown,
            () = overtime => Stop::SoftTimeout,
        }
    }

    /// Whether the job is to end, and why: for loops that look between two steps.
    pub fn stop_asked(&self) -> Option<Stop> {
        self.stops.listens.store(true, Ordering::Relaxed);
        let overtime = |deadline| Instant::now() >= deadline;
        if self.is_cancelled() {
            Some(Stop::Cancelled)
        } else if self.shutdown.is_asked() {
            Some(Stop::Shutdown)
        } else {
            let over = self.stops.soft_deadline.is_some_and(overtime);
            over.then_some(Stop::SoftTimeout)
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.stops.news.borrow().cancels(self.id, &self.lease)
    }

    async fn cancelled(&self) {
        let mut news = self.stops.news.clone();
        let told = news.wait_for(|news| news.cancels(self.id, &self.lease));
        if told.await.is_err() {
            std::future::pending::<()>().await; // there will be no more news
        }
    }

    /// Waits until the job is cancelled and has had its chance to end by itself.
    pub(super) async fn is_given_up(&self, grace: Duration) {
        self.cancelled().await;
        if self.stops.listens.load(Ordering::Relaxed) {
            tokio::time::sleep(grace).await;
        }
    }
}
