//! Settings in a file: TOML whose keys are the long names of flags, for all processes or in a section of one.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use clap::{
    Arg, ArgAction, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::setting::{Process, is_secret, is_switch, readers, settings};

/// What a file says of one setting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) values: Vec<String>,
    /// Where it says so, e.g. `/etc/rhubarb.toml:12`.
    pub(super) place: String,
}

/// What a file says of a process's settings, and what is doubtful about it.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) entries: Vec<Entry>,
    pub(super) warning: Option<String>,
}

/// Reads a file.
///
/// # Errors
/// If it cannot be read, or says what is not allowed: where, what, and what would be.
pub(super) fn read(path: &Path, process: Process, command: &Command) -> Result<File, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
    let reader = Reader {
        text: &text,
        name: name.to_string(),
        process,
        settings: settings(command),
    };
    let entries = reader.entries()?;
    let secret = |entry: &&Entry| reader.setting(&entry.key).is_some_and(is_secret);
    let warning = entries.iter().find(secret).and_then(|entry| {
        let mode = fs::metadata(path).ok()?.permissions().mode();
        (mode & 0o004 != 0).then(|| {
            format!(
                "{name} holds a secret ({}) and everybody may read it: chmod 600 {name}",
                entry.key
            )
        })
    });
    Ok(File { entries, warning })
}

struct Reader<'a> {
    text: &'a str,
    name: String,
    process: Process,
    settings: Vec<&'a Arg>,
}

impl Reader<'_> {
    fn entries(&self) -> Result<Vec<Entry>, String> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.refusal(at, &error.message().replace('\n', ", "))
        })?;
        let mut entries = Vec::new();
        let mut sections = Vec::new();
        for (key, value) in table.get_ref() {
            match value.get_ref() {
                DeValue::Table(section) => sections.push((key, section)),
                _ => self.entry(key, value, None, &mut entries)?,
            }
        }
        for (name, section) in sections {
            let process = Process::ALL
                .into_iter()
                .find(|process| process.name() == name.get_ref());
            let process = process.ok_or_else(|| {
                let what = format!(
                    "[{}] is no section; there are [server], [worker] and [queuectl]",
                    name.get_ref()
                );
                self.refusal(name.span().start, &what)
            })?;
            for (key, value) in section {
                self.entry(key, value, Some(process), &mut entries)?;
            }
        }
        Ok(entries)
    }

    /// Takes what is said of one setting, in a process's section or for all. What only others read is theirs.
    fn entry(
        &self,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        section: Option<Process>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), String> {
        let at = key.span().start;
        let name: &str = key.get_ref().as_ref();
        let is_own = section.is_none_or(|section| section == self.process);
        let setting = self.setting(name).filter(|_| is_own && name != "config");
        let Some(arg) = setting else {
            let readers = readers(name);
            let read_elsewhere = match section {
                Some(section) => readers.contains(&section),
                None => !readers.is_empty() && !readers.contains(&self.process),
            };
            if name != "config" && read_elsewhere && !(is_own && section.is_some()) {
                return Ok(());
            }
            return Err(self.refusal(at, &self.unknown(name, section)));
        };
        let values = Self::values(arg, value.get_ref()).map_err(|why| self.refusal(at, &why))?;
        let entry = Entry {
            key: name.to_owned(),
            values,
            place: format!("{}:{}", self.name, self.line(at)),
        };
        // A section comes later, and counts more than what is said for all.
        entries.retain(|other: &Entry| other.key != name);
        entries.push(entry);
        Ok(())
    }

    fn setting(&self, key: &str) -> Option<&Arg> {
        self.settings
            .iter()
            .copied()
            .find(|arg| arg.get_long() == Some(key))
    }

    fn unknown(&self, key: &str, section: Option<Process>) -> String {
        let dashed = key.replace('_', "-");
        let known = |key: &str| self.setting(key).is_some() || !readers(key).is_empty();
        let hint = if dashed != key && known(&dashed) {
            format!("; write {dashed}")
        } else if known(key) && key != "config" {
            let names: Vec<_> = readers(key).into_iter().map(Process::name).collect();
            format!(" of this section; it is one of {}", names.join(", "))
        } else {
            "; keys are the long names of flags, see docs/settings.md".to_owned()
        };
        let place = section.map_or(String::new(), |section| format!("[{section}] "));
        format!("{place}{key} is no setting{hint}")
    }

    /// The values as the flag would get them.
    fn values(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
        let key = arg.get_long().unwrap_or_default();
        let scalar = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            _ => None,
        };
        let values = match value {
            DeValue::Boolean(value) if is_switch(arg) => return Ok(vec![value.to_string()]),
            _ if is_switch(arg) => return Err(format!("{key} is true or false")),
            DeValue::Array(items) if arg.get_value_delimiter().is_some() => {
                items.iter().map(|item| scalar(item.get_ref())).collect()
            }
            value => scalar(value).map(|value| vec![value]),
        };
        let wanted = if arg.get_value_delimiter().is_some() {
            "a text, or a list of texts"
        } else {
            "one text or number"
        };
        let values: Vec<String> = values.ok_or_else(|| format!("{key} is {wanted}"))?;
        match refused(arg, &values) {
            None => Ok(values),
            Some(why) if is_secret(arg) => Err(format!("{key}: {why}")),
            Some(why) => Err(format!("{key} = {}: {why}", values.join(","))),
        }
    }

    fn line(&self, at: usize) -> usize {
        self.text
            .get(..at)
            .unwrap_or_default()
            .matches('\n')
            .count()
            + 1
    }

    fn refusal(&self, at: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.name, self.line(at))
    }
}

/// Why a setting does not take these values, if it does not: what its flag would say.
fn refused(arg: &Arg, values: &[String]) -> Option<String> {
    let lone = Arg::new("value")
        .long("value")
        .action(ArgAction::Append)
        .value_parser(arg.get_value_parser().clone());
    let words = values.iter().map(|value| format!("--value={value}"));
    let command = Command::new("file").no_binary_name(true).arg(lone);
    let error = command.try_get_matches_from(words).err()?;
    let allowed = match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(values)) => Some(values.join(", ")),
        _ => None,
    };
    Some(
        match (error.kind(), allowed, std::error::Error::source(&error)) {
            (ErrorKind::InvalidValue, Some(allowed), _) if !allowed.is_empty() => {
                format!("one of {allowed} is expected")
            }
            (_, _, Some(why)) => why.to_string(),
            _ => "a value is expected".to_owned(),
        },
    )
}
