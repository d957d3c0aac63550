//! A packet: a text frame as it goes over the wire, encoded once for however many members get it.

use std::ops::Deref;

use tokio_tungstenite::tungstenite::{
    Bytes, Utf8Bytes,
    protocol::frame::{
        FrameHeader,
        coding::{Data, OpCode},
    },
};

/// A frame's header and text, shared. It derefs to its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    bytes: Bytes,
    /// Where the text begins.
    text: u8,
}

/// A header has so many bytes at most.
const LONGEST_HEADER: usize = 10;

impl Packet {
    /// Bytes that are a frame, or several, already, such as the library's answer to a ping.
    pub(crate) fn raw(bytes: &[u8]) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(bytes),
            text: 0,
        }
    }

    /// All of it, as it goes over the wire.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<&str> for Packet {
    fn from(text: &str) -> Self {
        let header = FrameHeader {
            opcode: OpCode::Data(Data::Text),
            ..FrameHeader::default() // a server's frames are whole and not masked
        };
        let mut bytes = Vec::with_capacity(LONGEST_HEADER + text.len());
        // Writing to memory cannot fail, and no text is longer than a length can say.
        let _ = header.format(text.len() as u64, &mut bytes);
        let begin = u8::try_from(bytes.len()).unwrap_or_default();
        bytes.extend_from_slice(text.as_bytes());
        Self {
            bytes: bytes.into(),
            text: begin,
        }
    }
}

impl From<String> for Packet {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Utf8Bytes> for Packet {
    fn from(text: Utf8Bytes) -> Self {
        text.as_str().into()
    }
}

impl Deref for Packet {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[usize::from(self.text)..]).unwrap_or_default()
    }
}

impl PartialEq<&str> for Packet {
    fn eq(&self, text: &&str) -> bool {
        **self == **text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_each_length_gets_its_header() {
        for (length, header) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xff, 0xff]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let text = "x".repeat(length);
            let packet = Packet::from(text.as_str());

            assert_eq!(packet.bytes(), [header, text.as_bytes()].concat());
            assert_eq!(*packet, *text);
        }
    }
}
