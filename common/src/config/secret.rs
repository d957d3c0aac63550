//! A secret: what is used and never shown.

use std::{convert::Infallible, fmt, ops::Deref, str::FromStr};

/// A setting's value that nobody may read: it has no `Display`, and its `Debug` tells nothing.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl Deref for Secret {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What may be shown of a secret: of an address all but its password and what looks like one; of others nothing.
pub(super) fn masked(text: &str) -> String {
    let hidden = "***".to_owned();
    let Some((scheme, rest)) = text.split_once("://") else {
        return hidden;
    };
    let is_name = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-_.".contains(&b))
    };
    if !is_name(scheme) {
        return hidden;
    }
    // Up to the last @: a password may have any character, escaped or not.
    let (person, place) = match rest.rsplit_once('@') {
        Some((person, place)) => (Some(person), place),
        None => (None, rest),
    };
    let person = person.map(|person| {
        let user = person.split(':').next().unwrap_or_default();
        let user = if is_name(user) { user } else { "***" };
        format!("{user}:***@")
    });
    // Of what follows a question mark only what is known to be none.
    let (place, query) = place.split_once('?').unwrap_or((place, ""));
    let known = ["sslmode", "sslrootcert", "sslcert", "cacert", "cert"];
    let query: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if known.contains(&name) => pair.to_owned(),
            Some((name, _)) => format!("{name}=***"),
            None => hidden.clone(),
        })
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    let person = person.unwrap_or_default();
    format!("{scheme}://{person}{place}{mark}{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret: Secret = "s3cret".parse().unwrap();
        assert_eq!(format!("{:?}", Some(&secret)), "Some(***)");
        assert_eq!(&*secret, "s3cret");
    }

    #[test]
    fn of_an_address_all_but_its_password_is_shown() {
        for (address, shown) in [
            ("redis://h:6379/0", "redis://h:6379/0"),
            ("redis://:s3cret@h:6379/0", "redis://:***@h:6379/0"),
            (
                "rediss://ada:s3@cr/et@h/0?cacert=/ca",
                "rediss://ada:***@h/0?cacert=/ca",
            ),
            (
                "postgres://ada:s3?c:ret@h/db?password=s3cret&sslmode=require",
                "postgres://ada:***@h/db?password=***&sslmode=require",
            ),
            ("postgres://s3/cret@h/db", "postgres://***:***@h/db"),
            ("s3cret", "***"),
            ("s3c ret://x", "***"),
        ] {
            assert_eq!(masked(address), shown);
        }
    }
}
