//! Shutdown: one signal that every part of a process can wait for.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Tells that the process has been asked to stop. Clones hear the same signal.
#[derive(Debug, Clone)]
pub struct Shutdown {
    asked: watch::Receiver<bool>,
}

/// Asks for the stop that its [`Shutdown`]s hear. Dropping it asks too.
#[derive(Debug)]
pub struct Stop {
    ask: watch::Sender<bool>,
}

impl Shutdown {
    /// A stop that the program asks for itself.
    pub fn manual() -> (Stop, Self) {
        let (ask, asked) = watch::channel(false);
        (Stop { ask }, Self { asked })
    }

    /// A stop that SIGTERM or SIGINT asks for.
    ///
    /// # Errors
    /// If the process may not listen for signals.
    pub fn on_signal() -> std::io::Result<Self> {
        let (stop, shutdown) = Self::manual();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.now();
        });
        Ok(shutdown)
    }

    /// Waits for the stop; at once if it was asked for before.
    pub async fn asked(&self) {
        let mut asked = self.asked.clone();
        // An error means that the `Stop` is gone, which asks too.
        let _ = asked.wait_for(|asked| *asked).await;
    }

    /// Whether the stop was asked for.
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow() || self.asked.has_changed().is_err()
    }
}

impl Stop {
    /// Asks everyone who listens to stop.
    pub fn now(&self) {
        self.ask.send_replace(true);
    }
}
