//! What should be so.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{JobId, OnDeath, Queue, turn::Lease},
    End,
};

/// Where a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Waiting,
    Scheduled {
        due: bool,
    },
    Dead,
    Parked,
    Claimed {
        worker: usize,
        lease: Lease,
        had_group: bool,
    },
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) place: Place,
    pub(super) attempts: u32,
    pub(super) deaths: u32,
    /// Whether its claim is to be cancelled.
    pub(super) asked: bool,
    pub(super) child_of: Option<JobId>,
    pub(super) follows: Option<JobId>,
    /// The lane that it goes through. What waits may wait in its line.
    pub(super) lane: Option<String>,
    /// Its key, if it is unique until it is done.
    pub(super) key: Option<u8>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) children: u8,
    pub(super) on_death: OnDeath,
    pub(super) sealed: bool,
    pub(super) fired: bool,
    pub(super) master_settled: bool,
    pub(super) left: BTreeSet<JobId>,
    pub(super) failed: BTreeSet<JobId>,
}

impl Group {
    pub(super) fn new(children: u8, on_death: OnDeath) -> Self {
        Self {
            children,
            on_death,
            sealed: false,
            fired: false,
            master_settled: false,
            left: BTreeSet::new(),
            failed: BTreeSet::new(),
        }
    }
}

/// All that should be so.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) groups: BTreeMap<JobId, Group>,
    /// Who holds a key.
    pub(super) keys: BTreeMap<u8, JobId>,
    /// Groups whose follower the model has enqueued and not yet seen, and whether it is dead.
    pub(super) fired: BTreeMap<JobId, Place>,
    /// Waiting, and possibly in no list.
    pub(super) lost: BTreeSet<JobId>,
    /// Discarded while they waited: they may still stand in a list, and are claimed in vain.
    pub(super) ghosts: usize,
    /// Queues from which nothing may be claimed.
    pub(super) paused: BTreeSet<Queue>,
    pub(super) enqueued: usize,
    pub(super) completed: usize,
    pub(super) discarded: usize,
    pub(super) cancelled: usize,
}

impl Model {
    pub(super) fn add(
        &mut self,
        id: JobId,
        place: Place,
        child_of: Option<JobId>,
        follows: Option<JobId>,
    ) {
        let job = Job {
            place,
            attempts: 0,
            deaths: 0,
            asked: false,
            child_of,
            follows,
            lane: None, // its body tells
            key: None,
        };
        assert!(
            self.jobs.insert(id, job).is_none(),
            "the id {id} was given out twice"
        );
        self.enqueued += 1;
    }

    pub(super) fn ids(&self, fits: impl Fn(&Job) -> bool) -> Vec<JobId> {
        self.jobs
            .iter()
            .filter(|(_, job)| fits(job))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn pick(&self, at: usize, fits: impl Fn(&Job) -> bool) -> Option<JobId> {
        let ids = self.ids(fits);
        (!ids.is_empty()).then(|| ids[at % ids.len()])
    }

    pub(super) fn job(&mut self, id: JobId) -> &mut Job {
        self.jobs.get_mut(&id).expect("a job that the model knows")
    }

    pub(super) fn leave(&mut self, id: JobId, failed: bool) {
        self.keys.retain(|_, holder| *holder != id);
        let Some(master) = self.jobs[&id].child_of else {
            return;
        };
        let Some(group) = self.groups.get_mut(&master) else {
            return;
        };
        let was_left = group.left.remove(&id);
        if !failed {
            group.failed.remove(&id);
        } else if was_left {
            group.failed.insert(id);
        }
        if was_left {
            self.fire_if_done(master);
        }
    }

    pub(super) fn fire_if_done(&mut self, master: JobId) {
        let group = self.groups.get_mut(&master).expect("a group");
        if !group.sealed || group.fired || !group.left.is_empty() {
            return;
        }
        group.fired = true;
        let dead = group.on_death == OnDeath::Fail && !group.failed.is_empty();
        self.fired
            .insert(master, if dead { Place::Dead } else { Place::Waiting });
        if group.master_settled {
            self.groups.remove(&master);
        }
    }

    pub(super) fn settle_master(&mut self, id: JobId) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.master_settled = true;
            if !group.sealed || group.fired {
                self.groups.remove(&id);
            }
        }
    }

    pub(super) fn waits(&mut self, id: JobId) {
        self.lost.remove(&id);
        self.job(id).place = Place::Waiting;
    }

    /// Ends a job that does not run to its end.
    pub(super) fn end(&mut self, id: JobId) {
        self.settle_master(id);
        self.leave(id, true);
        self.jobs.remove(&id);
        self.lost.remove(&id);
    }

    pub(super) fn settle(&mut self, id: JobId, attempt: u32, verdict: End) {
        match verdict {
            End::Retry | End::RetryLater | End::Bury | End::Back | End::Park
                if self.jobs[&id].asked =>
            {
                self.cancelled += 1;
                self.end(id);
            }
            End::Done => {
                self.completed += 1;
                self.settle_master(id);
                self.leave(id, false);
                self.jobs.remove(&id);
            }
            End::Back => self.waits(id),
            End::Park => self.job(id).place = Place::Parked,
            End::Retry | End::RetryLater => {
                self.waits(id);
                self.job(id).attempts = attempt;
                if matches!(verdict, End::RetryLater) {
                    self.job(id).place = Place::Scheduled { due: false };
                }
            }
            End::Bury => {
                self.job(id).place = Place::Dead;
                self.job(id).attempts = attempt;
                self.leave(id, true);
            }
        }
    }
}
