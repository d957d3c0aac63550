//! The names of keys that an audit walks over, by what they are.

use super::balance::Buckets;

/// What the names of the keys tell.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Workers that hold jobs.
    pub(super) holders: Vec<String>,
    pub(super) histories: Vec<String>,
    pub(super) masters: Vec<String>,
    /// Kinds of parked jobs.
    pub(super) kinds: Vec<String>,
    /// Masters of groups with children that have not settled.
    pub(super) lefts: Vec<String>,
    pub(super) lines: Vec<String>,
    pub(super) slots: Vec<String>,
    pub(super) flows: Vec<String>,
    /// Flows with jobs that are not gone.
    pub(super) flow_jobs: Vec<String>,
    /// Of bodies.
    pub(super) buckets: Buckets,
}

impl Names {
    pub(super) fn sort_in(&mut self, name: &str) {
        if let Some(worker) = name.strip_prefix("claims:") {
            self.holders.push(worker.to_owned());
        } else if let Some(job) = name.strip_prefix("history:") {
            self.histories.push(job.to_owned());
        } else if let Some(kind) = name.strip_prefix("parked:") {
            self.kinds.push(kind.to_owned());
        } else if let Some(lane) = name.strip_prefix("lane:") {
            self.lines.push(lane.to_owned());
        } else if let Some(lane) = name.strip_prefix("slots:") {
            self.slots.push(lane.to_owned());
        } else if let Some(flow) = name.strip_prefix("flow:") {
            match flow.strip_suffix(":jobs") {
                None => self.flows.push(flow.to_owned()),
                Some(flow) => self.flow_jobs.push(flow.to_owned()),
            }
        } else if let Some(bucket) = name.strip_prefix("jobs:") {
            self.buckets.names.push(bucket.to_owned());
        } else if let Some(group) = name.strip_prefix("group:") {
            match group.split_once(':') {
                None => self.masters.push(group.to_owned()),
                Some((master, "left")) => self.lefts.push(master.to_owned()),
                Some(_) => {}
            }
        }
    }

    /// A scan may tell a name twice.
    pub(super) fn tidy(&mut self) {
        for names in [
            &mut self.holders,
            &mut self.histories,
            &mut self.kinds,
            &mut self.masters,
            &mut self.lefts,
            &mut self.lines,
            &mut self.slots,
            &mut self.flows,
            &mut self.flow_jobs,
            &mut self.buckets.names,
        ] {
            names.sort_unstable();
            names.dedup();
        }
    }
}
