//! Bearer tokens: texts that this server and a program or a person share, as tokens for `/jobs` and `/ops`.

use std::{fmt, hint::black_box, str::FromStr, sync::Arc};

use thiserror::Error;

/// Why a text cannot be a token. It does not repeat the text, which may be half of one.
#[derive(Debug, Error)]
#[error(
    "a token has at least 16 letters, digits or signs and no blanks; `openssl rand -hex 32` makes one"
)]
pub(crate) struct TokenError;

/// What proves that somebody may.
#[derive(Clone)]
pub(crate) struct Token(Arc<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = text.len() >= 16 && text.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(TokenError)
        }
    }
}

impl Token {
    /// Whether a text is it. The time that this takes tells nothing of it but its length.
    pub(crate) fn is(&self, given: &str) -> bool {
        let given = given.as_bytes();
        let mut differ = given.len() ^ self.0.len();
        for (at, byte) in self.0.bytes().enumerate() {
            let other = given.get(at).copied().unwrap_or_default();
            differ |= black_box(usize::from(byte ^ other));
        }
        black_box(differ) == 0
    }

    /// To sign with.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What an `Authorization: Bearer` header carries.
pub(crate) fn bearer(header: Option<&str>) -> Option<&str> {
    let (scheme, given) = header?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(given.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_and_nothing_else_and_is_never_shown() {
        let text = "0123456789abcdef-token";
        let token: Token = text.parse().unwrap();

        assert!(token.is(text));
        for other in ["", "0", "0123456789abcdef-tokem", &format!("{text}{text}")] {
            assert!(!token.is(other), "{other}");
        }
        assert!(!format!("{token:?}").contains("0123"));
        for wrong in [
            "",
            "short",
            "with a blank in the middle",
            "not-ascii-ä-xxxxxxxx",
        ] {
            let error = wrong.parse::<Token>().unwrap_err().to_string();
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn a_bearer_is_read_from_its_header() {
        assert_eq!(bearer(Some("Bearer abc")), Some("abc"));
        assert_eq!(bearer(Some("bearer  abc ")), Some("abc"));
        for none in [None, Some(""), Some("Bearer"), Some("Basic abc")] {
            assert_eq!(bearer(none), None, "{none:?}");
        }
    }
}
