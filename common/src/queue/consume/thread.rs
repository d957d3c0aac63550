//! The thread of the loop: its turns, the connections that these need and the jobs that are done at once share it, so
//! that an answer of Redis wakes one thread and no second one looks for work. See
//! docs/decisions/0039-the-loop-has-a-thread.md.

use std::{future::Future, io, panic::resume_unwind};

use tokio::runtime::{Builder, Runtime};

/// A runtime that may be dropped on another one.
struct Own(Option<Runtime>);

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs `work` on a thread of its own until it ends, or until what this returns is dropped.
///
/// # Errors
/// If the thread cannot be started.
pub(in crate::queue) async fn alone<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    // Of one thread, and yet of the kind with several: on the other a job could not call `block_in_place`.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("consumer")
        .enable_all()
        .build()?;
    let ended = runtime.spawn(work);
    let _own = Own(Some(runtime));
    ended.await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(cancelled) => io::Error::other(cancelled),
    })
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_dropped_stops_and_what_panics_is_heard() {
        let (alive, is_gone) = oneshot::channel::<()>();
        let (tell, has_begun) = oneshot::channel();
        let endless = alone(async move {
            let _alive = alive;
            let _ = tell.send(std::thread::current().id());
            std::future::pending::<()>().await;
        });

        let thread = tokio::select! {
            _ = endless => panic!("it has no end"),
            thread = has_begun => thread.unwrap(),
        };

        assert_ne!(thread, std::thread::current().id());
        assert!(is_gone.await.is_err());
        let panics = alone(async { panic!("on purpose") });
        let panicked = AssertUnwindSafe(panics).catch_unwind().await;
        assert!(panicked.is_err());
    }
}
