//! `queuectl migrate`.

use anyhow::Context;
use common::pg;
use serde::Serialize;

use crate::{
    Ending, Outcome,
    out::{Out, count},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of Postgres, e.g. `postgres://user:password@127.0.0.1:5432/rhubarb`; for TLS with
    /// `?sslmode=verify-full&sslrootcert=FILE`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: common::config::Secret,
}

#[derive(Serialize)]
struct Migrated {
    ran: Vec<String>,
}

pub(crate) async fn run(args: &Args, out: &Out) -> Outcome {
    let ran = pg::migrate(&args.database_url).await.with_context(|| {
        let server = server(&args.database_url);
        format!("cannot bring the database at {server} up to date (--database-url, DATABASE_URL)")
    })?;
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

/// Host, port and database of an address, without user and password.
fn server(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://u:p@ss@h:5432/db?x=p",
            "postgres://h:5432/db",
            "h:5432/db",
        ] {
            assert_eq!(server(url), "h:5432/db");
        }
    }
}
