//! `queuectl tasks`.

use std::{collections::BTreeMap, time::Duration};

use common::queue::inspect::tasks::TaskTotals;

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, clean, number, numbers, text},
};

pub(crate) async fn run(connection: &Connection, out: &Out) -> Outcome {
    let tasks = connection.inspector().tasks().await?;
    out.answer(&tasks, || tell(&tasks, out))?;
    Ok(Ending::Done)
}

fn tell(tasks: &BTreeMap<String, TaskTotals>, out: &Out) -> String {
    if tasks.is_empty() {
        return "No worker has told of an attempt yet.".to_owned();
    }
    let columns = [
        numbers("DONE"),
        numbers("RETRIED"),
        numbers("DEAD"),
        numbers("CANCELLED"),
        numbers("EXPIRED"),
        numbers("RAN FOR"),
        text("TASK"),
    ];
    let row = |(task, of): (&String, &TaskTotals)| {
        let attempts = of.done + of.retried + of.buried + of.cancelled;
        vec![
            number(of.done),
            number(of.retried),
            number(of.buried),
            number(of.cancelled),
            number(of.expired),
            of.ran_us.checked_div(attempts).map_or(String::new(), short),
            clean(task),
        ]
    };
    let told = out.table(&columns, tasks.iter().map(row).collect());
    format!("{told}\n\nSince ever; an attempt ran for so long on average.")
}

/// `12.3 ms`, as an attempt took.
pub(crate) fn short(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", Duration::from_micros(us).as_secs_f64() * 1e3),
        _ => format!("{:.1} s", Duration::from_micros(us).as_secs_f64()),
    }
}
