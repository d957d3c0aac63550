//! Fan-out: how many copies a second reach all members in time, and how long a copy takes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    Options,
    crowd::{Crowd, Shape},
    load::{Step, step},
    site::Site,
};
use crate::{
    figure::Figures,
    number::{float, per_second},
};

/// A step is good if 99 % of the copies arrive within this.
const IN_TIME_US: u64 = 100_000;
/// A step that was nearly good is tried again: something else may have run meanwhile.
const TRIES: u32 = 2;
/// One that misses by more is not.
const FAR_US: u64 = 5 * IN_TIME_US;
/// The search ends when good and bad are so close.
const CLOSE: f64 = 1.1;
/// Beyond this, nothing is searched.
const MOST: f64 = 20e6;

/// The highest good load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Best {
    /// Copies a second.
    pub(super) copies: f64,
    /// Copies per second of CPU time of the servers and Redis.
    pub(super) by_cpu: f64,
}

/// Rooms to search the limit of.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    shape: Shape,
    /// Copies a second to begin with.
    from: f64,
}

/// 500 connections.
pub(super) const SMALL_ROOMS: Case = Case {
    name: "small_rooms",
    shape: Shape {
        rooms: 50,
        size: 10,
    },
    from: 64_000.0,
};

/// 1,000 connections.
pub(super) const BIG_ROOM: Case = Case {
    name: "big_room",
    shape: Shape {
        rooms: 1,
        size: 1000,
    },
    from: 1_024_000.0,
};

/// Finds the highest load that arrives whole and in time: doubles it until it does not, then halves the
/// distance.
pub(super) async fn search(
    site: &Site,
    case: &Case,
    options: &Options,
    figures: &mut Figures,
) -> Result<Best> {
    let time = Duration::from_secs_f64(options.seconds);
    let mut crowd = settled(site, case.shape).await?;
    let (mut good, mut bad, mut best) = (0.0, MOST, None::<Step>);
    let mut load = case.from;
    while load < bad {
        let mut why = None;
        for _ in 0..TRIES {
            figures.note(format!("{load:.0} copies/s"));
            let step = step(site, &mut crowd, load, time).await?;
            why = failure(&step);
            let p99 = step.delivery_us.value_at_quantile(0.99);
            let is_far = step.failure.is_some() || p99 > FAR_US;
            if let Some(why) = &why {
                figures.note(format!("{load:.0} copies/s: {why}"));
                // Whoever was cut off or is behind is no part of the next step.
                if !crowd.is_whole() {
                    drop(crowd);
                    crowd = settled(site, case.shape).await?;
                }
                if is_far {
                    break;
                }
            } else {
                good = load;
                best = Some(step);
                break;
            }
        }
        if why.is_some() {
            bad = load;
        }
        if bad / good < CLOSE {
            break;
        }
        load = if bad < MOST {
            f64::midpoint(good.max(bad / 8.0), bad)
        } else {
            load * 2.0
        };
        ensure!(
            load > 100.0,
            "not even {load:.0} copies a second arrive in time"
        );
    }
    let Some(best) = best else {
        anyhow::bail!("not even {:.0} copies a second arrive in time", case.from);
    };
    let name = |what: &str| site.side().figure(&format!("{}.{what}", case.name));
    figures.add(name("copies"), "copies/s", best.copies_per_second);
    figures.add(
        name("p99"),
        "ms",
        float(best.delivery_us.value_at_quantile(0.99)) / 1000.0,
    );
    let by_cpu = per_second(best.copies, best.cpu.system());
    figures.add(name("copies_per_cpu_second"), "copies", by_cpu);
    let generator = per_second(best.copies, best.cpu.generator);
    figures.add(name("copies_per_cpu_second.generator"), "copies", generator);
    Ok(Best {
        copies: best.copies_per_second,
        by_cpu,
    })
}

/// What a copy costs at one load in small rooms, by whom.
pub(super) async fn cost(
    site: &Site,
    load: u32,
    options: &Options,
    figures: &mut Figures,
) -> Result<()> {
    let time = Duration::from_secs_f64(options.seconds);
    let mut crowd = settled(site, SMALL_ROOMS.shape).await?;
    figures.note(format!("{load} copies/s"));
    let step = step(site, &mut crowd, f64::from(load), time).await?;
    if let Some(why) = &step.failure {
        figures.note(format!("{load} copies/s: {why}"));
    }
    for (what, micros) in step.cpu.micros_each(step.copies) {
        let name = site.side().figure(&format!("cost_at_{load}.{what}"));
        figures.add(name, "µs/copy", micros);
    }
    let p99 = float(step.delivery_us.value_at_quantile(0.99)) / 1000.0;
    let name = site.side().figure(&format!("cost_at_{load}.delivery.p99"));
    figures.add(name, "ms", p99);
    Ok(())
}

/// Latency at a light load and at a medium one, in small rooms.
pub(super) async fn latency(site: &Site, options: &Options, figures: &mut Figures) -> Result<()> {
    let time = Duration::from_secs_f64(options.seconds);
    let mut crowd = settled(site, SMALL_ROOMS.shape).await?;
    for (name, load) in [("at_1000", 1000.0), ("at_20000", 20_000.0)] {
        figures.note(format!("{load} copies/s"));
        let step = step(site, &mut crowd, load, time).await?;
        if let Some(why) = &step.failure {
            anyhow::bail!("at {load} copies a second: {why}");
        }
        for (what, histogram) in [("delivery", &step.delivery_us), ("ack", &step.ack_us)] {
            if what == "ack" && !site.side().answers() {
                continue;
            }
            for (quantile, value) in [("p50", 0.5), ("p99", 0.99)] {
                let micros = histogram.value_at_quantile(value);
                figures.add(
                    site.side().figure(&format!("{name}.{what}.{quantile}")),
                    "ms",
                    float(micros) / 1000.0,
                );
            }
        }
    }
    Ok(())
}

/// A crowd in fresh rooms, after the news of its own arrival has passed.
async fn settled(site: &Site, shape: Shape) -> Result<Crowd> {
    let crowd = Crowd::gather(site, shape, &common::testing::unique("load-")).await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    Ok(crowd)
}

/// Why a step was not good.
fn failure(step: &Step) -> Option<String> {
    let p99 = step.delivery_us.value_at_quantile(0.99);
    let late = || format!("p99 was {} ms", p99 / 1000);
    step.failure
        .clone()
        .or_else(|| (p99 > IN_TIME_US).then(late))
}
