//! The one list of tasks that this deployment's workers know. To add one: a file beside this one, a line
//! in the list (and its `mod`), a test. See `docs/tasks.md`.

use std::sync::Arc;

use common::{
    chat::{
        Chat,
        flush::{FlushChunk, FlushDone, FlushRoom},
        rehydrate::{RehydrateChunk, RehydrateDone, RehydrateRoom},
    },
    queue::Registry,
};

/// Every task, with what its code works with.
pub fn registry(chat: &Arc<Chat>) -> Registry {
    Registry::new()
        .with::<FlushRoom>(chat)
        .with::<FlushChunk>(chat)
        .with::<FlushDone>(chat)
        .with::<RehydrateRoom>(chat)
        .with::<RehydrateChunk>(chat)
        .with::<RehydrateDone>(chat)
}
