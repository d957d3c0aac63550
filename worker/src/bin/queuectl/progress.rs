//! How far a long command is: a bar on standard error, if that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that appears when a command takes longer than a moment and goes when it ends.
pub(crate) struct Progress {
    bar: ProgressBar,
    since: std::time::Instant,
}

impl Progress {
    const MOMENT: Duration = Duration::from_millis(300);

    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style =
            ProgressStyle::with_template("{msg:<20} {bar:30} {human_pos} of {human_len}  {eta}");
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("━━─"));
        }
        Self {
            bar,
            since: std::time::Instant::now(),
        }
    }

    pub(crate) fn at(&self, doing: &str, done: u64, total: u64) {
        if self.since.elapsed() < Self::MOMENT {
            return;
        }
        if self.bar.message() != doing {
            self.bar.set_message(doing.to_owned());
            self.bar.reset_eta();
        }
        self.bar.set_length(total.max(done));
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
