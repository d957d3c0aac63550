//! Reading the settings of a process: flag before environment before file before default.

use std::{env, ffi::OsString, path::PathBuf};

use clap::{
    Arg, ArgMatches, Command, CommandFactory, FromArgMatches, error::ErrorKind, parser::ValueSource,
};

use super::{
    file::{self, File},
    secret::masked,
    setting::{Process, is_secret, is_switch, settings},
};

/// What a process was given.
#[derive(Debug)]
pub struct Given {
    /// As clap gives it.
    pub matches: ArgMatches,
    /// Every setting, its value, and where that comes from.
    pub values: Vec<Value>,
    /// What is doubtful: for the log, once there is one.
    pub warnings: Vec<String>,
}

/// A setting's value as it may be shown.
#[derive(Debug, PartialEq, Eq)]
pub struct Value {
    /// The setting.
    pub key: String,
    /// Its value, without secrets.
    pub shown: String,
    /// Where it comes from.
    pub source: String,
}

/// Reads the settings of this process; ends it if they are not right.
pub fn parse<T: CommandFactory + FromArgMatches>(process: Process) -> (T, Given) {
    let given = load(process, T::command(), env::args_os(), |name| {
        env::var_os(name)
    });
    let given = given.unwrap_or_else(|error| error.exit());
    let args = T::from_arg_matches(&given.matches);
    (args.unwrap_or_else(|error| error.exit()), given)
}

/// Reads settings from these arguments, this environment and the file that they name. (clap has read the
/// environment itself; `environment` says what else is in it.)
///
/// # Errors
/// If they are not right, or help was asked for.
pub fn load(
    process: Process,
    command: Command,
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Given, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = command;
    let named = config_flag(&arguments)
        .or_else(|| environment("RHUBARB_CONFIG"))
        .filter(|path| !path.is_empty());
    let told = match named {
        Some(path) => file::read(&PathBuf::from(path), process, &command),
        None => Ok(File::default()),
    };
    let told = told.map_err(|why| command.error(ErrorKind::ValueValidation, why))?;
    let mut defaults: Vec<(String, Vec<String>, String)> = told
        .entries
        .into_iter()
        .map(|entry| (entry.key, entry.values, entry.place))
        .collect();
    let files = secret_files(&command, &environment);
    let files = files.map_err(|why| command.error(ErrorKind::ValueValidation, why))?;
    for (key, value, source) in files {
        defaults.retain(|(other, ..)| *other != key);
        defaults.push((key, vec![value], source));
    }
    let with_default = |arg: Arg| {
        let known = defaults
            .iter()
            .find(|(key, ..)| arg.get_long() == Some(key));
        known.map_or(arg.clone(), |(_, values, _)| give(arg, values))
    };
    command = command.mut_args(with_default);
    command = command.mut_subcommands(|below| below.mut_args(with_default));
    // Only now: what is empty in the environment is a setting all the same, which a file may set.
    let mut asked = command
        .clone()
        .mut_args(|arg| without_empty(arg, &environment));
    asked = asked.mut_subcommands(|below| below.mut_args(|arg| without_empty(arg, &environment)));
    let matches = asked.try_get_matches_from_mut(arguments)?;
    let values = values(&command, &matches, &defaults);
    Ok(Given {
        matches,
        values,
        warnings: told.warning.into_iter().collect(),
    })
}

/// As .env files have it: a name without a value is not set.
fn without_empty(arg: Arg, environment: &impl Fn(&str) -> Option<OsString>) -> Arg {
    let name = arg
        .get_env()
        .map(|name| name.to_string_lossy().into_owned());
    let is_empty = name
        .and_then(|name| environment(&name))
        .is_some_and(|value| value.is_empty());
    if is_empty { arg.env(None) } else { arg }
}

/// The value of `--config`, which must be known before the others are read.
fn config_flag(arguments: &[OsString]) -> Option<OsString> {
    let mut arguments = arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy();
        if text == "--" {
            return None;
        }
        if text == "--config" {
            return arguments.next().cloned();
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(path.into());
        }
    }
    None
}

/// Secrets that are in files of their own: `<NAME>_FILE` names the file, as containers and systemd give secrets.
fn secret_files(
    command: &Command,
    environment: &impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<(String, String, String)>, String> {
    let mut found = Vec::new();
    for arg in settings(command).into_iter().filter(|arg| is_secret(arg)) {
        let name = arg.get_env().unwrap_or_default().to_string_lossy();
        let variable = format!("{name}_FILE");
        let Some(path) = environment(&variable).filter(|path| !path.is_empty()) else {
            continue;
        };
        if environment(&name).is_some_and(|value| !value.is_empty()) {
            return Err(format!(
                "{name} and {variable} are both set; give one of them"
            ));
        }
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{variable}: read {}: {error}", path.display()))?;
        let key = arg.get_long().unwrap_or_default().to_owned();
        found.push((
            key,
            text.trim_end_matches(['\r', '\n']).to_owned(),
            format!("environment ({variable})"),
        ));
    }
    Ok(found)
}

/// Makes these the values that an argument has if neither flag nor environment give others.
fn give(arg: Arg, values: &[String]) -> Arg {
    // clap wants them for ever; they are read once.
    let values: Vec<&'static str> = values.iter().map(|value| &*value.clone().leak()).collect();
    let hide = is_secret(&arg);
    arg.required(false)
        .default_values(values)
        .hide_default_value(hide)
}

/// The values as they may be shown.
fn values(
    command: &Command,
    matches: &ArgMatches,
    defaults: &[(String, Vec<String>, String)],
) -> Vec<Value> {
    let mut values = Vec::new();
    for arg in command
        .get_arguments()
        .filter(|arg| super::setting::is_setting(arg))
    {
        let (id, key) = (arg.get_id().as_str(), arg.get_long().unwrap_or_default());
        let text = if is_switch(arg) {
            matches.get_flag(id).to_string()
        } else {
            let raw = matches.get_raw(id).into_iter().flatten();
            raw.map(|value| value.to_string_lossy())
                .collect::<Vec<_>>()
                .join(",")
        };
        let env = arg.get_env().unwrap_or_default().to_string_lossy();
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => format!("flag (--{key})"),
            Some(ValueSource::EnvVariable) => format!("environment ({env})"),
            Some(_) => match defaults.iter().find(|(name, ..)| name == key) {
                Some((.., place)) => place.clone(),
                None => "default".to_owned(),
            },
            None => "not set".to_owned(),
        };
        let shown = if is_secret(arg) && !text.is_empty() {
            masked(&text)
        } else if text.is_empty() {
            "–".to_owned()
        } else {
            text
        };
        values.push(Value {
            key: key.to_owned(),
            shown,
            source,
        });
    }
    values
}

#[cfg(test)]
#[path = "load_test.rs"]
mod tests;
