//! How spans of time and numbers are written for people.

use std::fmt::{Arguments, Display, Write as _};

/// A span in its two largest units, roughly: `12 s`, `3 min`, `2 h 14 min`, `5 d`.
pub fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0 => "0 s".to_owned(),
        1..60 => format!("{s} s"),
        60..3600 => format!("{} min", s / 60),
        3600..86_400 if s % 3600 < 60 => format!("{} h", s / 3600),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ if s % 86_400 < 3600 => format!("{} d", s / 86_400),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// How long `then` was before `now`.
pub fn since(now: u64, then: u64) -> String {
    span(now.saturating_sub(then))
}

/// `in 12 s`, `now`, `late by 3 s`.
pub fn until(now: u64, then: u64) -> String {
    if then >= now + 1000 {
        format!("in {}", span(then - now))
    } else if now - then.min(now) < 2000 {
        "now".to_owned()
    } else {
        format!("late by {}", span(now - then))
    }
}

/// A number with its thousands set apart: `1,204,331`.
pub fn number(n: impl Display) -> String {
    let plain = n.to_string();
    let (sign, digits) = plain
        .strip_prefix('-')
        .map_or(("", plain.as_str()), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 job`, `2 jobs`.
pub fn count(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {what}{plural}", number(n))
}

/// Adds to a text: `add(&mut text, format_args!("…"))`.
pub fn add(text: &mut String, what: Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_at_most_two_units() {
        for (s, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (8040, "2 h 14 min"),
            (86_400, "1 d"),
            (100_000, "1 d 3 h"),
        ] {
            assert_eq!(span(s * 1000), text);
        }
        assert_eq!(until(5_000, 17_000), "in 12 s");
        assert_eq!(until(5_000, 5_000), "now");
        assert_eq!(until(60_000, 5_000), "late by 55 s");
    }

    #[test]
    fn thousands_are_set_apart() {
        for (n, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (-1_204_331, "-1,204,331"),
        ] {
            assert_eq!(number(n), text);
        }
        assert_eq!(count(1, "job"), "1 job");
        assert_eq!(count(2000, "job"), "2,000 jobs");
    }
}
