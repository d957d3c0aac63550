//! History: a room's log and its archive, read as one timeline. The log has what is newest, the archive
//! what was flushed; every message is in one of them or in both. Where the log is not known to be complete,
//! both are read, the log first: what is trimmed from it meanwhile is in the archive by then.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::timeout;

use super::{Chat, Entry, log::Opened, rehydrate::RehydrateDone};
use crate::{
    id::{MessageId, RoomId},
    kv::KvError,
    pg::PgError,
};

/// How long to wait for the archive, while somebody waits for the history.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a part of a room's history cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] KvError),
    /// Postgres failed.
    #[error(transparent)]
    Archive(#[from] PgError),
    /// Postgres did not answer.
    #[error("read a room's archive: no answer within {PATIENCE:?}")]
    Late,
}

impl Chat {
    /// The messages after an id, oldest first, at most `limit` of them. Fewer are all there are.
    ///
    /// # Errors
    /// If Redis fails, or the archive is needed and cannot be read.
    pub async fn newer(
        &self,
        room: &RoomId,
        after: MessageId,
        limit: usize,
    ) -> Result<Vec<Entry>, HistoryError> {
        let (hot, from) = self.log.after(room, after, limit).await?;
        // In a cold log there may be pieces; a warm one is complete from some id on, and nothing is
        // missing before its first message if that names the one asked for.
        // Below that id a late child of a rehydration may have left pieces.
        let follows = from.zip(hot.first()).is_some_and(|(from, first)| {
            first.id >= from && after > MessageId::ZERO && first.prev == after
        });
        if follows || from.is_some_and(|from| from.0 <= after.0 + 1) {
            return Ok(hot);
        }
        let cold = within(self.archive.after(room, after, limit)).await?;
        let mut all = merge(hot, cold);
        all.truncate(limit);
        Ok(all)
    }

    /// The messages before an id, oldest first, at most `limit` of them. Fewer are all there are.
    ///
    /// # Errors
    /// If Redis fails, or the archive is needed and cannot be read.
    pub async fn older(
        &self,
        room: &RoomId,
        before: MessageId,
        limit: usize,
    ) -> Result<Vec<Entry>, HistoryError> {
        let (hot, from) = self.log.before(room, before, limit).await?;
        if from == Some(MessageId::ZERO) || (from.is_some() && hot.len() >= limit) {
            return Ok(hot);
        }
        let cold = within(self.archive.before(room, before, limit)).await?;
        let mut all = merge(hot, cold);
        all.drain(..all.len().saturating_sub(limit));
        Ok(all)
    }

    /// Asks the archive where the log does not tell what a joiner is to be shown: in a cold room, and for
    /// who was away for longer than the log reaches back. `opened` is what [`super::RoomLog::beginning`] found. A
    /// room that the archive does not know either is marked as warm.
    ///
    /// # Errors
    /// If Redis fails or the archive cannot be read.
    pub async fn beginning_further(
        &self,
        room: &RoomId,
        since: Option<MessageId>,
        limit: usize,
        opened: Opened,
    ) -> Result<Opened, HistoryError> {
        let opened = if opened.warm {
            opened
        } else {
            let opened = self.look_at_cold(room, since, limit, &opened).await?;
            if !opened.warm {
                return Ok(opened);
            }
            opened
        };
        let Some(seen) = since.filter(|_| opened.behind) else {
            return Ok(opened);
        };
        let missed = self
            .archive
            .count(room, seen, opened.hydrated_from, limit + 1);
        if within(missed).await? + opened.newer > limit {
            return Ok(opened);
        }
        Ok(Opened {
            complete: true,
            after: seen,
            ..opened
        })
    }

    async fn look_at_cold(
        &self,
        room: &RoomId,
        since: Option<MessageId>,
        limit: usize,
        before: &Opened,
    ) -> Result<Opened, HistoryError> {
        // Before the archive is read: what goes from then on must be seen in the end.
        let mark = self.log.begin_rehydration(room).await?;
        let archived_below = if before.first_unflushed > MessageId::ZERO {
            before.first_unflushed
        } else {
            MessageId::MAX
        };
        let missing = limit.saturating_sub(before.unflushed);
        let bounds = within(self.archive.bounds(room, archived_below, missing.max(1))).await?;
        if bounds.newest > MessageId::ZERO {
            self.log.adopt(room, bounds.newest, &mark).await?;
        } else {
            let nothing = RehydrateDone {
                room: room.clone(),
                from: MessageId::ZERO,
                newest: MessageId::ZERO,
                count: 0,
                mark,
                begun_ms: None,
            };
            self.log.hydrated(&nothing).await?;
        }
        let mut opened = self.log.beginning(room, since, limit).await?;
        if opened.warm {
            return Ok(opened);
        }
        if missing > 0 {
            opened.after = MessageId(bounds.oldest.0 - 1).max(MessageId::ZERO);
            opened.more = bounds.more;
        }
        opened.complete = true;
        if let Some(seen) = since {
            let newer = within(self.archive.count(room, seen, MessageId::MAX, limit + 1)).await?;
            opened.complete =
                seen <= opened.top.max(bounds.newest) && newer + opened.unflushed <= limit;
            if opened.complete {
                opened.after = seen;
                opened.more = true;
            }
        }
        opened.top = opened.top.max(bounds.newest);
        opened.whole = true;
        Ok(opened)
    }
}

async fn within<T>(asking: impl Future<Output = Result<T, PgError>>) -> Result<T, HistoryError> {
    Ok(timeout(PATIENCE, asking)
        .await
        .map_err(|_| HistoryError::Late)??)
}

/// Joins what log and archive have: every message is in one of them, or in both; then the copy counts that was
/// changed later.
fn merge(hot: Vec<Entry>, cold: Vec<Entry>) -> Vec<Entry> {
    let mut by_id: BTreeMap<_, _> = hot.into_iter().map(|entry| (entry.id, entry)).collect();
    for entry in cold {
        match by_id.get(&entry.id) {
            Some(hot) if hot.version() >= entry.version() => {}
            _ => drop(by_id.insert(entry.id, entry)),
        }
    }
    by_id.into_values().collect()
}
