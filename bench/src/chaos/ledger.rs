//! The ledger: what happened, told by those who did it, outside the Redis that is under test.
//!
//! Each process has a file of its own and appends whole lines by plain write(2). What was written is in
//! the kernel's hands: killing the process loses nothing of it. The last line of a killed process may be
//! cut short: it tells of a step that had not been taken yet, and is passed over.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    str::FromStr,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::machine::now_ns;

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    /// The process that breaks things and checks.
    Driver,
    /// Enqueues.
    Producer,
    /// Runs jobs.
    Worker,
    /// Serves the chat.
    Server,
    /// One connection of one client of the chat; its lives are its connections.
    Client,
}

/// One life of one process: `w3.17` is the 17th worker in place 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Who {
    /// What it is for.
    pub(crate) role: Role,
    /// Its place, which its successors inherit.
    pub(crate) slot: u16,
    /// Which of them it is.
    pub(crate) life: u32,
}

impl Who {
    /// The driver.
    pub(crate) const DRIVER: Self = Self {
        role: Role::Driver,
        slot: 0,
        life: 0,
    };
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Driver => 'd',
            Role::Producer => 'p',
            Role::Worker => 'w',
            Role::Server => 's',
            Role::Client => 'c',
        };
        write!(f, "{role}{}.{}", self.slot, self.life)
    }
}

impl FromStr for Who {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let role = match text.as_bytes().first() {
            Some(b'd') => Role::Driver,
            Some(b'p') => Role::Producer,
            Some(b'w') => Role::Worker,
            Some(b's') => Role::Server,
            Some(b'c') => Role::Client,
            _ => bail!("`{text}` is no process of this run"),
        };
        let (slot, life) = text[1..].split_once('.').context("a place and a life")?;
        Ok(Self {
            role,
            slot: slot.parse()?,
            life: life.parse()?,
        })
    }
}

impl Serialize for Who {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line<E> {
    /// When: nanoseconds of the machine's monotonic clock, the same for all processes.
    pub(crate) t: u64,
    /// To whom, or by whom.
    pub(crate) who: Who,
    /// What.
    pub(crate) event: E,
}

/// A file of the ledger, open for one process.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: File,
    who: Who,
}

impl Ledger {
    /// Opens the file of one process in `folder`.
    pub(crate) fn open(folder: &Path, who: Who) -> Result<Self> {
        let path = folder.join(format!("{who}.ledger"));
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        Ok(Self { file, who })
    }

    /// Notes what this process does, now.
    pub(crate) fn note(&self, event: &impl Serialize) {
        self.note_of(self.who, event);
    }

    /// Notes what happened to another process, now.
    ///
    /// # Panics
    /// If the file cannot be written: a run without its ledger proves nothing.
    pub(crate) fn note_of(&self, who: Who, event: &impl Serialize) {
        let t = now_ns();
        let mut line = serde_json::to_vec(&Line { t, who, event }).unwrap_or_default();
        line.push(b'\n');
        // One write of one line: appended as a whole, whoever else writes.
        if let Err(error) = (&self.file).write_all(&line) {
            panic!("write the ledger: {error}");
        }
    }
}

/// All that was noted in `folder`, in the order of time.
pub(crate) fn read<E: DeserializeOwned>(folder: &Path) -> Result<Vec<Line<E>>> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).context("look at the ledger")? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "ledger") {
            continue;
        }
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        for line in whole_lines(&text) {
            let line = serde_json::from_slice(line)
                .with_context(|| format!("understand {}", path.display()))?;
            lines.push(line);
        }
    }
    lines.sort_by_key(|line: &Line<E>| line.t);
    Ok(lines)
}

/// The lines that end: the last may have been cut short.
fn whole_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = text.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    text[..end]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_as_it_is_written() {
        for text in ["w3.17", "p0.1", "d0.0", "s1.2", "c20.3"] {
            assert_eq!(text.parse::<Who>().unwrap().to_string(), text);
        }
        assert!("x1.1".parse::<Who>().is_err());
    }

    #[test]
    fn a_line_that_was_cut_short_is_passed_over() {
        let lines: Vec<_> = whole_lines(b"{1}\n{2}\n{3").collect();

        assert_eq!(lines, [b"{1}", b"{2}"]);
        assert_eq!(whole_lines(b"{1").count(), 0);
    }
}
