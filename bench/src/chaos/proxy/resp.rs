//! As much of Redis's protocol (RESP 2) as it takes to tell one command, and one answer, from the next.

use anyhow::{Context, Result, bail};

/// A command or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A text, of either kind.
    Text(&'a [u8]),
    /// A number.
    Integer(i64),
    /// What Redis complains of.
    Error(&'a [u8]),
    /// Nothing.
    Nil,
    /// Several. A command is a list of texts.
    List(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    /// The parts of a list; of anything else none.
    pub(crate) fn parts(&self) -> &[Value<'a>] {
        match self {
            Self::List(parts) => parts,
            _ => &[],
        }
    }

    /// A text as such; of anything else an empty one.
    pub(crate) fn text(&self) -> &'a str {
        match self {
            Self::Text(bytes) | Self::Error(bytes) => {
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            _ => "",
        }
    }

    /// A list of texts.
    #[cfg(test)]
    pub(crate) fn of_texts(words: &[&'a str]) -> Self {
        let words = words.iter().map(|word| Self::Text(word.as_bytes()));
        Self::List(words.collect())
    }

    /// All texts in it, from left to right, however deep.
    pub(crate) fn texts(&self) -> Vec<&'a str> {
        match self {
            Self::List(parts) => parts.iter().flat_map(Value::texts).collect(),
            Self::Text(_) => vec![self.text()],
            _ => Vec::new(),
        }
    }
}

/// The first value in `bytes` and its length, if it is there as a whole.
///
/// # Errors
/// If this is another protocol.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<(Value<'_>, usize)>> {
    let Some((line, after)) = line(bytes) else {
        return Ok(None);
    };
    let (kind, rest) = line.split_first().context("an empty line")?;
    let number = || -> Result<i64> { Ok(std::str::from_utf8(rest)?.parse()?) };
    Ok(match kind {
        b'+' => Some((Value::Text(rest), after)),
        b'-' => Some((Value::Error(rest), after)),
        b':' => Some((Value::Integer(number()?), after)),
        b'$' | b'*' => {
            let Ok(length) = usize::try_from(number()?) else {
                return Ok(Some((Value::Nil, after)));
            };
            if *kind == b'$' {
                let end = after + length;
                (bytes.len() >= end + 2).then(|| (Value::Text(&bytes[after..end]), end + 2))
            } else {
                list(bytes, after, length)?
            }
        }
        other => bail!("0x{other:02x} begins no value"),
    })
}

fn list(bytes: &[u8], mut at: usize, length: usize) -> Result<Option<(Value<'_>, usize)>> {
    let mut parts = Vec::new();
    for _ in 0..length {
        let Some((part, size)) = first(&bytes[at..])? else {
            return Ok(None);
        };
        parts.push(part);
        at += size;
    }
    Ok(Some((Value::List(parts), at)))
}

/// The first line, and where what follows it begins.
fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((&bytes[..end], end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_when_it_is_there_as_a_whole() {
        let bytes = b"*3\r\n$4\r\na\r\nb\r\n*2\r\n:-7\r\n$-1\r\n-ERR no\r\n+OK\r\n";
        let value = Value::List(vec![
            Value::Text(b"a\r\nb"),
            Value::List(vec![Value::Integer(-7), Value::Nil]),
            Value::Error(b"ERR no"),
        ]);
        let size = bytes.len() - 5;

        assert_eq!(first(bytes).unwrap(), Some((value, size)));
        for cut in 0..size {
            assert_eq!(first(&bytes[..cut]).unwrap(), None, "{cut}");
        }
        assert_eq!(
            first(&bytes[size..]).unwrap(),
            Some((Value::Text(b"OK"), 5))
        );
        assert!(first(b"GET / HTTP/1.1\r\n").is_err());
    }

    #[test]
    fn texts_are_told_from_left_to_right() {
        let bytes = b"*2\r\n*1\r\n$1\r\na\r\n*2\r\n$1\r\nb\r\n:1\r\n";
        let (value, _) = first(bytes).unwrap().unwrap();

        assert_eq!(value.texts(), ["a", "b"]);
    }
}
