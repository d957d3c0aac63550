//! `queuectl actions`.

use common::queue::actions::Action;

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, add, clean, text},
    time::{ago, clock},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many at most
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=5000))]
    limit: u16,

    /// Those before this one: the id at the end of the last page
    #[arg(long, value_name = "ID", value_parser = crate::cursor::action)]
    before: Option<String>,
}

pub(crate) async fn run(args: &Args, connection: &Connection, out: &Out) -> Outcome {
    let limit = usize::from(args.limit);
    let inspector = connection.inspector();
    let actions = inspector.actions(args.before.as_deref(), limit).await?;
    let now = connection.now_ms().await?;
    out.answer(&actions, || tell(&actions, limit, now, out))?;
    Ok(Ending::Done)
}

fn tell(actions: &[Action], limit: usize, now: u64, out: &Out) -> String {
    if actions.is_empty() {
        return "Nobody has changed anything by hand.".to_owned();
    }
    let columns = [text("WHEN"), text(""), text("BY"), text("DID"), text("TO")];
    let row = |action: &Action| {
        let cells = [
            clock(action.at_ms),
            ago(now, action.at_ms),
            action.by.clone(),
            action.did.clone(),
            action.of.clone(),
        ];
        cells.iter().map(|cell| clean(cell)).collect()
    };
    let mut told = out.table(&columns, actions.iter().map(row).collect());
    if let Some(last) = actions.last().filter(|_| actions.len() == limit) {
        let id = clean(&last.id);
        add(
            &mut told,
            format_args!("\n\nMore: queuectl actions --before {id}"),
        );
    }
    told
}
