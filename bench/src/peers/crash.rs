//! How soon the job of a killed worker runs again. It is a matter of timeouts, not of speed, so all peers
//! wait at the same time.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;

use super::{
    peer::Peer,
    stage::{Settings, Stage},
};
use crate::{
    figure::Figures,
    machine::now_ns,
    number::{float, nanos},
};

/// Longer is not waited for.
pub(super) const LONGEST: Duration = Duration::from_secs(90);
/// Until the job has begun; an idle worker of apalis looks only every 30 s.
const BEGIN: Duration = Duration::from_secs(60);
/// Until the second worker has surely started, with many starting at once.
const START: Duration = Duration::from_secs(15);

/// Kills one worker of each peer while it runs a job, `trials` times; another worker is idle. What
/// is not seen within [`LONGEST`] has no figure.
pub(super) async fn measure(
    folder: &Path,
    peers: &[Peer],
    trials: u32,
    figures: &mut Figures,
) -> Result<()> {
    // The pool makes no difference.
    let peers = peers.iter().filter(|peer| **peer != Peer::CelerySolo);
    let all = peers.flat_map(|peer| (0..trials).map(move |_| recovery(*peer, folder)));
    for (peer, recovered) in try_join_all(all).await? {
        if let Some(time) = recovered {
            figures.add(format!("{}.recovery", peer.name()), "s", time.as_secs_f64());
        }
    }
    Ok(())
}

async fn recovery(peer: Peer, folder: &Path) -> Result<(Peer, Option<Duration>)> {
    let mut stage = Stage::set(peer, folder, Settings::Default).await?;
    let first = stage.worker()?;
    stage.producer.order("nap 0 600").await?;
    let began = stage.ledger.runs(1, BEGIN).await;
    ensure!(began?, "{} did not run a job", peer.name());
    let second = stage.worker()?;
    tokio::time::sleep(START).await;

    let killed = float(now_ns()) / 1e3;
    first.kill().await.with_context(|| peer.name())?;
    let again = stage.ledger.runs(2, LONGEST).await?;
    let ran = stage.ledger.of(0..1).last().map_or(0.0, |run| run.ran);
    second.kill().await.with_context(|| peer.name())?;
    let time = Duration::from_secs_f64((ran - killed).max(0.0) / 1e6);
    Ok((peer, (again && nanos(time) > 0).then_some(time)))
}
