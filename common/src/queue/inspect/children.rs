//! The children of a master, page by page.

use serde::Serialize;

use super::{
    Inspector,
    show::{Group, Job},
};
use crate::{kv::KvError, queue::JobId};

/// Dead children that are told at most.
const FAILURES: usize = 100;

/// Some of the children of a master. Those that ended well are only counted.
#[derive(Debug, Clone, Serialize)]
pub struct Children {
    /// The group.
    pub group: Group,
    /// Some that have not settled.
    pub left: Vec<Child>,
    /// Where the next page of these begins, if there is one. A child may stand on two pages.
    pub next: Option<u64>,
    /// Dead ones, each with its reason: a hundred or so at most.
    pub failed: Vec<(String, String)>,
}

/// A child that has not settled.
#[derive(Debug, Clone, Serialize)]
pub struct Child {
    /// Its id.
    pub id: JobId,
    /// Where it is, without its groups, its flow and its lane: none if it was settled meanwhile.
    #[serde(flatten)]
    pub job: Option<Box<Job>>,
}

impl Inspector {
    /// Looks at about `limit` of the children of a master that have not settled, from a cursor on; 0 for the
    /// first.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn children(
        &self,
        master: JobId,
        cursor: u64,
        limit: usize,
    ) -> Result<Children, KvError> {
        let key = self.keys.group_left(master);
        let (next, ids): (u64, Vec<JobId>) = self.scan("SSCAN", &key, cursor, limit).await?;
        // A small set comes as a whole, whatever was asked for; no more of them are looked at than that.
        let looked = ids.get(..2 * limit).unwrap_or(&ids);
        let jobs = self.show_plain(looked).await?;
        let jobs = jobs.into_iter().chain(std::iter::repeat_with(|| None));
        let left = ids.into_iter().zip(jobs);
        let left = left.map(|(id, job)| Child { id, job }).collect();
        let key = self.keys.group_failed(master);
        let (_, mut failed): (u64, Vec<(String, String)>) =
            self.scan("HSCAN", &key, 0, FAILURES).await?;
        failed.truncate(FAILURES);
        // Last, so that it counts every child that is told of.
        let group = self.group(master).await?;
        Ok(Children {
            group,
            left,
            next: (next != 0).then_some(next),
            failed,
        })
    }

    async fn scan<T: redis::FromRedisValue>(
        &self,
        command: &str,
        key: &str,
        cursor: u64,
        count: usize,
    ) -> Result<T, KvError> {
        let mut connection = self.redis.connection().await?;
        redis::cmd(command)
            .arg(key)
            .arg(cursor)
            .arg("COUNT")
            .arg(count.max(1))
            .query_async(&mut connection)
            .await
            .map_err(|source| self.redis.failed("walk over a group's children", source))
    }
}
