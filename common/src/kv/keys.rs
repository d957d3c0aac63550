//! Every key and channel that Rhubarb has in Redis: its type, who writes it, who reads it.
//!
//! All begin with `{namespace}:`; the braces are a Redis Cluster hash tag, so that each script's keys
//! are in one slot. The scripts build the same names from that prefix (`queue/lua/numbers.lua`,
//! `chat/lua/lib.lua`); `docs/redis.md` shows the list with redis-cli recipes.

use std::sync::Arc;

use crate::{
    id::{BootId, RoomId},
    queue::{FlowId, JobId, Queue, parking::Kind},
};

/// The names under one namespace.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    /// The names under `namespace`.
    pub fn new(namespace: &str) -> Self {
        Self {
            prefix: format!("{{{namespace}}}:").into(),
        }
    }

    /// What all names begin with: KEYS 1 of every script.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// LIST of ids that wait, oldest at the right. LPUSH: enqueue. BRPOP, RPOP: workers.
    pub fn queue(&self, queue: Queue) -> String {
        format!("{}queue:{queue}", self.prefix)
    }

    /// LIST of bodies that others than Rhubarb want to be jobs, oldest at the right. LPUSH: anybody with a
    /// Redis client. Every worker's care moves them into the queue.
    pub fn inbox(&self, queue: Queue) -> String {
        format!("{}inbox:{queue}", self.prefix)
    }

    /// HASH queue → JSON (`since_ms`, `by`) of the queues from which no worker takes. Written by hand
    /// (pause, resume); read by each turn that claims and each heartbeat.
    pub fn paused(&self) -> String {
        format!("{}paused", self.prefix)
    }

    /// HASH queue → JSON (`since_ms`, `by`) of the queues that take no new jobs. Written by hand (drain,
    /// resume); read by each enqueue.
    pub fn draining(&self) -> String {
        format!("{}draining", self.prefix)
    }

    /// HASH `last`: number of the newest pushed id; `later`: of the newest scheduled one; `cursor`:
    /// ids above it are still listed. Written by enqueue, claim and sweep.
    pub fn mark(&self, queue: Queue) -> String {
        format!("{}mark:{queue}", self.prefix)
    }

    /// ZSET of ids at or below the cursor that wait: popped and not yet claimed, or listed again.
    /// Score: place in line. Written by claim and sweep.
    pub fn loose(&self, queue: Queue) -> String {
        format!("{}loose:{queue}", self.prefix)
    }

    /// HASH id → body (JSON) of every job of a thousand ids that is not settled: waiting, scheduled, claimed, parked or
    /// dead. That of `high-12345` is `jobs:high-12`.
    pub fn bucket(&self, job: JobId) -> String {
        let bucket = job.with_number(job.bucket());
        format!("{}jobs:{bucket}", self.prefix)
    }

    /// What the names of all buckets are like, for SCAN.
    pub fn buckets(&self) -> String {
        self.prefix.to_string() + "jobs:*"
    }

    /// HASH id → `<attempts> <deaths>` of jobs that ran before and are to run again.
    pub fn attempts(&self) -> String {
        format!("{}attempts", self.prefix)
    }

    /// LIST of JSON entries: what happened to a job that failed. Written by settle and reap.
    pub fn history(&self, job: JobId) -> String {
        format!("{}history:{job}", self.prefix)
    }

    /// ZSET of ids by due time in ms. Written by enqueue and retry; every worker promotes.
    pub fn scheduled(&self) -> String {
        format!("{}scheduled", self.prefix)
    }

    /// ZSET of ids by the ms of their burial.
    pub fn dead(&self) -> String {
        format!("{}dead", self.prefix)
    }

    /// SET of the kinds of parked jobs: `<queue>:<task>:<version>`. Written when a worker parks a job, and
    /// by those that bring them back.
    pub fn parked(&self) -> String {
        format!("{}parked", self.prefix)
    }

    /// ZSET of parked ids of one kind by the ms at which they were parked.
    pub fn parked_of(&self, kind: &Kind) -> String {
        format!("{}parked:{kind}", self.prefix)
    }

    /// ZSET of the names of periodic tasks by the ms at which a worker vouched for them last.
    pub fn periodic(&self) -> String {
        format!("{}periodic", self.prefix)
    }

    /// HASH of a periodic task: `definition` and `timetable` (JSON), `last` (tick, ms), `paused`, `job` (of
    /// the latest tick), and totals: `enqueued`, `passed`. Written by every worker that knows it.
    pub fn periodic_entry(&self, name: &str) -> String {
        format!("{}periodic:{name}", self.prefix)
    }

    /// HASH lease → ids, each with a space behind it: what one worker runs. Written by claim, settle and reap.
    pub fn claims(&self, worker: BootId) -> String {
        format!("{}claims:{worker}", self.prefix)
    }

    /// ZSET of workers by the ms at which their heartbeat ends.
    pub fn workers(&self) -> String {
        format!("{}workers", self.prefix)
    }

    /// HASH worker → JSON: host, pid, queues, since when.
    pub fn workers_info(&self) -> String {
        format!("{}workers:info", self.prefix)
    }

    /// STRING with expiry: somebody looked lately for workers that stopped beating. Written by every
    /// worker; where it is missing, Redis was away, and nobody counts as dead for a while.
    pub fn looked(&self) -> String {
        format!("{}looked", self.prefix)
    }

    /// CHANNEL that all workers hear: `look` (a job is due earlier than all before), `beat` (something was
    /// decided that the next heartbeat tells). Carries no state.
    pub fn bell(&self) -> String {
        format!("{}bell", self.prefix)
    }

    /// HASH of a master's group: `plan`, `policy`, `total`, `sealed`, `fired`, `master_settled`, `flow` and `body`
    /// of what follows. Written by fan-out and by its children's settling.
    pub fn group(&self, master: JobId) -> String {
        format!("{}group:{master}", self.prefix)
    }

    /// SET of a group's children that have not settled.
    pub fn group_left(&self, master: JobId) -> String {
        format!("{}group:{master}:left", self.prefix)
    }

    /// HASH id → reason of a group's dead children; kept until what follows has run.
    pub fn group_failed(&self, master: JobId) -> String {
        format!("{}group:{master}:failed", self.prefix)
    }

    /// STRING with expiry, JSON: how a job ended, if somebody asked that it be kept. Written by whatever
    /// ends the job; read by whoever awaits it.
    pub fn result(&self, job: JobId) -> String {
        format!("{}result:{job}", self.prefix)
    }

    /// STRING with expiry, JSON: what a running job last told of its progress.
    pub fn progress(&self, job: JobId) -> String {
        format!("{}progress:{job}", self.prefix)
    }

    /// CHANNEL of one job: its progress, and how it ended. PUBLISH by what ends it; SUBSCRIBE by whoever
    /// awaits it.
    pub fn job(&self, job: JobId) -> String {
        format!("{}job:{job}", self.prefix)
    }

    /// CHANNEL of one process that calls jobs: `<call> <how it ended>`.
    pub fn replies(&self, process: BootId) -> String {
        format!("{}replies:{process}", self.prefix)
    }

    /// HASH id → lease of jobs that a worker runs and is asked to cancel. Written by cancel; read by its
    /// heartbeat, settle and reap.
    pub fn cancels(&self, worker: BootId) -> String {
        format!("{}cancels:{worker}", self.prefix)
    }

    /// ZSET of ids in the line of a lane, by their place. Written by enqueue, retry and promotion; let go when a
    /// slot is free.
    pub fn lane(&self, lane: &str) -> String {
        format!("{}lane:{lane}", self.prefix)
    }

    /// SET of ids that a lane has let go and that have not come to their end: they wait in their queue, or run.
    pub fn slots(&self, lane: &str) -> String {
        format!("{}slots:{lane}", self.prefix)
    }

    /// STRING with expiry: the µs up to which a lane's rate is used up. Written when a job is let go.
    pub fn pace(&self, lane: &str) -> String {
        format!("{}pace:{lane}", self.prefix)
    }

    /// ZSET of lanes with jobs in line or in slots, by the ms at which their rate lets the next one go; `inf` if no
    /// rate holds them up. Written with each change of a lane; read by care.
    pub fn lanes(&self) -> String {
        format!("{}lanes", self.prefix)
    }

    /// HASH id → lane of every job that has one and is not settled.
    pub fn lane_jobs(&self) -> String {
        format!("{}lanes:jobs", self.prefix)
    }

    /// HASH lane → limits, `<width>` or `<width> <jobs>/<ms>+<burst>`: those that came last. Written by enqueue.
    pub fn lane_limits(&self) -> String {
        format!("{}lanes:limits", self.prefix)
    }

    /// STRING: how many jobs are in the lines of all lanes.
    pub fn lanes_waiting(&self) -> String {
        format!("{}lanes:waiting", self.prefix)
    }

    /// HASH `<task>:<key>` → id of the unique job that holds the key. Written by enqueue; removed at the job's
    /// start or end.
    pub fn unique(&self) -> String {
        format!("{}unique", self.prefix)
    }

    /// STRING with expiry: id of the job that was the first with this `<task>:<key>` in a period. Written by enqueue.
    pub fn once(&self, key: &str) -> String {
        format!("{}once:{key}", self.prefix)
    }

    /// HASH of a flow: its steps and what has happened to them (`queue/lua/flow.lua`). Written by who starts
    /// it and by the ends of its jobs; gone with the last of them.
    pub fn flow(&self, flow: FlowId) -> String {
        format!("{}flow:{flow}", self.prefix)
    }

    /// HASH id → step of a flow's jobs that are not gone.
    pub fn flow_jobs(&self, flow: FlowId) -> String {
        format!("{}flow:{flow}:jobs", self.prefix)
    }

    /// ZSET of rows of the outbox that are jobs, `<id>:<mark>`, by the ms at which they were last handed over. Written
    /// by the relay, which forgets them some time after the row is gone.
    pub fn relayed(&self) -> String {
        format!("{}relayed", self.prefix)
    }

    /// HASH of totals since ever: `enqueued:<queue>`, `completed:<queue>`, `discarded:<queue>`,
    /// `cancelled:<queue>`, `expired:<queue>`, `flows` (started; their ids), `retried`, `parked`, `buried`,
    /// `reaped`, `recovered`, `revived`, and `lost`: what an audit wrote off.
    pub fn stats(&self) -> String {
        format!("{}stats", self.prefix)
    }

    /// HASH bulk change → JSON: how far the retry or discard of many dead jobs has come; `<bulk change>:stop`:
    /// who wants it to stop. Written by the server that works on it, and by who stops it.
    pub fn bulks(&self) -> String {
        format!("{}bulks", self.prefix)
    }

    /// HASH of totals by task since ever: `done:<task>`, `retried:`, `buried:`, `cancelled:`, `expired:`, `ran_us:` and
    /// `waited_ms:`. Written by heartbeats.
    pub fn tasks(&self) -> String {
        format!("{}tasks", self.prefix)
    }

    /// STREAM of the queues at each minute of the last week; the minute is the entry's id. Written by one worker a
    /// minute.
    pub fn samples(&self) -> String {
        format!("{}samples", self.prefix)
    }

    /// STREAM of what people changed by hand: `by`, `did`, `of`. Written before it is done.
    pub fn actions(&self) -> String {
        format!("{}actions", self.prefix)
    }

    /// STRING with expiry: somebody follows what happens to jobs. Written by who does; read by heartbeats.
    pub fn followed(&self) -> String {
        format!("{}followed", self.prefix)
    }

    /// CHANNEL of what happens to jobs, while somebody follows: JSON, one event a line. PUBLISH by workers and by what
    /// people change by hand.
    pub fn events(&self) -> String {
        format!("{}events", self.prefix)
    }

    /// ZSET of a room's recent messages by id. Member: `<id> <prev> <JSON>`. Written by append,
    /// change and rehydrate, trimmed by flush.
    pub fn log(&self, room: &RoomId) -> String {
        format!("{}room:{room}:log", self.prefix)
    }

    /// HASH of a room: `top` (newest id), `watermark`, `hydrated_from`, `fresh` (messages since the
    /// last flush was asked for), `resting` (its keys expire), `mark` (what a rehydration began with), `born` (the first id that was
    /// appended since the hash is there), `sent_until` (when `sent` expires, ms).
    pub fn meta(&self, room: &RoomId) -> String {
        format!("{}room:{room}:meta", self.prefix)
    }

    /// ZSET `<sender> <client id>` → message id: what was sent lately, so that a resend is recognised.
    pub fn sent(&self, room: &RoomId) -> String {
        format!("{}room:{room}:sent", self.prefix)
    }

    /// ZSET of messages that were changed, and of edits that were replaced, by the id of their latest change, until the
    /// archive shows it. Written by change; read by it, rehydrate and flush; cleared by flush.
    pub fn changed(&self, room: &RoomId) -> String {
        format!("{}room:{room}:changed", self.prefix)
    }

    /// HASH server → members of the room that are connected to it.
    pub fn members(&self, room: &RoomId) -> String {
        format!("{}room:{room}:members", self.prefix)
    }

    /// STRING with expiry: a flush of the room is under way.
    pub fn flushing(&self, room: &RoomId) -> String {
        format!("{}room:{room}:flushing", self.prefix)
    }

    /// STRING with expiry: a rehydration of the room is under way.
    pub fn hydrating(&self, room: &RoomId) -> String {
        format!("{}room:{room}:hydrating", self.prefix)
    }

    /// CHANNEL of a room: PUBLISH by append, change, presence, flush and rehydrate; SUBSCRIBE by every server with a
    /// member.
    pub fn live(&self, room: &RoomId) -> String {
        format!("{}room:{room}:live", self.prefix)
    }

    /// ZSET of rooms with messages above their watermark, by the ms of the oldest.
    pub fn dirty(&self) -> String {
        format!("{}dirty", self.prefix)
    }

    /// ZSET of premium rooms by the ms until which their jobs go before others'.
    pub fn premium(&self) -> String {
        format!("{}premium", self.prefix)
    }

    /// ZSET of servers by the ms at which their lease ends.
    pub fn servers(&self) -> String {
        format!("{}servers", self.prefix)
    }

    /// SET of rooms with a member on one server.
    pub fn server_rooms(&self, server: BootId) -> String {
        format!("{}server:{server}:rooms", self.prefix)
    }
}
