//! Who is connected, and which rooms that person may enter.

use std::sync::Arc;

use common::id::RoomId;
use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::frame::Refusal;

/// Texts that name people have so many characters at most.
const MAX_NAME: usize = 64;
/// Where there are keys too, guests' ids begin so, and nobody else's: a guest is never taken for another.
pub(crate) const GUEST: &str = "guest-";

/// Who is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) user_id: Box<str>,
    pub(crate) username: Box<str>,
    pub(crate) tier: Tier,
    pub(crate) rooms: Rooms,
    /// How it is known who that is.
    pub(crate) proof: Proof,
}

/// How it is known who somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing was said yet: a connection that has still to authenticate.
    Awaited,
    /// Only by their word: a guest.
    Word,
    /// By a token.
    Token {
        /// When it expires.
        expires: Instant,
        /// When it is no longer believed: the leeway for clocks that differ later.
        ends: Instant,
    },
}

/// What a person's rooms are worth: jobs of premium ones go before all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tier {
    #[default]
    Free,
    Premium,
}

impl Person {
    /// Somebody of whom nothing is known yet, and who may do nothing.
    pub(crate) fn stranger() -> Self {
        Self {
            user_id: Box::default(),
            username: Box::default(),
            tier: Tier::Free,
            rooms: Rooms::default(),
            proof: Proof::Awaited,
        }
    }

    /// A guest by the name that one gives; by some name if there is none.
    pub(crate) fn guest(
        user_id: Option<String>,
        username: Option<String>,
        rooms: &Rooms,
    ) -> Result<Self, Refusal> {
        let some = || format!("{GUEST}{}", Alphanumeric.sample_string(&mut rand::rng(), 8));
        let user_id = user_id.filter(|text| !text.is_empty()).unwrap_or_else(some);
        let username = username.filter(|text| !text.trim().is_empty());
        let username = username.unwrap_or_else(|| user_id.clone());
        check_name("userId", &user_id)?;
        check_name("username", &username)?;
        check_id("userId", &user_id)?;
        Ok(Self {
            user_id: user_id.into(),
            username: username.trim().into(),
            tier: Tier::Free,
            rooms: rooms.clone(),
            proof: Proof::Word,
        })
    }

    /// Whether it is not known yet who that is.
    pub(crate) fn is_stranger(&self) -> bool {
        self.proof == Proof::Awaited
    }

    /// When the token is no longer believed by which it is known who that is.
    pub(crate) fn ends_at(&self) -> Option<Instant> {
        match self.proof {
            Proof::Token { ends, .. } => Some(ends),
            Proof::Word | Proof::Awaited => None,
        }
    }

    /// Whether this person may enter a room.
    pub(crate) fn may_enter(&self, room: &RoomId) -> Result<(), Refusal> {
        if self.rooms.have(room) {
            return Ok(());
        }
        let message = format!("{room} is not one of the rooms that you may enter");
        Err(Refusal::new("forbidden_room", message).of(room))
    }
}

/// Checks a text that names a person.
pub(crate) fn check_name(what: &str, text: &str) -> Result<(), Refusal> {
    if text.chars().count() > MAX_NAME || text.chars().any(char::is_control) {
        let message = format!("{what} has 1 to {MAX_NAME} characters and no control characters");
        return Err(Refusal::new("bad_name", message));
    }
    Ok(())
}

/// Checks a text that identifies a person: it and a client id are joined by a space in Redis.
pub(crate) fn check_id(what: &str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() || text.contains(' ') {
        return Err(Refusal::new(
            "bad_name",
            format!("{what} has no spaces and is not empty"),
        ));
    }
    Ok(())
}

/// A name as it is shown: what cannot be shown is left out, what is too long is cut.
pub(crate) fn shown(name: &str) -> String {
    let name = name.chars().filter(|c| !c.is_control());
    let name: String = name.take(MAX_NAME).collect();
    name.trim().to_owned()
}

/// Names of rooms; a `*` at the end of one stands for any ending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rooms(Arc<[Box<str>]>);

impl Rooms {
    /// Whether a room is among them.
    pub(crate) fn have(&self, room: &RoomId) -> bool {
        let room = room.as_str();
        self.0.iter().any(|name| match name.strip_suffix('*') {
            Some(beginning) => room.starts_with(beginning),
            None => room == &**name,
        })
    }
}

impl FromIterator<String> for Rooms {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(names: &[&str]) -> Rooms {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_room_is_allowed_by_name_or_by_beginning() {
        let some = rooms(&["lobby", "team.*"]);
        let have = |name: &str| some.have(&name.parse().unwrap());

        assert!(have("lobby") && have("team.") && have("team.a"));
        assert!(!have("lobby2") && !have("lobb") && !have("team") && !have("Lobby"));
        assert!(rooms(&["*"]).have(&"any".parse().unwrap()));
        assert!(!rooms(&[]).have(&"any".parse().unwrap()));
        assert!(
            !rooms(&["a*b"]).have(&"axb".parse().unwrap()),
            "only at the end"
        );
    }

    #[test]
    fn a_guest_has_a_name_that_can_be_kept() {
        let guest = |id: &str, name: &str| {
            Person::guest(Some(id.into()), Some(name.into()), &rooms(&["*"]))
        };

        assert_eq!(&*guest("ada", " Ada L ").unwrap().username, "Ada L");
        assert!(guest("", "").unwrap().user_id.starts_with(GUEST));
        for (id, name) in [("a b", "x"), ("a", &*"x".repeat(65)), ("\n", "x")] {
            assert_eq!(guest(id, name).unwrap_err().code, "bad_name");
        }
    }
}
