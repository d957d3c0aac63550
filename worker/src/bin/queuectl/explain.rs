//! `queuectl explain`.

use common::queue::{JobId, inspect::explain::Reason};

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, clean},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  queuectl explain default-17")]
pub(crate) struct Args {
    /// The job's id, such as default-17
    id: JobId,
}

pub(crate) async fn run(args: &Args, connection: &Connection, out: &Out) -> Outcome {
    let inspector = connection.inspector();
    let explanation = inspector.explain(args.id).await?;
    out.answer(&explanation, || {
        let text = format!("{}: {}", args.id, explanation.text);
        let mut told = out.wrap(&clean(&text), 0);
        if let Some(advice) = &explanation.advice {
            told.push('\n');
            told.push_str(&out.wrap(&clean(advice), 0));
        }
        told
    })?;
    Ok(match explanation.reason {
        Reason::Never { .. } => Ending::NotForAll,
        _ => Ending::Done,
    })
}
