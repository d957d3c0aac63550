//! A job that somebody asks for: its body, as the task and the one who enqueues want it.
//! Next, [`super::enqueue`] has it made.

use std::borrow::Cow;

use super::{
    EnqueueError, Options, Task,
    enqueue::millis,
    job::Body,
    unique::{Keyed, MAX_KEY, Unique},
};

/// A job that somebody wants enqueued.
pub(super) struct Asked {
    pub(super) body: String,
    pub(super) unique: Option<Keyed>,
    pub(super) laned: bool,
}

impl Asked {
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
