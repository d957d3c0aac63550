//! An attempt: a suite from a seed to its verdict, and how to have the same again.

use std::path::Path;

use anyhow::{Context, Result};

/// Attempts a suite with this seed, or any; its notes go into a folder, which stays if the attempt fails or is to be
/// kept. `command` is what a seed's attempt is repeated by.
pub(super) async fn attempt(
    seed: Option<u64>,
    keep: bool,
    notes: &str,
    command: impl Fn(u64) -> String,
    suite: impl AsyncFnOnce(u64, &Path) -> Result<()>,
) -> Result<()> {
    // Short, so that it can be read out; any number will do.
    let drawn = || u64::from(std::process::id()) ^ (crate::machine::now_ns() % 1_000_000_007);
    let seed = seed.unwrap_or_else(drawn);
    eprintln!("seed {seed}; again: {}", command(seed));
    let folder = std::env::temp_dir().join(common::testing::unique("rhubarb-chaos-"));
    std::fs::create_dir_all(&folder).with_context(|| format!("make a folder for the {notes}"))?;

    let outcome = suite(seed, &folder).await;
    if outcome.is_ok() && !keep {
        let _ = std::fs::remove_dir_all(&folder);
    } else {
        eprintln!("the {notes} and the logs are in {}", folder.display());
        eprintln!("again: {}", command(seed));
    }
    outcome
}
