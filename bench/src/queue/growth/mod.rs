//! What a job costs while others wait, are scheduled or dead: it must not grow with their number.
//!
//! [`scene`] is what is measured at one depth, [`plot`] draws the figures.

mod plot;
mod scene;

use std::{fmt::Write, path::PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::{How, figure::Figures, number::float, redis_side::RedisSide};

/// How many jobs wait, and how many others there are.
#[derive(Debug, Clone, Copy)]
struct Depth {
    waiting: u64,
    scheduled: u64,
    dead: u64,
}

/// The depths of the plot.
const DEPTHS: [Depth; 4] = [
    Depth::waiting(1_000),
    Depth::waiting(10_000),
    Depth::waiting(100_000),
    Depth::waiting(1_000_000),
];

/// Depths with others.
const OTHERS: [Depth; 2] = [
    Depth {
        scheduled: 100_000,
        ..Depth::waiting(10_000)
    },
    Depth {
        dead: 100_000,
        ..Depth::waiting(10_000)
    },
];

/// What to do with the figures.
#[derive(Debug, Clone, Args)]
pub(crate) struct GrowthOptions {
    /// Draw them, too
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "docs/growth.svg")]
    plot: Option<PathBuf>,

    /// A table for a document instead of one for the terminal
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

impl Depth {
    const fn waiting(waiting: u64) -> Self {
        Self {
            waiting,
            scheduled: 0,
            dead: 0,
        }
    }

    /// A figure's name at this depth.
    fn figure(self, name: &str) -> String {
        let Self {
            waiting,
            scheduled,
            dead,
        } = self;
        format!("growth.{waiting}_waiting_{scheduled}_scheduled_{dead}_dead.{name}")
    }

    /// Its name for people.
    fn name(self) -> String {
        let Self {
            waiting,
            scheduled,
            dead,
        } = self;
        let parts = [
            (waiting, "waiting"),
            (scheduled, "scheduled"),
            (dead, "dead"),
        ];
        let parts = parts.into_iter().filter(|(jobs, _)| *jobs > 0);
        let texts: Vec<_> = parts
            .map(|(jobs, state)| format!("{} {state}", plot::power(float(jobs))))
            .collect();
        texts.join(", ")
    }
}

/// Measures at each depth `how.runs()` times.
pub(crate) async fn measure(how: &How, figures: &mut Figures) -> Result<()> {
    let depths: Vec<_> = DEPTHS.into_iter().chain(OTHERS).collect();
    figures.expect_steps(1 + how.runs() * u32::try_from(depths.len())?);
    let redis = RedisSide::start(how.redis_url.as_deref()).await?;
    figures.begin("warm-up");
    scene::at(DEPTHS[0], &redis, &mut Figures::unseen()).await?;
    for run in 1..=how.runs() {
        for depth in &depths {
            figures.begin(format!("run {run} of {}: {}", how.runs(), depth.name()));
            scene::at(*depth, &redis, figures).await?;
        }
    }
    Ok(())
}

/// Prints the figures on standard output, and draws them if asked.
pub(crate) fn print(how: &How, options: &GrowthOptions, figures: &Figures) -> Result<()> {
    if options.markdown {
        figures.finish();
        print!("{}", markdown(figures));
    } else {
        figures.print(how.json);
    }
    if let Some(file) = &options.plot {
        let svg = plot::draw(figures)?;
        std::fs::write(file, svg).with_context(|| format!("write {}", file.display()))?;
        eprintln!("drawn: {}", file.display());
    }
    Ok(())
}

/// Figures in columns, depths in rows.
fn markdown(figures: &Figures) -> String {
    const COLUMNS: [(&str, &str); 8] = [
        ("enqueue_single.redis_cpu", "enqueue one, µs"),
        ("enqueue_bulk.redis_cpu", "in bulk, µs"),
        ("drain.redis_cpu", "drain, µs"),
        ("through.redis_cpu", "through, µs"),
        ("through.worker_cpu", "worker, through, µs"),
        ("through", "through, jobs/s"),
        ("status.redis_cpu", "status, µs/call"),
        ("care.redis_cpu", "care, µs/call"),
    ];
    let titles = COLUMNS.map(|(_, title)| title).join(" | ");
    let mut table = format!("| | {titles} |\n|---{}|\n", "|---".repeat(COLUMNS.len()));
    for depth in DEPTHS.into_iter().chain(OTHERS) {
        let cells = COLUMNS.map(|(figure, _)| {
            let cell = figures.cell(&depth.figure(figure));
            cell.unwrap_or_else(|| "–".to_owned())
        });
        let _ = writeln!(table, "| {} | {} |", depth.name(), cells.join(" | "));
    }
    table
}
