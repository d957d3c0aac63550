//! Times as people write and read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
pub(crate) use common::words::{since, span, until};

/// `just now`, `12 s ago`.
pub(crate) fn ago(now: u64, then: u64) -> String {
    if now.saturating_sub(then) < 1000 {
        "just now".to_owned()
    } else {
        format!("{} ago", since(now, then))
    }
}

/// A time to the second: `2026-09-21 14:13:20 UTC`.
pub(crate) fn clock(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .map_or_else(String::new, |time| time.format("%F %T UTC").to_string())
}

/// A time of the day to the ms: `14:13:20.017`; nothing for no time.
pub(crate) fn clock_ms(ms: u64) -> String {
    let time = i64::try_from(ms).ok().filter(|ms| *ms > 0);
    time.and_then(DateTime::from_timestamp_millis)
        .map_or_else(String::new, |time| time.format("%T%.3f").to_string())
}

/// A time to the ms, as it is read again: `2026-09-21T14:13:20.017Z`.
pub(crate) fn stamp(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .map_or_else(String::new, |time| time.format("%FT%T%.3fZ").to_string())
}

/// Ms since 1970.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// Reads `90s`, `10m`, `1h30m`, `2d`, `500ms`.
pub(crate) fn read_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a span of time (such as 90s, 10m, 1h30m or 2d)");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let n: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let ms = n.checked_mul(unit).filter(|ms| *ms < 1 << 50);
        total += Duration::from_millis(ms.ok_or_else(wrong)?);
    }
    Ok(total)
}

/// Reads `2026-09-21T14:13:20Z`.
pub(crate) fn read_time(text: &str) -> Result<SystemTime, String> {
    DateTime::parse_from_rfc3339(text.trim())
        .map(SystemTime::from)
        .map_err(|_| {
            format!("`{text}` is not a time (such as 2026-09-21T14:13:20Z or …T16:13:20+02:00)")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told() {
        assert_eq!(ago(5_000, 4_500), "just now");
        assert_eq!(ago(60_000, 5_000), "55 s ago");
        assert_eq!(clock(1_790_000_000_000), "2026-09-21 14:13:20 UTC");
    }

    #[test]
    fn spans_and_times_are_read_and_wrong_ones_refused() {
        assert_eq!(read_span("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(read_span("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "90", "m", "1y", "-5s", "1h 30", "99999999999999999999d"] {
            assert!(read_span(wrong).is_err(), "{wrong} passed");
        }
        assert!(read_time("2026-09-21T14:13:20+02:00").is_ok());
        assert!(read_time("tomorrow").is_err());
    }
}
