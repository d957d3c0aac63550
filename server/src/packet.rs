//! A packet: a text frame as it goes over the wire, or several, encoded once for however many members get it.

use std::{io::Cursor, iter, ops::Deref};

use tokio_tungstenite::tungstenite::{
    Bytes, Utf8Bytes,
    protocol::frame::{
        FrameHeader,
        coding::{Data, OpCode},
    },
};

/// Headers and texts of frames, shared. One of a single frame derefs to its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    bytes: Bytes,
    /// Where the first text begins.
    text: u8,
    frames: u32,
}

/// A header has so many bytes at most.
const LONGEST_HEADER: usize = 10;

impl Packet {
    /// Bytes that are a frame, or several, already, such as the library's answer to a ping.
    pub(crate) fn raw(bytes: &[u8]) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(bytes),
            text: 0,
            frames: 1,
        }
    }

    /// A packet of these texts; `bytes` is about how many it will have.
    pub(crate) fn of_several<'a>(texts: impl Iterator<Item = &'a str>, bytes: usize) -> Self {
        let mut all = Vec::with_capacity(bytes);
        let (mut begin, mut frames) = (0, 0);
        for text in texts {
            let header = FrameHeader {
                opcode: OpCode::Data(Data::Text),
                ..FrameHeader::default() // a server's frames are whole and not masked
            };
            // Writing to memory cannot fail, and no text is longer than a length can say.
            let _ = header.format(text.len() as u64, &mut all);
            if frames == 0 {
                begin = u8::try_from(all.len()).unwrap_or_default();
            }
            all.extend_from_slice(text.as_bytes());
            frames += 1;
        }
        Self {
            bytes: all.into(),
            text: begin,
            frames,
        }
    }

    /// All of it, as it goes over the wire.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many frames it has.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.into()
    }

    /// Each frame as a packet of its own. They share the bytes.
    pub(crate) fn each(&self) -> impl Iterator<Item = Self> + use<> {
        let (mut rest, mut left) = (self.bytes.clone(), self.frames);
        iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let mut header = Cursor::new(&*rest);
            let (_, length) = FrameHeader::parse(&mut header).ok().flatten()?;
            let text = u8::try_from(header.position()).ok()?;
            let end = usize::from(text).saturating_add(usize::try_from(length).ok()?);
            Some(Self {
                bytes: rest.split_to(end.min(rest.len())),
                text,
                frames: 1,
            })
        })
    }
}

impl From<&str> for Packet {
    fn from(text: &str) -> Self {
        Self::of_several(iter::once(text), LONGEST_HEADER + text.len())
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

    #[test]
    fn several_frames_come_apart_as_they_were_put_together() {
        let texts = ["a", &"b".repeat(200), "", &"c".repeat(70_000)];
        let packet = Packet::of_several(texts.into_iter(), 0);

        let each: Vec<Packet> = packet.each().collect();

        assert_eq!(packet.frames(), 4);
        assert_eq!(each, texts.map(Packet::from));
        let bytes: Vec<u8> = each.iter().flat_map(Packet::bytes).copied().collect();
        assert_eq!(packet.bytes(), bytes);
    }
}
