//! One job, whole: where it is, what it is to do, what happened to it, its group.

use std::sync::LazyLock;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Entry, Inspector, ONLY_LOOKS, PLACES, Times, claimed_ms, flow::Around, lanes::LaneOfJob, score,
    status::WorkerInfo, tries,
};
use crate::{
    kv::{KvError, Script},
    queue::{
        Body, JobId, Lane, Queue, TraceParent, flow::InFlow, job::Birth, results::AnyOutcome,
        turn::Lease, unique::Hold,
    },
};

static SHOW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look at jobs",
        &[
            ONLY_LOOKS,
            crate::queue::LIB,
            PLACES,
            include_str!("../lua/show.lua"),
        ],
    )
});
static GROUP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "look at a group",
        &[
            ONLY_LOOKS,
            crate::queue::LIB,
            include_str!("../lua/group.lua"),
        ],
    )
});

/// What is known of an id.
#[derive(Debug, Clone)]
pub enum Known {
    /// The job is here.
    Job(Box<Job>),
    /// It has ended, so: that is kept for a while.
    Ended(AnyOutcome),
    /// It was enqueued, and completed, discarded, cancelled or expired since: nothing is kept of it.
    Finished,
    /// No job has had this id.
    Never {
        /// The newest id of its kind, if there has been one.
        newest: Option<JobId>,
    },
}

/// A job that is not settled.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// When this was so.
    pub now_ms: u64,
    /// Its id.
    pub id: JobId,
    /// `waiting`, `laned`, `scheduled`, `claimed`, `parked` or `dead`; `nowhere` and two at once are for
    /// [`super::super::audit`] to mend.
    pub state: String,
    /// Its queue.
    pub queue: Queue,
    /// Name of its task; none if its body cannot be read.
    pub task: Option<String>,
    /// What the task runs on.
    pub args: Option<Box<RawValue>>,
    /// The body, if it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Version of the arguments.
    pub version: u32,
    /// The tick of a periodic task that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tick_ms: Option<u64>,
    /// Attempts so far, that which runs included.
    pub attempts: u32,
    /// Attempts at most, where that differs from the task's own.
    pub max_attempts: Option<u32>,
    /// Workers that died while they ran it.
    pub deaths: u32,
    /// When it was enqueued.
    pub enqueued_ms: Option<u64>,
    /// Since when it waits.
    pub waiting_since_ms: Option<u64>,
    /// How many are before it in line, where that is known: discarded ones may count.
    pub ahead: Option<u64>,
    /// When it is due.
    pub due_ms: Option<u64>,
    /// When it was parked.
    pub parked_ms: Option<u64>,
    /// When it was buried.
    pub buried_ms: Option<u64>,
    /// Who runs it.
    pub claim: Option<Claim>,
    /// What it last told of its progress.
    pub progress: Option<Box<RawValue>>,
    /// The lane that it goes through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneOfJob>,
    /// The key that no other job may have meanwhile, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique: Option<Hold>,
    /// The trace context of who enqueued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// What happened to it, the latest last.
    pub history: Vec<Entry>,
    /// The group that it is a child of.
    pub child_of: Option<Group>,
    /// The group that it follows.
    pub follows: Option<Group>,
    /// The group that it is the master of.
    pub group: Option<Group>,
    /// What is around it in the flow that it is a step of.
    pub flow: Option<Around>,
}

/// A worker's right to a job.
#[derive(Debug, Clone, Serialize)]
pub struct Claim {
    /// Who.
    pub worker: String,
    /// The fence: `<attempt>@<claimed at, µs>`.
    pub lease: String,
    /// Since when.
    pub claimed_ms: Option<u64>,
    /// The job is given back if the worker does not beat until then.
    pub alive_until_ms: Option<u64>,
    /// Who that is.
    pub info: WorkerInfo,
}

/// The children of a master.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// The master.
    pub master: JobId,
    /// Whether the group is still on record: not before the split begins, nor after what follows it was
    /// enqueued.
    pub open: bool,
    /// `continue` or `fail`.
    pub policy: String,
    /// Children so far.
    pub total: u64,
    /// Those that have not settled.
    pub left: u64,
    /// Those that are dead or were discarded.
    pub failed: u64,
    /// Whether all children are named.
    pub sealed: bool,
    /// Some of the dead children, each with its reason.
    pub failures: Vec<(String, String)>,
}

type Reply = (
    u64,
    Vec<u8>,
    String,
    Vec<String>,
    Vec<String>,
    Vec<String>,
    String,
    String,
    i64,
    (String, String, String),
    u64,
    u64,
);
type GroupReply = (String, u64, u64, u64, u8, Vec<(String, String)>);

impl Inspector {
    /// Looks at one job.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn show(&self, id: JobId) -> Result<Known, KvError> {
        let reply = self.look_at(&[id]).await?.pop();
        let reply = reply.ok_or_else(|| self.redis.failed("look at jobs", nothing()))?;
        if reply.1.is_empty() {
            if let Some(outcome) = AnyOutcome::read(&reply.9.1) {
                return Ok(Known::Ended(outcome));
            }
            let newest = if id.birth() == Birth::Pushed {
                reply.10
            } else {
                reply.11
            };
            return Ok(if id.number() <= newest {
                Known::Finished
            } else {
                let newest = (newest > 0).then(|| id.with_number(newest));
                Known::Never { newest }
            });
        }
        let mut job = read(id, reply);
        self.add_groups(&mut job).await?;
        if let Some(lane) = &job.lane {
            job.job.lane = Some(self.lane_of(id, lane).await?);
        }
        Ok(Known::Job(Box::new(job.job)))
    }

    /// Looks at some jobs in one step, each without what is around it: its groups, its flow, its lane. None for an id
    /// that has ended or never was.
    pub(super) async fn show_plain(&self, ids: &[JobId]) -> Result<Vec<Option<Box<Job>>>, KvError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.look_at(ids).await?;
        let plain = |(id, reply): (&JobId, Reply)| {
            (!reply.1.is_empty()).then(|| Box::new(read(*id, reply).job))
        };
        Ok(ids.iter().zip(replies).map(plain).collect())
    }

    async fn look_at(&self, ids: &[JobId]) -> Result<Vec<Reply>, KvError> {
        let mut call = SHOW.on(self.keys.prefix());
        for id in ids {
            call.arg(id);
        }
        call.run(&self.redis).await
    }

    async fn add_groups(&self, read: &mut Read) -> Result<(), KvError> {
        let job = &mut read.job;
        let own = self.group(job.id).await?;
        job.group = own.open.then_some(own);
        if let Some(master) = read.child_of {
            job.child_of = Some(self.group(master).await?);
        }
        if let Some(master) = read.follows {
            job.follows = Some(self.group(master).await?);
        }
        if let Some(place) = read.flow {
            job.flow = self.around(place).await?;
        }
        Ok(())
    }

    /// Looks at the group of one master.
    ///
    /// # Errors
    /// If Redis fails.
    pub async fn group(&self, master: JobId) -> Result<Group, KvError> {
        let mut call = GROUP.on(self.keys.prefix());
        call.arg(master);
        let (policy, total, left, failed, sealed, failures): GroupReply =
            call.run(&self.redis).await?;
        Ok(Group {
            master,
            open: !policy.is_empty(),
            policy,
            total,
            left,
            failed,
            sealed: sealed == 1,
            failures,
        })
    }
}

fn nothing() -> redis::RedisError {
    (redis::ErrorKind::UnexpectedReturnType, "no reply").into()
}

struct Read {
    job: Job,
    lane: Option<Lane>,
    child_of: Option<JobId>,
    follows: Option<JobId>,
    flow: Option<InFlow>,
}

fn read(id: JobId, reply: Reply) -> Read {
    let (now_ms, body, before, places, history, holder, due, buried, ahead, extra, ..) = reply;
    let (progress, _, parked) = extra;
    let text = String::from_utf8_lossy(&body).into_owned();
    let body = Body::read(&text).ok();
    let times = Times::of(&text);
    let history: Vec<_> = history.iter().filter_map(|e| Entry::read(e)).collect();
    let (mut attempts, deaths) = tries(&before);
    let claim = <[String; 4]>::try_from(holder)
        .ok()
        .map(|[worker, lease, until, info]| {
            attempts = Lease::from(lease.as_str()).attempt();
            Claim {
                worker,
                claimed_ms: claimed_ms(&lease),
                alive_until_ms: score(&until),
                info: WorkerInfo::read(&info),
                lease,
            }
        });
    let waits = places.iter().any(|p| p == "waiting" || p == "laned");
    let state = if places.is_empty() {
        "nowhere".to_owned()
    } else {
        places.join(" and ")
    };
    let (child_of, follows) = body.as_ref().map_or((None, None), |b| (b.group, b.follows));
    let job = Job {
        now_ms,
        id,
        state,
        queue: id.queue(),
        task: body.as_ref().map(|body| body.task.to_string()),
        args: body.as_ref().map(|body| body.args.clone().into_owned()),
        unreadable: body.is_none().then(|| text.clone()),
        version: body.as_ref().map_or(1, |body| body.version),
        tick_ms: body.as_ref().and_then(|body| body.tick),
        attempts,
        max_attempts: body.as_ref().and_then(|body| body.max_attempts),
        deaths,
        enqueued_ms: times.made,
        waiting_since_ms: waits.then(|| times.waiting_since(history.last())).flatten(),
        ahead: u64::try_from(ahead).ok(),
        due_ms: score(&due),
        parked_ms: score(&parked),
        buried_ms: score(&buried),
        claim,
        progress: RawValue::from_string(progress).ok(),
        lane: None,
        unique: body.as_ref().and_then(|body| body.unique.clone()),
        trace: body.as_ref().and_then(|body| body.trace),
        history,
        child_of: None,
        follows: None,
        group: None,
        flow: None,
    };
    Read {
        job,
        lane: body.as_ref().and_then(|body| body.lane.clone()),
        child_of,
        follows,
        flow: body.and_then(|body| body.flow),
    }
}
