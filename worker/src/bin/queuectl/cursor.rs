//! Where a page begins, as it was typed.

use std::{fmt::Display, str::FromStr};

/// No page is further in than this: Redis reads a number up to here whatever is added to it.
const FURTHEST: u64 = 1 << 53;

/// A cursor, which ends with a number after a colon.
pub(crate) fn cursor<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    let number = text.rsplit_once(':').map(|(_, number)| number);
    if number.and_then(|number| number.parse().ok()) > Some(FURTHEST) {
        return Err("no page begins there; take the cursor from the last page".to_owned());
    }
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// How many are passed over.
pub(crate) fn after(text: &str) -> Result<usize, String> {
    let number: u64 = text
        .parse()
        .map_err(|_| "a number is expected".to_owned())?;
    let number = Some(number).filter(|number| *number <= FURTHEST);
    number
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| "there are not so many".to_owned())
}

/// The id of an action, `<ms>-<n>`.
pub(crate) fn action(text: &str) -> Result<String, String> {
    let is_number = |part: &str| part.parse().is_ok_and(|n: u64| n <= FURTHEST);
    match text.split_once('-') {
        Some((ms, n)) if is_number(ms) && is_number(n) && text != "0-0" => Ok(text.to_owned()),
        _ => Err("the id of an action is expected (such as 1790000000000-0)".to_owned()),
    }
}
