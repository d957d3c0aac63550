//! The outbox: jobs that a Postgres transaction asks for. A job exists exactly if the transaction has
//! committed: it is a row of the table `outbox` first, and a [`Relay`] makes a job of it.

mod relay;

use std::time::UNIX_EPOCH;

use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use thiserror::Error;

use super::{
    EnqueueError, Options, Task, When,
    asked::Asked,
    enqueue::{MAX_BODY, millis},
};

pub use relay::{Relay, RelayError};

/// Why a job was not put into the outbox.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// Its body cannot be used.
    #[error(transparent)]
    Job(#[from] EnqueueError),
    /// It is unique.
    #[error(
        "a unique `{task}` job cannot go through the outbox: whether another has its key shows in Redis, after \
         the transaction has committed"
    )]
    Unique {
        /// Name of the task.
        task: String,
    },
    /// Its result is to be kept.
    #[error(
        "the result of a `{task}` job cannot be asked for through the outbox: the job gets its id in Redis, after \
         the transaction has committed"
    )]
    Result {
        /// Name of the task.
        task: String,
    },
    /// Postgres refused; so the transaction cannot commit.
    #[error("put a job into the outbox")]
    Insert(#[from] diesel::result::Error),
}

#[derive(diesel::QueryableByName)]
struct Made {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Asks for a job in the transaction that is open on `connection` (without one it is asked for at once). It is
/// made soon after the transaction has committed, and never if it is rolled back. Returns the row's id, not the
/// job's: that is not known yet.
///
/// All options count but `unique` and `keep_result`. A delay begins now, by Postgres's clock.
///
/// # Errors
/// If the job is unique or its result is asked for; if its body is too large or cannot be written; if Postgres
/// refuses.
pub async fn enqueue<T: Task>(
    connection: &mut AsyncPgConnection,
    task: &T,
    options: &Options,
) -> Result<i64, OutboxError> {
    let name = || T::NAME.to_owned();
    if options.keep_result.is_some_and(|keep| !keep.is_zero()) {
        return Err(OutboxError::Result { task: name() });
    }
    let asked = Asked::of(task, options, None, MAX_BODY)?;
    if asked.unique.is_some() {
        return Err(OutboxError::Unique { task: name() });
    }
    let (from_now, due) = match options.when {
        When::Now => (false, None),
        When::In(delay) => (true, Some(millis(delay))),
        When::At(time) => {
            let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            (false, Some(millis(since_1970)))
        }
    };
    let made: Made = diesel::sql_query(
        "INSERT INTO outbox (queue, due, body) VALUES ($1, $2 + \
         CASE WHEN $3 THEN (extract(epoch FROM clock_timestamp()) * 1000)::bigint ELSE 0 END, $4) RETURNING id",
    )
    .bind::<Text, _>(options.queue.unwrap_or(T::QUEUE).name())
    .bind::<Nullable<BigInt>, _>(due.map(|ms| i64::try_from(ms).unwrap_or(FOR_EVER).min(FOR_EVER)))
    .bind::<Bool, _>(from_now)
    .bind::<Text, _>(asked.body)
    .get_result(connection)
    .await?;
    Ok(made.id)
}

/// More ms than anybody waits; Redis's numbers are exact up to here.
const FOR_EVER: i64 = 1 << 52;
