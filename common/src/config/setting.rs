//! A setting as its flag defines it: names, default, unit, meaning. `docs/settings.md` is the list of all.

use std::fmt;

use clap::{Arg, ArgAction, Command};

/// The page that lists every setting of every process; each process's tests hold it against its flags.
const PAGE: &str = include_str!("../../../docs/settings.md");

/// A kind of process that reads settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// Serves the chat.
    Server,
    /// Runs the queues.
    Worker,
    /// Looks and mends.
    Queuectl,
}

impl Process {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Server, Self::Worker, Self::Queuectl];

    /// Its name, and that of its section in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Worker => "worker",
            Self::Queuectl => "queuectl",
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether an argument is a setting: one that the environment may set, too.
pub(super) fn is_setting(arg: &Arg) -> bool {
    arg.get_env().is_some() && arg.get_long().is_some()
}

/// Whether an argument's value may not be shown.
pub(super) fn is_secret(arg: &Arg) -> bool {
    arg.is_hide_env_values_set()
}

/// Whether an argument takes no value but is there or not.
pub(super) fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// All settings of a command and of those below it, each once.
pub(super) fn settings(command: &Command) -> Vec<&Arg> {
    let mut found: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| is_setting(arg))
        .collect();
    for below in command.get_subcommands() {
        for arg in settings(below) {
            if !found.iter().any(|known| known.get_long() == arg.get_long()) {
                found.push(arg);
            }
        }
    }
    found
}

/// Who reads a setting, by the page.
pub(super) fn readers(key: &str) -> Vec<Process> {
    let start = format!("| `--{key}` |");
    let row = PAGE.lines().find(|line| line.starts_with(&start));
    row.map(readers_of).unwrap_or_default()
}

fn readers_of(row: &str) -> Vec<Process> {
    let names = row.split(" | ").nth(5).unwrap_or_default();
    let reads = |process: &Process| names.split(", ").any(|name| name == process.name());
    Process::ALL.into_iter().filter(reads).collect()
}

/// The row of the page for a setting; who reads it is left open.
fn row(arg: &Arg) -> [String; 2] {
    let key = arg.get_long().unwrap_or_default();
    let env = arg.get_env().unwrap_or_default().to_string_lossy();
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|text| text.to_string_lossy())
        .collect();
    let default = match defaults.join(",") {
        text if is_switch(arg) => format!("`{}`", if text.is_empty() { "false" } else { &text }),
        text if !text.is_empty() => format!("`{text}`"),
        _ if arg.is_required_set() => "required".to_owned(),
        _ => "–".to_owned(),
    };
    let unit = match arg.get_value_names() {
        _ if is_switch(arg) => "true or false".to_owned(),
        Some(names) => names.join(" "),
        None => String::new(),
    };
    let possible: Vec<_> = arg
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    let unit = if possible.is_empty() || is_switch(arg) {
        unit
    } else {
        possible.join(" or ")
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.replace('\n', " ").replace('|', "\\|");
    [
        format!(
            "| `--{key}` | `{env}` | {} | {default} | {unit} | ",
            if key == "config" {
                "–".to_owned()
            } else {
                format!("`{key}`")
            }
        ),
        format!(" | {help} |"),
    ]
}

/// What is wrong with the page as far as one process goes: rows that it lacks, and rows that nothing stands behind.
///
/// # Errors
/// If anything is.
pub fn check_page(process: Process, command: &Command) -> Result<(), String> {
    let settings = settings(command);
    let mut wrong = Vec::new();
    for arg in &settings {
        let [start, end] = row(arg);
        let stands = PAGE.lines().any(|line| {
            line.starts_with(&start) && line.ends_with(&end) && readers_of(line).contains(&process)
        });
        if !stands {
            wrong.push(format!("it lacks: {start}{process}{end}"));
        }
    }
    for line in PAGE.lines().filter(|line| line.starts_with("| `--")) {
        let key = line.trim_start_matches("| `--").split('`').next();
        let is_known = settings.iter().any(|arg| arg.get_long() == key);
        if readers_of(line).contains(&process) && !is_known {
            wrong.push(format!("{process} does not read: {line}"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("docs/settings.md:\n{}", wrong.join("\n")))
    }
}
