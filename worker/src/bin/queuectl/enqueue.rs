//! `queuectl enqueue`.

use std::time::{Duration, SystemTime};

use common::queue::{JobId, Lane, Options, Producer, Queue, TraceParent, Unique, When};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::JoinSet;

use crate::{
    Ending, Failure, Outcome,
    connect::Connection,
    out::{Out, count},
    progress::Progress,
    time::{read_span, read_time},
};

/// Calls under way at once.
const PIPELINE: u32 = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  queuectl enqueue demo.greet '{\"name\":\"Ada\"}' --in 10m")]
pub(crate) struct Args {
    /// Name of the task
    task: String,

    /// What the task runs on, as JSON
    #[arg(value_name = "ARGS", default_value = "null")]
    body: String,

    /// The queue
    #[arg(long, default_value = "default")]
    queue: Queue,

    /// Not before this much time has passed, e.g. 90s, 10m, 1h30m
    #[arg(long = "in", value_name = "SPAN", value_parser = read_span, conflicts_with = "at")]
    delay: Option<Duration>,

    /// Not before this time, e.g. 2026-09-21T14:13:20Z
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    at: Option<SystemTime>,

    /// Attempts at most; the task's own number if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,

    /// Keep how it ends for this time; `show` tells it
    #[arg(long, value_name = "SPAN", value_parser = read_span)]
    keep: Option<Duration>,

    /// Do not start it later than so long after it may run
    #[arg(long, value_name = "SPAN", value_parser = read_span)]
    expires: Option<Duration>,
    /// The trace that it belongs to, as a W3C traceparent
    #[arg(long)]
    trace: Option<TraceParent>,
    /// The lane to go through
    #[arg(long, value_name = "NAME", requires = "width")]
    lane: Option<String>,

    /// How many jobs of the lane may be under way at once
    #[arg(long, value_name = "N", requires = "lane", value_parser = clap::value_parser!(u32).range(1..))]
    width: Option<u32>,

    /// Not if a job of this task and key is here that has not come to its end
    #[arg(long, value_name = "KEY", conflicts_with = "count")]
    unique: Option<String>,

    /// How many such jobs
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

#[derive(Serialize)]
struct Enqueued {
    queue: Queue,
    ids: Vec<JobId>,
}

pub(crate) async fn run(args: Args, connection: &Connection, out: &Out) -> Outcome {
    if args.task.is_empty() {
        return Err(Failure::Usage("the name of the task is empty".to_owned()));
    }
    let body = RawValue::from_string(args.body.clone()).map_err(|error| {
        Failure::Usage(format!(
            "ARGS is not JSON: {error}\nIt was: {}\nQuote it for the shell: '{{\"name\":\"Ada\"}}'",
            args.body
        ))
    })?;
    let when = match (args.delay, args.at) {
        (Some(delay), _) => When::In(delay),
        (None, Some(time)) => When::At(time),
        (None, None) => When::Now,
    };
    let options = Options {
        queue: Some(args.queue),
        when,
        max_attempts: args.max_attempts,
        lane: args
            .lane
            .clone()
            .zip(args.width)
            .map(|(lane, width)| Lane::new(lane, width)),
        unique: args.unique.clone().map(Unique::until_done),
        keep_result: args.keep,
        expires_in: args.expires,
        trace: args.trace,
        ..Options::default()
    };
    let producer = Producer::new(connection.redis.clone(), connection.keys.clone());
    let ids = enqueue(&producer, &args, &body, &options).await?;
    let enqueued = Enqueued {
        queue: args.queue,
        ids,
    };
    out.answer(&enqueued, || {
        let verb = if matches!(when, When::Now) {
            "Enqueued"
        } else {
            "Scheduled"
        };
        match &enqueued.ids[..] {
            [id] => format!("{verb} {id}."),
            ids => format!(
                "{verb} {} on queue {}.",
                count(ids.len() as u64, "job"),
                args.queue
            ),
        }
    })?;
    Ok(Ending::Done)
}

async fn enqueue(
    producer: &Producer,
    args: &Args,
    body: &RawValue,
    options: &Options,
) -> Result<Vec<JobId>, Failure> {
    let progress = Progress::new();
    let mut ids = Vec::new();
    let mut calls = JoinSet::new();
    let mut begun = 0;
    loop {
        while begun < args.count && calls.len() < PIPELINE as usize {
            let (producer, task, body) = (producer.clone(), args.task.clone(), body.to_owned());
            let options = options.clone();
            calls.spawn(async move { producer.enqueue_raw(&task, &body, &options).await });
            begun += 1;
        }
        let Some(call) = calls.join_next().await else {
            ids.sort_unstable();
            return Ok(ids);
        };
        match call? {
            Ok(id) => ids.push(id),
            Err(error) => {
                let done = ids.len();
                let error = anyhow::Error::new(error);
                return Err(Failure::Failed(if args.count == 1 {
                    error
                } else {
                    error.context(format!("enqueued at least {done} of {} jobs", args.count))
                }));
            }
        }
        progress.at("enqueueing", ids.len() as u64, args.count.into());
    }
}
