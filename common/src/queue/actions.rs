//! Actions: who changed what by hand. What an [`Operator`] does for somebody is written down before it is done, so that
//! nothing is done without an entry; an entry alone does not say that it came to its end.

use std::{fmt::Write, sync::LazyLock};

use serde::Serialize;

use super::{
    LIB,
    inspect::Inspector,
    operate::Operator,
    tail::{Event, Kind},
};
use crate::kv::{KvError, Script};

static ACT: LazyLock<Script> = LazyLock::new(|| {
    Script::even_if_full(
        "write down what is done by hand",
        &[LIB, include_str!("lua/act.lua")],
    )
});

/// Entries that are kept at least.
const KEPT: usize = 10_000;
/// Of what an action is done to, bytes that are kept at most.
const MAX_OF: usize = 500;

/// Something that somebody did by hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Action {
    /// Its place in the list, `<ms>-<n>`: the oldest of a page is where the next page begins.
    pub id: String,
    /// When, in ms since 1970, by Redis's clock.
    pub at_ms: u64,
    /// Who.
    pub by: String,
    /// What: `retry`, `discard`, `cancel`, `pause`, `drain`, `resume` …
    pub did: String,
    /// To what: ids of jobs, a queue, a room.
    pub of: String,
}

impl Operator {
    /// The same operator, for somebody: what is done with it is written down as theirs.
    #[must_use]
    pub fn acting_for(self, by: &str) -> Self {
        Self {
            by: Some(by.into()),
            ..self
        }
    }

    /// Writes down what is about to be done for whom this operator acts; nothing if that is nobody.
    ///
    /// # Errors
    /// If Redis fails: then it is not to be done.
    pub async fn write_down(&self, did: &str, of: &str) -> Result<(), KvError> {
        let Some(by) = &self.by else { return Ok(()) };
        let of = cut(of);
        let event = Event {
            by: Some(by.to_string()),
            did: Some(did.to_owned()),
            of: Some(of.to_owned()),
            ..Event::of(Kind::Acted)
        };
        let event = serde_json::to_string(&event).unwrap_or_default();
        let mut call = ACT.on(self.keys.prefix());
        call.arg(KEPT).arg(&**by).arg(did).arg(of).arg(event);
        call.run(&self.redis).await
    }

    /// As [`Self::write_down`], of several: jobs, queues.
    pub(super) async fn write_down_all<T: ToString>(
        &self,
        did: &str,
        of: &[T],
    ) -> Result<(), KvError> {
        if self.by.is_none() || of.is_empty() {
            return Ok(());
        }
        let mut names = String::new();
        for (n, one) in of.iter().enumerate() {
            let one = one.to_string();
            if names.len() + one.len() > MAX_OF - 20 {
                let _ = write!(names, " and {} more", of.len() - n);
                break;
            }
            if n > 0 {
                names.push(' ');
            }
            names.push_str(&one);
        }
        self.write_down(did, &names).await
    }
}

fn cut(of: &str) -> &str {
    let mut end = of.len().min(MAX_OF);
    while !of.is_char_boundary(end) {
        end -= 1;
    }
    &of[..end]
}

impl Inspector {
    /// What was done by hand, the latest first: `most` entries at most, those before `before` if that is given.
    ///
    /// # Errors
    /// If Redis fails, or `before` is no id of an entry.
    pub async fn actions(&self, before: Option<&str>, most: usize) -> Result<Vec<Action>, KvError> {
        type Entry = (String, Vec<String>);
        let from = before.map_or_else(|| "+".to_owned(), |id| format!("({id}"));
        let mut command = redis::cmd("XREVRANGE");
        command.arg(self.keys.actions()).arg(from).arg("-");
        command.arg("COUNT").arg(most);
        let entries: Vec<Entry> = self
            .redis
            .read("list what was done by hand", &command)
            .await?;
        Ok(entries
            .into_iter()
            .map(|(id, fields)| read(id, &fields))
            .collect())
    }
}

fn read(id: String, fields: &[String]) -> Action {
    let (pairs, _) = fields.as_chunks::<2>();
    let field = |name: &str| {
        let found = pairs.iter().find(|[field, _]| field == name);
        found.map(|[_, value]| value.clone()).unwrap_or_default()
    };
    let (by, did, of) = (field("by"), field("did"), field("of"));
    let at_ms = id.split('-').next().and_then(|ms| ms.parse().ok());
    Action {
        id,
        at_ms: at_ms.unwrap_or(0),
        by,
        did,
        of,
    }
}
