//! The ledger: a file in memory to which each execution of a job appends one record, by whatever language
//! it is written in. It costs every peer the same, about a microsecond, and Redis nothing.

use std::{
    collections::HashSet,
    fs::File,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::number::{count, float, whole};

/// How often to look.
const LOOK: Duration = Duration::from_millis(5);

/// One execution of a job. Times are microseconds of the machine's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Record {
    /// The job.
    pub(super) id: u64,
    /// When it was about to be enqueued.
    pub(super) sent: f64,
    /// When it ran.
    pub(super) ran: f64,
}

impl Record {
    /// Three 64-bit floats, which every language writes with ease.
    const BYTES: usize = 24;

    /// As it stands in the file.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (field, value) in bytes
            .chunks_mut(8)
            .zip([float(self.id), self.sent, self.ran])
        {
            field.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let field = |number: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[number * 8..][..8]);
            f64::from_le_bytes(field)
        };
        Self {
            id: whole(field(0)),
            sent: field(1),
            ran: field(2),
        }
    }
}

/// The ledger of one measurement. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Ledger {
    path: PathBuf,
    file: File,
    /// What was read and is not yet a whole record.
    rest: Vec<u8>,
    records: Vec<Record>,
    seen: HashSet<u64>,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Best effort: it is in a folder for temporary files.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Ledger {
    /// An empty one.
    pub(super) fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let path = folder.join(common::testing::unique("rhubarb-ledger-"));
        File::create(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self {
            file: File::open(&path)?,
            path,
            rest: Vec::new(),
            records: Vec::new(),
            seen: HashSet::new(),
        })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is new.
    fn look(&mut self) -> Result<()> {
        self.file
            .read_to_end(&mut self.rest)
            .context("read the ledger")?;
        let whole = self.rest.len() / Record::BYTES * Record::BYTES;
        for bytes in self.rest[..whole].chunks(Record::BYTES) {
            let record = Record::from_bytes(bytes);
            self.seen.insert(record.id);
            self.records.push(record);
        }
        self.rest.drain(..whole);
        Ok(())
    }

    /// Waits until so many jobs have run. Fails if no job runs for `patience`.
    pub(super) async fn reach(&mut self, jobs: u64, patience: Duration) -> Result<()> {
        let mut last = (0, Instant::now());
        loop {
            self.look()?;
            let distinct = self.distinct();
            if distinct >= jobs {
                return Ok(());
            }
            if distinct > last.0 {
                last = (distinct, Instant::now());
            }
            ensure!(
                last.1.elapsed() < patience,
                "{distinct} of {jobs} jobs ran, and none for {patience:?}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until some job has run so many times in all; tells whether it did within the time.
    pub(super) async fn runs(&mut self, runs: usize, within: Duration) -> Result<bool> {
        let begun = Instant::now();
        loop {
            self.look()?;
            if self.records.len() >= runs || begun.elapsed() >= within {
                return Ok(self.records.len() >= runs);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many jobs have run.
    pub(super) fn distinct(&self) -> u64 {
        count(self.seen.len())
    }

    /// How many runs there were beyond the first of a job, to the end of the file.
    pub(super) fn doubles(&mut self) -> Result<u64> {
        self.look()?;
        Ok(count(self.records.len()) - self.distinct())
    }

    /// The executions of these jobs.
    pub(super) fn of(&self, ids: Range<u64>) -> Vec<Record> {
        let records = self.records.iter();
        records
            .filter(|record| ids.contains(&record.id))
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, io::Write};

    use super::*;

    #[tokio::test]
    async fn a_ledger_tells_doubles_from_jobs_and_reads_no_half_record() {
        let mut ledger = Ledger::new().unwrap();
        let mut file = OpenOptions::new().append(true).open(ledger.path()).unwrap();
        let record = |id| Record {
            id,
            sent: 1.5,
            ran: 2.25,
        };
        for id in [7, 8, 7] {
            file.write_all(&record(id).to_bytes()).unwrap();
        }
        file.write_all(&record(9).to_bytes()[..10]).unwrap();
        ledger.reach(2, Duration::ZERO).await.unwrap();

        assert_eq!((ledger.distinct(), ledger.doubles().unwrap()), (2, 1));
        assert_eq!(ledger.of(8..100), [record(8)]);

        file.write_all(&record(9).to_bytes()[10..]).unwrap();
        ledger.reach(3, Duration::ZERO).await.unwrap();
        assert_eq!(ledger.of(9..10), [record(9)]);
        assert!(ledger.reach(4, Duration::ZERO).await.is_err());
    }
}
