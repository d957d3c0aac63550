//! Ids: each kind its own type, checked where it enters and never again.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

impl IdError {
    /// `text` was found where `expected` (with its article) should stand.
    pub fn new(text: &str, expected: &'static str) -> Self {
        let text = text.chars().take(80).collect();
        Self { text, expected }
    }
}

/// Makes an id's text form its form in JSON and in Redis.
#[macro_export]
macro_rules! id_as_text {
    ($id:ty) => {
        impl serde::Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl redis::ToRedisArgs for $id {
            fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
                out.write_arg_fmt(self);
            }
        }
        impl redis::ToSingleRedisArg for $id {}
        impl redis::FromRedisValue for $id {
            fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
                let text = String::from_redis_value(value)?;
                text.parse::<Self>()
                    .map_err(|error| error.to_string().into())
            }
        }
    };
}

/// A process's identity: fresh at each boot, so that a restarted process is never taken for the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(Uuid);

impl BootId {
    /// The identity of a process that starts now.
    pub fn fresh() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl FromStr for BootId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| IdError::new(text, "the identity of a process (32 hex digits)"))
    }
}

id_as_text!(BootId);

/// A room's name: 1 to 64 of `A-Z a-z 0-9 _ . : -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(Box<str>);

impl RoomId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RoomId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(IdError::new(
                text,
                "a room's name (1 to 64 of A-Z a-z 0-9 _ . : -)",
            ))
        }
    }
}

id_as_text!(RoomId);

/// A message's id: microseconds since 1970 by Redis's clock, raised to be above the room's last one.
/// It is the message's time, its place in the room and the offset for resuming. 0 is before all.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MessageId(pub i64);

impl MessageId {
    /// Before every message.
    pub const ZERO: Self = Self(0);
    /// After every message: JavaScript's largest exact integer.
    pub const MAX: Self = Self((1 << 53) - 1);
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse()
            .ok()
            .filter(|id| (0..=Self::MAX.0).contains(id))
            .map(Self)
            .ok_or_else(|| IdError::new(text, "a message's id (a whole number below 2^53)"))
    }
}

impl redis::ToRedisArgs for MessageId {
    fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
        self.0.write_redis_args(out);
    }
}

impl redis::FromRedisValue for MessageId {
    fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
        i64::from_redis_value(value).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_name_of_wrong_shape_is_refused() {
        for wrong in ["", "a b", "ä", "x\n", &"x".repeat(65), "<script>", "{tag}"] {
            assert!(wrong.parse::<RoomId>().is_err(), "{wrong:?} passed");
        }
        for right in ["lobby", "a:b.c-d_E9", &"x".repeat(64)] {
            assert_eq!(right.parse::<RoomId>().unwrap().as_str(), right);
        }
    }

    #[test]
    fn a_message_id_stays_within_what_javascript_can_count() {
        assert!("9007199254740992".parse::<MessageId>().is_err());
        assert!("-1".parse::<MessageId>().is_err());
        assert_eq!("9007199254740991".parse(), Ok(MessageId::MAX));
    }
}
