//! `queuectl lanes`.

use common::queue::inspect::lanes::LaneStatus;

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, add, clean, number, numbers, text},
    time::span,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many at most
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=5000))]
    limit: u16,

    /// Pass over so many
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = crate::cursor::after)]
    after: usize,
}

pub(crate) async fn run(args: Args, connection: &Connection, out: &Out) -> Outcome {
    let inspector = connection.inspector();
    let limit = usize::from(args.limit);
    let lanes = inspector.lanes(args.after, limit).await?;
    out.answer(&lanes, || tell(&lanes, args.after, limit, out))?;
    Ok(Ending::Done)
}

fn tell(lanes: &[LaneStatus], after: usize, limit: usize, out: &Out) -> String {
    if lanes.is_empty() {
        let more = if after > 0 { " more" } else { "" };
        return format!("No{more} lane has jobs in line or in flight.");
    }
    let columns = [
        numbers("IN LINE"),
        numbers("IN FLIGHT"),
        numbers("WIDTH"),
        text("RATE"),
        text("LANE"),
    ];
    let row = |lane: &LaneStatus| {
        vec![
            number(lane.waiting),
            number(lane.in_flight),
            number(lane.width),
            rate(lane).unwrap_or_default(),
            clean(&lane.lane),
        ]
    };
    let mut told = out.table(&columns, lanes.iter().map(row).collect());
    if lanes.len() == limit {
        let next = after + limit;
        add(
            &mut told,
            format_args!("\n\nMore: queuectl lanes --after {next}"),
        );
    }
    told
}

fn rate(lane: &LaneStatus) -> Option<String> {
    let rate = lane.rate?;
    let (jobs, period) = (number(rate.jobs), span(rate.period_ms));
    Some(match rate.burst {
        1 => format!("{jobs} in {period}"),
        burst => format!("{jobs} in {period}, {} in one go", number(burst)),
    })
}

/// A lane, in one line.
pub(crate) fn tell_lane(lane: &LaneStatus) -> String {
    let mut told = format!(
        "{}: {} of {} in flight, {} in line",
        lane.lane,
        number(lane.in_flight),
        number(lane.width),
        number(lane.waiting)
    );
    if let Some(rate) = rate(lane) {
        add(&mut told, format_args!("; {rate}"));
    }
    told
}
