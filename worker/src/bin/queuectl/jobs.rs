//! `queuectl jobs`.

use common::queue::{
    Queue,
    dead::Filter,
    inspect::list::{Cursor, Listing, Page, Row, State},
};

use crate::{
    Ending, Failure, Outcome,
    connect::Connection,
    filter::{self, flags},
    out::{Column, Out, add, clean, numbers, short, text},
    time::{ago, since, until},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which jobs
    #[arg(value_enum, default_value = "waiting")]
    state: State,

    /// Of the waiting or the dead: those of one queue
    #[arg(long)]
    queue: Option<Queue>,

    /// Of those in lanes: those in the line of one
    #[arg(long, value_name = "NAME")]
    lane: Option<String>,

    /// How many at most
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=5000))]
    limit: u16,

    /// Go on where the last page ended
    #[arg(long, value_name = "CURSOR", value_parser = crate::cursor::cursor::<Cursor>)]
    cursor: Option<Cursor>,

    #[command(flatten)]
    dead: filter::DeadArgs,
}

pub(crate) async fn run(args: Args, connection: &Connection, out: &Out) -> Outcome {
    if args.queue.is_some() && !matches!(args.state, State::Waiting | State::Dead) {
        let text = "--queue chooses among waiting and dead jobs; the others are kept together";
        return Err(Failure::Usage(text.to_owned()));
    }
    if args.lane.is_some() && args.state != State::Laned {
        let text = "--lane chooses among jobs in lanes: queuectl jobs laned --lane NAME";
        return Err(Failure::Usage(text.to_owned()));
    }
    if !args.dead.is_empty() && args.state != State::Dead {
        let text = "--task, --error, --group, --since and --before choose among dead jobs: \
                    queuectl jobs dead …";
        return Err(Failure::Usage(text.to_owned()));
    }
    let filter = if args.state == State::Dead {
        args.dead.at(connection.now_ms().await?, args.queue)
    } else {
        Filter::default()
    };
    let listing = Listing {
        state: args.state,
        queue: args.queue,
        lane: args.lane,
        filter,
        limit: args.limit.into(),
        cursor: args.cursor,
    };
    let inspector = connection.inspector();
    let page = inspector.jobs(&listing).await?;
    out.answer(&page, || tell(&page, &listing, out))?;
    Ok(Ending::Done)
}

fn tell(page: &Page, listing: &Listing, out: &Out) -> String {
    if page.jobs.is_empty() && page.next.is_none() {
        return match (&listing.cursor, listing.queue, &listing.lane) {
            (Some(_), ..) => "There are no more.".to_owned(),
            _ if listing.filter != Filter::default() => {
                format!("There are no {}.", filter::words(&listing.filter))
            }
            (None, Some(queue), _) => format!("No job is waiting in queue {queue}."),
            (None, None, Some(lane)) => format!("No job is in the line of lane {lane}."),
            (None, None, None) => format!("No job is {}.", page.state),
        };
    }
    let mut told = if page.jobs.is_empty() {
        format!("No {} so far.", filter::words(&listing.filter))
    } else {
        out.table(&columns(page.state), rows(page))
    };
    if let Some(next) = &page.next {
        let queue = listing.queue.map(|queue| format!(" --queue {queue}"));
        let lane = listing
            .lane
            .as_ref()
            .map(|lane| format!(" --lane '{lane}'"));
        let which = match page.state {
            State::Dead => flags(&listing.filter),
            _ => queue.or(lane).unwrap_or_default(),
        };
        let state = page.state;
        add(
            &mut told,
            format_args!("\n\nMore: queuectl jobs {state}{which} --cursor {next}"),
        );
    }
    told
}

fn columns(state: State) -> Vec<Column> {
    let (time, place, last) = match state {
        State::Waiting => ("WAITING FOR", None, "ARGS"),
        State::Laned => ("WAITING FOR", Some("LANE"), "ARGS"),
        State::Scheduled => ("DUE", None, "ARGS"),
        State::Claimed => ("RUNNING FOR", Some("WORKER"), "ARGS"),
        State::Parked => ("PARKED FOR", None, "ARGS"),
        State::Dead => ("DIED", None, "WHY"),
    };
    let mut columns = vec![text("ID"), text(time), numbers("TRIES")];
    columns.extend(place.map(text));
    columns.extend([text("TASK"), text(last)]);
    columns
}

fn rows(page: &Page) -> Vec<Vec<String>> {
    let now = page.now_ms;
    let row = |job: &Row| {
        let when = |time: Option<u64>, tell: fn(u64, u64) -> String| {
            time.map(|then| tell(now, then)).unwrap_or_default()
        };
        let args = job.args.as_ref().map(ToString::to_string);
        let why = job.error.clone().unwrap_or_default();
        let (time, last) = match page.state {
            State::Waiting | State::Laned => (when(job.waiting_since_ms, since), args),
            State::Scheduled => (when(job.due_ms, until), args),
            State::Claimed => (when(job.claimed_ms, since), args),
            State::Parked => (when(job.parked_ms, since), args),
            State::Dead => (when(job.buried_ms, ago), Some(why)),
        };
        let mut cells = vec![job.id.clone(), time, job.attempts.to_string()];
        cells.extend(job.lane.clone());
        cells.extend(job.worker.as_deref().map(short));
        cells.push(
            job.task
                .clone()
                .unwrap_or_else(|| "(unreadable)".to_owned()),
        );
        cells.push(last.unwrap_or_default());
        cells.iter().map(|cell| clean(cell)).collect()
    };
    page.jobs.iter().map(row).collect()
}
