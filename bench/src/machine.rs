//! What the operating system tells: the clock that processes share, CPU time and memory of a process.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

/// Nanoseconds of the machine's monotonic clock: comparable between processes, as `Instant` is not.
pub(crate) fn now_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(|time| crate::number::nanos(Duration::from(time)))
        .unwrap_or_default()
}

/// Has this thread's sleeps end when they are to end. Linux makes them some 50 µs longer otherwise.
pub(crate) fn precise_sleeps() {
    // Without it, latencies look that much longer: no reason to stop.
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// Sleeps until a moment of [`now_ns`]; the runtime's own timer knows only milliseconds. Blocks the
/// thread.
pub(crate) fn sleep_until_ns(moment: u64) {
    let ahead = moment.saturating_sub(now_ns());
    if ahead > 0 {
        std::thread::sleep(Duration::from_nanos(ahead));
    }
}

/// The CPU time that a process has used.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    /// Linux counts it for programs in hundredths of a second.
    const TICK: Duration = Duration::from_millis(10);
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The program's name, in parentheses, may hold anything; what follows it is in fixed order.
    let fields = stat
        .rsplit_once(')')
        .map(|(_, fields)| fields)
        .unwrap_or_default();
    let ticks: u32 = fields
        .split_whitespace()
        .skip(11) // utime; the next is stime
        .take(2)
        .filter_map(|ticks| ticks.parse::<u32>().ok())
        .sum();
    Ok(TICK * ticks)
}

/// The memory of a process that is in RAM, in bytes.
pub(crate) fn resident_memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .with_context(|| format!("{path} has no VmRSS"))?;
    Ok(kib * 1024)
}

/// Lets this process and those that it starts open as many files as the system allows; returns how many.
pub(crate) fn raise_open_files() -> Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("read the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raise the limit of open files")?;
    Ok(most)
}
