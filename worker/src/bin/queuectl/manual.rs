//! `queuectl completions` and `queuectl man`: made from the command line itself, so that they cannot differ from it.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

use crate::{Ending, Outcome};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  queuectl completions bash > /etc/bash_completion.d/queuectl\n  queuectl completions zsh > ~/.zfunc/_queuectl\n  queuectl completions fish > ~/.config/fish/completions/queuectl.fish"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  queuectl man | man -l -\n  queuectl man --dir /usr/local/share/man/man1"
)]
pub(crate) struct ManArgs {
    /// Write a page for each command into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs, mut command: Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "queuectl", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Ending::Done)
}

pub(crate) fn man(args: &ManArgs, command: Command) -> Outcome {
    if let Some(dir) = &args.dir {
        clap_mangen::generate_to(command, dir)
            .with_context(|| format!("write pages into {}", dir.display()))?;
        return Ok(Ending::Done);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(Ending::Done)
}
