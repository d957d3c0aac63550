//! Idle connections: how fast they come, and what each costs a server.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{
    Options,
    crowd::{Crowd, Shape},
    site::Site,
};
use crate::{
    figure::Figures,
    number::{float, length, per_second},
};

/// Members of a room.
const SIZE: usize = 10;

/// Connects clients that join rooms of ten and then do nothing. To be done with fresh servers. Gives how many
/// came in a second.
pub(super) async fn measure(site: &Site, options: &Options, figures: &mut Figures) -> Result<f64> {
    let gather = |rooms: usize| {
        let shape = Shape { rooms, size: SIZE };
        async move { Crowd::gather(site, shape, &common::testing::unique("idle-")).await }
    };
    // The first connections pay for what all share.
    drop(gather(10).await?);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let rooms = length(u64::from(options.connections)) / SIZE;
    let connections = crate::number::count(rooms * SIZE);
    let cpu_before = site.cpu().await?;
    let (before, begun) = (site.memory()?, Instant::now());
    let crowd = gather(rooms).await?;
    let connects = per_second(connections, begun.elapsed());
    figures.add(site.side().figure("connects"), "per second", connects);
    let cpu = site.cpu().await?.since(&cpu_before);
    for (what, micros) in cpu.micros_each(connections) {
        let name = site.side().figure(&format!("cost_of_connect.{what}"));
        figures.add(name, "µs", micros);
    }

    tokio::time::sleep(Duration::from_secs(3)).await;
    let growth = site.memory()?.saturating_sub(before);
    let each = float(growth) / 1024.0 / float(connections);
    let name = site.side().figure("memory_per_idle_connection");
    figures.add(name, "KiB", each);
    drop(crowd);
    Ok(connects)
}
