//! Rhubarb beside other queues on Redis: all measured by one driver, in one run, step by step in turn.
//!
//! [`peer`] says who there is and how its worker and its producer are started; the programs are in
//! `bench/peers`, and [`own`] is Rhubarb's. Each job appends a record to a file, the [`ledger`], and all
//! that is said about executions is read from there: each id once, when, and how late. [`stage`] is what
//! one measurement needs, [`steps`] are the measurements, [`crash`] is the question how soon the job of a
//! killed worker runs again. [`table`] shows the figures side by side.

mod crash;
mod ledger;
mod own;
mod peer;
mod program;
mod stage;
mod steps;
mod table;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::figure::Figures;

pub(crate) use own::{be_producer, be_worker};
use peer::Peer;
use steps::{Bench, Step};

/// What to measure, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Only these, with commas between [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PEERS")]
    only: Vec<Peer>,

    /// How often to measure; the median and the range are shown
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,

    /// About how long each measurement takes
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = crate::chat::seconds)]
    seconds: f64,

    /// Shorter measurements and no crash: to see that all works
    #[arg(long)]
    quick: bool,

    /// Where `bench/peers/install.sh` has put the others
    #[arg(long, default_value = ".rhubarb/peers", value_name = "FOLDER")]
    folder: PathBuf,

    /// A table for a document instead of one for the terminal
    #[arg(long)]
    markdown: bool,

    /// One JSON object a line for each figure, instead of a table
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
}

impl Options {
    fn seconds(&self) -> f64 {
        if self.quick { 1.0 } else { self.seconds }
    }

    fn peers(&self) -> &[Peer] {
        if self.only.is_empty() {
            Peer::value_variants()
        } else {
            &self.only
        }
    }
}

/// Measures all peers `options.runs` times.
pub(crate) async fn measure(options: &Options, figures: &mut Figures) -> Result<()> {
    let folder = std::path::absolute(&options.folder)?;
    let peers = options.peers();
    for peer in peers {
        ensure!(
            peer.is_installed(&folder),
            "{} is not in {}: run bench/peers/install.sh {}",
            peer.name(),
            folder.display(),
            options.folder.display()
        );
    }
    let steps = u32::try_from(peers.len() * Step::ALL.len())?;
    figures.expect_steps(u32::try_from(peers.len())? + options.runs * steps + 1);
    let bench = Bench {
        folder,
        seconds: options.seconds(),
    };

    // The warm-up also tells how many jobs last for the time asked.
    let mut jobs = Vec::new();
    for peer in peers {
        figures.begin(format!("warm-up: {}", peer.name()));
        jobs.push(bench.jobs_that_last(*peer).await?);
    }
    for run in 1..=options.runs {
        for step in Step::ALL {
            for (peer, jobs) in peers.iter().zip(&jobs) {
                let name = peer.name();
                figures.begin(format!("run {run} of {}: {name}, {step}", options.runs));
                match step {
                    Step::Single => bench.single(*peer, figures).await?,
                    Step::BulkAndDrain => bench.bulk_and_drain(*peer, *jobs, figures).await?,
                    Step::Both => bench.both(*peer, *jobs, figures).await?,
                    Step::Pickup => bench.pickup(*peer, figures).await?,
                }
            }
        }
    }
    if !options.quick {
        figures.begin("a killed worker's job");
        crash::measure(&bench.folder, peers, options.runs, figures).await?;
    }
    Ok(())
}

/// Prints the figures on standard output.
pub(crate) fn print(options: &Options, figures: &Figures) {
    if options.markdown {
        figures.finish();
        let table = table::markdown(options.peers(), figures);
        let with = table::circumstances(&options.folder, options.runs, options.seconds());
        println!("{table}\n{with}");
    } else {
        figures.print(options.json);
    }
}
