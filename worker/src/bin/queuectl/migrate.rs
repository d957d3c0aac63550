//! `queuectl migrate`.

use common::pg;
use serde::Serialize;

use crate::{
    Ending, Outcome,
    out::{Out, count},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of Postgres, e.g. `postgres://user:password@127.0.0.1:5432/rhubarb`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
}

#[derive(Serialize)]
struct Migrated {
    ran: Vec<String>,
}

pub(crate) async fn run(args: &Args, out: &Out) -> Outcome {
    let ran = pg::migrate(&args.database_url).await?;
    let migrated = Migrated { ran };
    out.answer(&migrated, || match migrated.ran.len() as u64 {
        0 => "The database is up to date.".to_owned(),
        n => format!(
            "Ran {}: {}.",
            count(n, "migration"),
            migrated.ran.join(", ")
        ),
    })?;
    Ok(Ending::Done)
}
