//! A task that gives something back, tells how far it is and hears when it is to stop.

use std::time::Duration;

use common::queue::{JobContext, Task, TaskError};
use serde::{Deserialize, Serialize};

use super::Stage;

/// What a recital does, after it has noted that it started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum How {
    /// It ends at once.
    AtOnce,
    /// It waits until the stage is opened.
    WhenOpen,
    /// It tells 1, waits until the stage is opened, tells 2.
    Telling,
    /// It fails for good the first time.
    BadlyAtFirst,
    /// It waits until it is to stop, notes why, and ends well.
    UntilStopped,
    /// It waits until it is to stop, and fails.
    UntilAnnoyed,
    /// It hears that it is to stop, and does not.
    Stubbornly,
    /// It gives back so many bytes.
    AtLength(usize),
}

/// Notes its name on the stage. Gives back its name and the number of the run, e.g. `a: run 1`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Recite {
    pub(crate) name: String,
    pub(crate) how: How,
}

pub(crate) fn recite(name: &str, how: How) -> Recite {
    let name = name.to_owned();
    Recite { name, how }
}

impl Task for Recite {
    const NAME: &'static str = "test.recite";
    const CANCEL_GRACE: Duration = Duration::from_millis(200);
    type Context = Stage;
    type Output = String;

    async fn run(self, stage: &Stage, job: &JobContext) -> Result<String, TaskError> {
        let run = stage.note_start(&self.name);
        match self.how {
            How::WhenOpen => stage.opened().await,
            How::Telling => {
                job.progress(&1).await?;
                stage.opened().await;
                if let Err(error) = job.progress(&2).await {
                    stage.note_end(&error.to_string());
                    return Err(error.into());
                }
            }
            How::BadlyAtFirst if run == 1 => return Err(TaskError::fatal("stage fright")),
            How::AtOnce | How::BadlyAtFirst => {}
            How::UntilStopped => {
                let stop = job.stopping().await;
                stage.note_start(&format!("{stop:?}"));
                assert_eq!(job.stop_asked(), Some(stop));
            }
            How::UntilAnnoyed => {
                job.stopping().await;
                return Err("annoyed".into());
            }
            How::Stubbornly => {
                let stop = job.stopping().await;
                stage.note_start(&format!("{stop:?}"));
                std::future::pending::<()>().await;
            }
            How::AtLength(bytes) => return Ok("x".repeat(bytes)),
        }
        stage.note_end(&self.name);
        Ok(format!("{}: run {run}", self.name))
    }

    fn backoff(_attempt: u32) -> Duration {
        Duration::from_millis(20)
    }
}
