//! A job that somebody asks for: its body, as the task and the one who enqueues want it.
//! Next, [`super::enqueue`] has it made.

use std::borrow::Cow;

use super::{
    EnqueueError, Options, Task,
    clock::Clock,
    enqueue::millis,
    job::Body,
    unique::{Keyed, MAX_KEY, Unique},
};

/// A job that somebody wants enqueued.
pub(super) struct Asked {
    pub(super) body: String,
    pub(super) unique: Option<Keyed>,
    laned: bool,
    expires: bool,
}

impl Asked {
    /// Whether it has neither lane nor key.
    pub(super) fn is_plain(&self) -> bool {
        !self.laned && self.unique.is_none()
    }

    /// Its body with the time before all else, if `clock` may tell it: not of a job that expires, which would end
    /// unrun if the clock of whoever asks for it had stood still, as it does while a machine sleeps.
    pub(super) fn stamped(&self, clock: Option<Clock>) -> Option<String> {
        Some(clock.filter(|_| !self.expires)?.stamp(&self.body))
    }

    /// A job of `task`; `reply` names the call that waits for its end. Its body has `most` bytes or less.
    pub(super) fn of<T: Task>(
        task: &T,
        options: &Options,
        reply: Option<&str>,
        most: usize,
    ) -> Result<Self, EnqueueError> {
        let unique = options.unique.clone().or_else(|| task.unique());
        let body = Body {
            reply: reply.map(Cow::Borrowed),
            ..body_for(task)?
        };
        Self::new(body, unique, options, most)
    }

    /// A job with this body, but for what `options` say.
    pub(super) fn new(
        body: Body<'_>,
        unique: Option<Unique>,
        options: &Options,
        most: usize,
    ) -> Result<Self, EnqueueError> {
        let unique = unique.map(|unique| unique.of(&body.task));
        if let Some(keyed) = &unique
            && keyed.key.len() > MAX_KEY
        {
            let (task, bytes) = (body.task.into_owned(), keyed.key.len());
            return Err(EnqueueError::LongKey { task, bytes });
        }
        let lane = options.lane.clone().or_else(|| body.lane.clone());
        let body = Body {
            lane,
            unique: unique.as_ref().and_then(Keyed::hold),
            ..options.put(body)
        };
        Ok(Self {
            laned: body.lane.is_some(),
            expires: body.expires.is_some(),
            body: write(&body, most)?,
            unique,
        })
    }
}

/// The body of a job of `task` that is tied to nothing, its arguments in the task's version.
/// It goes through its task's lane.
pub(super) fn body_for<T: Task>(task: &T) -> Result<Body<'static>, EnqueueError> {
    let args = serde_json::value::to_raw_value(task).map_err(|source| EnqueueError::Write {
        task: T::NAME.to_owned(),
        source,
    })?;
    Ok(Body {
        version: T::VERSION,
        lane: task.lane(),
        keep: T::KEEP_RESULT.map(millis),
        ..Body::new(T::NAME, Cow::Owned(args))
    })
}

/// Writes a body, if it has `most` bytes or less and the scripts can read what they must of it.
pub(super) fn write(body: &Body<'_>, most: usize) -> Result<String, EnqueueError> {
    if let Some(lane) = body.lane.as_ref().filter(|lane| !lane.is_valid()) {
        let lane = lane.name().to_owned();
        return Err(EnqueueError::Lane { lane });
    }
    let text = body.write().map_err(|source| EnqueueError::Write {
        task: body.task.to_string(),
        source,
    })?;
    if text.len() > most {
        return Err(EnqueueError::TooLarge {
            task: body.task.to_string(),
            bytes: text.len(),
            most,
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_expires_never_bears_a_time_that_redis_did_not_write() {
        let args = serde_json::value::to_raw_value(&1).unwrap();
        let asked = |expires_in| {
            let options = Options {
                expires_in,
                ..Options::default()
            };
            let body = Body::new("t", Cow::Borrowed(&*args));
            Asked::new(body, None, &options, 1000).unwrap()
        };
        let clock = Some(Clock::shows(7));

        let expiring = asked(Some(std::time::Duration::from_secs(60)));

        assert!(expiring.stamped(clock).is_none());
        assert!(asked(None).stamped(None).is_none());
        assert!(
            asked(None)
                .stamped(clock)
                .unwrap()
                .starts_with(r#"{"at":7"#)
        );
    }
}
