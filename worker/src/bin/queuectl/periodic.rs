//! `queuectl periodic`.

use common::queue::{
    operate::Operator,
    periodic::entries::{Change, Changed, Entries, Entry, List},
};
use serde::Serialize;

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Column, Out, add, clean, number, numbers, text},
    time::{ago, clock, since, until},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List them: what, when, the last tick and the next (as without a command)
    List,
    /// Pass over the ticks of one from now on
    Pause {
        /// Its name
        name: String,
    },
    /// No longer pass over its ticks
    Resume {
        /// Its name
        name: String,
    },
    /// Forget one that no worker knows any more
    Forget {
        /// Its name
        name: String,
    },
}

pub(crate) async fn run(args: &Args, connection: &Connection, out: &Out) -> Outcome {
    let entries = Entries::new(connection.redis.clone(), connection.keys.clone());
    let (name, verb) = match args.command.as_ref().unwrap_or(&Command::List) {
        Command::List => {
            let list = entries.list().await?;
            out.answer(&list, || tell(&list, out))?;
            return Ok(Ending::Done);
        }
        Command::Pause { name } => (name, Change::Pause),
        Command::Resume { name } => (name, Change::Resume),
        Command::Forget { name } => (name, Change::Forget),
    };
    let operator = Operator::new(connection.redis.clone(), connection.keys.clone());
    let changed = operator.change_periodic(name, verb).await?;
    let answer = Answer { name, changed };
    out.answer(&answer, || tell_change(name, verb, changed))?;
    Ok(match changed {
        Changed::Done | Changed::Already => Ending::Done,
        Changed::InUse | Changed::Unknown => Ending::NotForAll,
    })
}

#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    changed: Changed,
}

fn tell_change(name: &str, verb: Change, changed: Changed) -> String {
    match (changed, verb) {
        (Changed::Done, Change::Pause) => {
            format!("Paused {name}: its ticks are passed over until `queuectl periodic resume`.")
        }
        (Changed::Done, Change::Resume) => format!("Resumed {name}."),
        (Changed::Done, Change::Forget) => format!("Forgot {name}."),
        (Changed::Already, Change::Pause) => format!("{name} is paused already."),
        (Changed::Already, _) => format!("{name} is not paused."),
        (Changed::InUse, _) => {
            format!(
                "A worker knows {name} and would bring it back: take it out of the workers first."
            )
        }
        (Changed::Unknown, _) => format!("No periodic task has the name {name}."),
    }
}

fn tell(list: &List, out: &Out) -> String {
    if list.entries.is_empty() {
        return "No worker has told of a periodic task.".to_owned();
    }
    let columns: [Column; 8] = [
        text("NAME"),
        text("WHEN"),
        text("ZONE"),
        text("LAST"),
        text("NEXT"),
        numbers("JOBS"),
        text("TASK"),
        text("QUEUE"),
    ];
    let rows = list.entries.iter().map(|entry| row(entry, list.now_ms));
    let mut told = out.table(&columns, rows.collect());
    for entry in list.entries.iter().filter(|entry| entry.orphaned) {
        let (name, silent) = (clean(&entry.name), since(list.now_ms, entry.vouched_ms));
        let remark = format!(
            "No worker has known {name} for {silent}. If it is gone for good: queuectl periodic forget {name}"
        );
        add(&mut told, format_args!("\n\n{}", out.wrap(&remark, 0)));
    }
    told
}

fn row(entry: &Entry, now: u64) -> Vec<String> {
    let definition = entry.definition.as_ref();
    let next = match entry.next_ms {
        _ if entry.paused => "paused".to_owned(),
        _ if entry.orphaned => "no worker".to_owned(),
        Some(next) => format!("{}, {}", until(now, next), clock(next)),
        None => String::new(),
    };
    let cells = [
        entry.name.clone(),
        definition.map_or("(unreadable)".to_owned(), |it| it.timetable.to_string()),
        definition
            .and_then(|it| it.timetable.zone())
            .unwrap_or("")
            .to_owned(),
        entry.last_ms.map(|last| ago(now, last)).unwrap_or_default(),
        next,
        number(entry.enqueued),
        definition.map(|it| it.task.clone()).unwrap_or_default(),
        definition
            .map(|it| it.queue.to_string())
            .unwrap_or_default(),
    ];
    cells.iter().map(|cell| clean(cell)).collect()
}
