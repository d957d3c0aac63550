//! `queuectl cancel`.

use std::time::Duration;

use common::queue::{JobId, Outcome, cancel::Cancel};
use serde::Serialize;

use crate::{
    Ending, Failure,
    connect::Connection,
    out::{Out, add, count},
    show::{tell_outcome, why_not},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Jobs in any state; one that is being run is dropped by its worker
    #[arg(required = true)]
    ids: Vec<JobId>,

    /// First the children that these masters have named and that have not ended
    #[arg(long)]
    children: bool,

    /// Wait until what is being run has ended, for so many seconds at most [default: 60]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    wait: Option<u64>,
}

#[derive(Serialize)]
struct Answer {
    id: JobId,
    /// `cancelled`, `asked`, `ended` or `nowhere`.
    state: &'static str,
    #[serde(skip)]
    told: String,
}

pub(crate) async fn run(args: &Args, connection: &Connection, out: &Out) -> crate::Outcome {
    let operator = connection.operator();
    let mut children = 0;
    if args.children {
        for id in &args.ids {
            children += operator.cancel_children(*id).await?;
        }
    }
    let answers = match args.wait {
        None => operator.cancel(&args.ids).await?,
        Some(seconds) => {
            let patience = Duration::from_secs(seconds);
            operator.cancel_and_wait(&args.ids, patience).await?
        }
    };
    let mut told = Vec::new();
    for (id, answer) in args.ids.iter().zip(answers) {
        told.push(tell(*id, answer, args, connection).await?);
    }
    let is_well = |answer: &Answer| match answer.state {
        "cancelled" => true,
        "asked" => args.wait.is_none(),
        "ended" => args.children, // as a master has that has named its children
        _ => false,
    };
    let ending = if told.iter().all(is_well) {
        Ending::Done
    } else {
        Ending::NotForAll
    };
    out.answer(&told, || {
        let mut text = String::new();
        if args.children {
            let children = count(children as u64, "child").replace("childs", "children");
            add(
                &mut text,
                format_args!("Cancelled {children}, or asked their workers.\n"),
            );
        }
        for answer in &told {
            add(&mut text, format_args!("{}.\n", answer.told));
        }
        text
    })?;
    Ok(ending)
}

async fn tell(
    id: JobId,
    answer: Cancel,
    args: &Args,
    connection: &Connection,
) -> Result<Answer, Failure> {
    let (state, told) = match answer {
        Cancel::Cancelled => ("cancelled", format!("Cancelled {id}")),
        Cancel::Asked if args.wait.is_some() => {
            let told = format!("{id} is still being run; its worker has been asked");
            ("asked", told)
        }
        Cancel::Asked => {
            let told = format!("Asked the worker that runs {id} (--wait waits for its end)");
            ("asked", told)
        }
        Cancel::Ended(Some(Outcome::Done(_))) => {
            ("ended", format!("Not cancelled: {id} was done before"))
        }
        Cancel::Ended(Some(outcome)) => {
            let how = tell_outcome(&outcome);
            (
                "ended",
                format!("Not cancelled: {id} had ended before: {how}"),
            )
        }
        Cancel::Ended(None) => {
            let inspector = connection.inspector();
            let why = why_not(id, &inspector.show(id).await?);
            ("ended", format!("Not cancelled: {why}"))
        }
        Cancel::Nowhere => {
            let told = format!("Not cancelled: {id} is in no place; see `queuectl audit`");
            ("nowhere", told)
        }
    };
    Ok(Answer { id, state, told })
}
