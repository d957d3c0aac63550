//! The list of all metrics. `docs/metrics.md` shows it, and a test holds the two, and what real processes answer,
//! against each other.

use super::metric::{Kind, Label, Metric, Of};

use Kind::{Counter, Gauge, Histogram};
use Of::{Both, Server, Worker};

/// From a tenth of a millisecond, for what ends within a call or two.
const QUICK: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// From a millisecond to an hour: jobs, and how long they wait.
const LONG: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 900.0, 3600.0,
];

const QUEUE: &[Label] = &[Label {
    name: "queue",
    values: &["high", "default", "low"],
}];
const TASK: &[Label] = &[open("task")];

const fn open(name: &'static str) -> Label {
    Label { name, values: &[] }
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [Label],
    of: Of,
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        of,
        help,
    }
}

/// All metrics, by what they are about.
#[rustfmt::skip] // a table
pub const METRICS: &[Metric] = &[
    // The process.
    metric("rhubarb_build_info", Gauge, &[open("process"), open("version")], Both, "1; the labels say what runs"),
    metric("rhubarb_start_time_seconds", Gauge, &[], Both, "When the process started, in seconds since 1970"),
    metric("rhubarb_ready", Gauge, &[], Both, "1 if /health/ready answers 200"),
    metric("rhubarb_health", Gauge, &[open("part")], Both, "1 for each part of /health/ready that is well"),
    metric("rhubarb_heartbeat_age_seconds", Gauge, &[], Both, "How long ago the worker's heartbeat, or the server's lease, was renewed"),
    metric("rhubarb_clock_offset_seconds", Gauge, &[], Both, "By how much this machine's clock is ahead of Redis's"),
    metric("rhubarb_spans_total", Counter, &[Label { name: "result", values: &["sent", "dropped", "failed"] }], Both, "Spans of traces: given to the collector, dropped because too many waited, or lost because it did not take them"),

    // What all share; the same from each process.
    metric("rhubarb_queue_depth", Gauge, QUEUE, Both, "Jobs that wait"),
    metric("rhubarb_queue_oldest_seconds", Gauge, QUEUE, Both, "How long the job that is next has waited; 0 if none waits"),
    metric("rhubarb_queue_paused", Gauge, QUEUE, Both, "1 if workers take nothing from the queue"),
    metric("rhubarb_queue_workers", Gauge, QUEUE, Both, "Live workers that serve the queue"),
    metric("rhubarb_queue_enqueued_total", Counter, QUEUE, Both, "Jobs enqueued since ever, by Redis's count"),
    metric("rhubarb_queue_completed_total", Counter, QUEUE, Both, "Jobs done since ever, by Redis's count"),
    metric("rhubarb_scheduled_jobs", Gauge, &[], Both, "Jobs that wait for their time, or for another attempt"),
    metric("rhubarb_claimed_jobs", Gauge, &[], Both, "Jobs that are being run"),
    metric("rhubarb_dead_jobs", Gauge, &[], Both, "Jobs that are kept for somebody to retry or discard"),
    metric("rhubarb_parked_jobs", Gauge, &[], Both, "Jobs whose task no worker knew so far"),
    metric("rhubarb_laned_jobs", Gauge, &[], Both, "Jobs in the lines of lanes"),
    metric("rhubarb_workers", Gauge, &[], Both, "Workers whose heartbeat has not ended"),
    metric("rhubarb_dirty_rooms", Gauge, &[], Both, "Rooms with messages that are not in the archive"),
    metric("rhubarb_unflushed_seconds", Gauge, &[], Both, "Age of the oldest message that is not in the archive; 0 if there is none"),
    metric("rhubarb_outbox_oldest_seconds", Gauge, &[], Both, "Age of the oldest row of the outbox that is no job yet; 0 if there is none"),
    metric("rhubarb_redis_used_bytes", Gauge, &[], Both, "Memory that Redis uses"),
    metric("rhubarb_redis_max_bytes", Gauge, &[], Both, "Memory that Redis may use; 0 if it has no limit"),

    // Connections to Redis and Postgres.
    metric("rhubarb_redis_connections_total", Counter, &[], Both, "Shared connections to Redis that were made"),
    metric("rhubarb_redis_errors_total", Counter, &[Label { name: "kind", values: &["timeout", "lost", "refused"] }], Both, "Commands to Redis that failed: no answer in time, connection lost, refused by Redis or a script"),
    metric("rhubarb_subscription_losses_total", Counter, &[], Both, "Subscription connections to Redis that were lost"),
    metric("rhubarb_postgres_connections", Gauge, &[Label { name: "state", values: &["idle", "used"] }], Both, "Connections of the pool to Postgres"),
    metric("rhubarb_postgres_connections_max", Gauge, &[], Both, "The most that the pool makes"),
    metric("rhubarb_postgres_waiting", Gauge, &[], Both, "Who waits for a connection of the pool"),

    // Jobs.
    metric("rhubarb_job_wait_seconds", Histogram(LONG), QUEUE, Worker, "From when a job might run, enqueued or due, to its claim"),
    metric("rhubarb_job_seconds", Histogram(LONG), TASK, Worker, "How long an attempt ran"),
    metric("rhubarb_jobs_total", Counter, &[open("task"), Label { name: "outcome", values: &["done", "retried", "buried", "cancelled", "expired"] }], Worker, "Attempts that were made, by how they ended"),
    metric("rhubarb_slots", Gauge, &[], Worker, "Jobs that the worker may run at once"),
    metric("rhubarb_slots_used", Gauge, &[], Worker, "Slots that are taken; jobs that end at once take none"),
    metric("rhubarb_blocking_replacements_total", Counter, &[], Worker, "Blocking connections that were given up and replaced"),
    metric("rhubarb_blocked_polls_total", Counter, TASK, Worker, "Times that a job held a thread of the runtime for a second"),
    metric("rhubarb_reaped_jobs_total", Counter, &[], Worker, "Jobs of dead workers that this one gave back"),
    metric("rhubarb_recovered_jobs_total", Counter, &[], Worker, "Jobs that were popped and never claimed, and that this worker listed again"),
    metric("rhubarb_parked_jobs_total", Counter, &[], Worker, "Jobs that this worker parked"),
    metric("rhubarb_relayed_jobs_total", Counter, &[], Worker, "Rows of the outbox that this worker made jobs of"),
    metric("rhubarb_relay_seconds", Histogram(LONG), &[], Worker, "From the beginning of the transaction that asked for a job to the job; the oldest row of each batch"),
    metric("rhubarb_duplicate_jobs_total", Counter, &[], Both, "Unique jobs that were not made, because they were here"),
    metric("rhubarb_stale_settlements_total", Counter, &[], Worker, "Ends of claims that were no longer the worker's, and that changed nothing"),

    // Rooms and Postgres.
    metric("rhubarb_flush_seconds", Histogram(QUICK), &[], Worker, "From the beginning of a room's flush to its new watermark"),
    metric("rhubarb_flushed_messages_total", Counter, &[], Worker, "Messages that were stored in the archive"),
    metric("rhubarb_rehydrate_seconds", Histogram(QUICK), &[], Worker, "From the beginning of a room's rehydration to the warm room"),
    metric("rhubarb_rehydrated_messages_total", Counter, &[], Worker, "Messages that were copied from the archive"),

    // Connections and messages.
    metric("rhubarb_connections", Gauge, &[], Server, "Open sockets and event streams"),
    metric("rhubarb_streams", Gauge, &[], Server, "Open event streams"),
    metric("rhubarb_streams_total", Counter, &[Label { name: "resumed", values: &["yes", "no"] }], Server, "Event streams that were opened, by whether they went on where another had ended"),
    metric("rhubarb_stream_ends_total", Counter, &[Label { name: "why", values: &["gone", "slow", "drained", "refused", "expired"] }], Server, "Event streams that ended, by why"),
    metric("rhubarb_rooms", Gauge, &[], Server, "Rooms with a member on this server"),
    metric("rhubarb_members", Gauge, &[], Server, "Members of rooms on this server; who is in two rooms counts twice"),
    metric("rhubarb_posted_messages_total", Counter, &[Label { name: "via", values: &["socket", "http"] }], Server, "Messages that were kept, by the way they came"),
    metric("rhubarb_resends_total", Counter, &[], Server, "Messages that had been kept before, and got the first one's id"),
    metric("rhubarb_edits_total", Counter, &[], Server, "Edits that were kept"),
    metric("rhubarb_deletions_total", Counter, &[], Server, "Deletions that were kept"),
    metric("rhubarb_ack_seconds", Histogram(QUICK), &[Label { name: "level", values: &["redis", "db"] }], Server, "From when a message's frame is handled to its ack, by what was asked for"),
    metric("rhubarb_delivered_total", Counter, &[], Server, "Copies of messages that were given to members"),
    metric("rhubarb_naps_total", Counter, &[], Server, "Naps of threads while very much is said: 4 ms in which what comes wakes nobody"),
    metric("rhubarb_socket_writes_total", Counter, &[], Server, "System calls that wrote to sockets"),
    metric("rhubarb_socket_packets_total", Counter, &[], Server, "Frames that those wrote"),
    metric("rhubarb_slow_dropped_total", Counter, &[Label { name: "what", values: &["typing", "presence", "message"] }], Server, "What slow readers did not get"),
    metric("rhubarb_slow_resets_total", Counter, &[], Server, "Slow readers that were told to resume a room"),
    metric("rhubarb_slow_readers_total", Counter, &[], Server, "Readers so slow that they were cut off"),
    metric("rhubarb_resets_total", Counter, &[], Server, "Members that were told to reload a room, for another cause than being slow"),
    metric("rhubarb_catch_ups_total", Counter, &[], Server, "Holes in what was heard of a room, read from its log"),
    metric("rhubarb_refused_frames_total", Counter, &[open("code")], Server, "Frames that were answered with an error"),
    metric("rhubarb_limited_total", Counter, &[open("limit")], Server, "What a limit refused"),
    metric("rhubarb_tokens_total", Counter, &[open("result")], Server, "Tokens that were looked at: good, or why not"),
];
