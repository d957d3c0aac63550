//! What one client has seen of one room, checked as it comes: one order, no holes, no doubles.

use serde_json::Value;

/// A message as a client got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: i64,
    prev: i64,
    pub(crate) text: String,
}

impl Message {
    /// Reads one of a frame's or a page's messages.
    pub(crate) fn read(message: &Value) -> Self {
        let number = |name: &str| {
            message[name]
                .as_i64()
                .unwrap_or_else(|| panic!("a message without {name}: {message}"))
        };
        Self {
            id: number("messageId"),
            prev: number("prev"),
            text: message["message"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// A frame has so many bytes of a history at most, and a little more.
const PART: usize = 64 * 1024;

/// Reads a part of a history.
fn read_part(part: &Value) -> Vec<Message> {
    let bytes = part.to_string().len();
    assert!(bytes < PART + 1024, "a frame of {bytes} bytes");
    read_all(&part["messages"])
}

/// Reads an array of messages, which must be in order and without a hole.
///
/// # Panics
/// If it is not.
pub(crate) fn read_all(messages: &Value) -> Vec<Message> {
    let messages: Vec<_> = messages
        .as_array()
        .unwrap_or_else(|| panic!("no array of messages: {messages}"))
        .iter()
        .map(Message::read)
        .collect();
    for pair in messages.windows(2) {
        follows(pair[0].id, &pair[1]);
    }
    messages
}

/// Asserts that `message` comes right after the one with the id `before`.
fn follows(before: i64, message: &Message) {
    assert!(
        message.id > before,
        "a double, or out of order: {message:?} after {before}"
    );
    // 0: what came before it was not known when it was sent (the room was cold).
    assert!(
        message.prev == before || message.prev == 0 || before == 0,
        "a hole: {message:?} after {before}"
    );
}

/// The messages of one room that one client has seen.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) messages: Vec<Message>,
    /// Everything up to this id was seen.
    pub(crate) cursor: i64,
    /// The server said `reset`: what comes before the next answer to a join does not count.
    pub(crate) stale: bool,
    /// How often it said so.
    pub(crate) resets: u32,
    /// The members, as last told.
    pub(crate) members: u64,
    /// Whether the last answer to a join was complete.
    pub(crate) complete: bool,
    /// Whether more of the history is to come, before anything live.
    pub(crate) continues: bool,
}

impl Transcript {
    /// Takes a live message.
    pub(crate) fn live(&mut self, message: &Value) {
        if self.stale {
            return;
        }
        assert!(
            !self.continues,
            "a live message before the end of a history"
        );
        let message = Message::read(message);
        follows(self.cursor, &message);
        self.cursor = message.id;
        self.messages.push(message);
    }

    /// Takes the answer to a join from `since` on.
    pub(crate) fn joined(&mut self, answer: &Value, since: Option<i64>) {
        let messages = read_part(answer);
        let top = answer["top"].as_i64().expect("the top of a joined room");
        self.complete = answer["complete"] == true;
        self.stale = false;
        self.members = answer["members"].as_u64().expect("a joined room's members");
        if let (Some(since), true) = (since, self.complete) {
            if let Some(first) = messages.first() {
                follows(since, first);
            }
            self.messages.retain(|message| message.id <= since);
            self.messages.extend(messages);
        } else {
            self.messages = messages;
        }
        self.cursor = self.messages.last().map_or(0, |message| message.id);
        self.continues = answer["continues"] == true;
        if !self.continues {
            self.cursor = self.cursor.max(top); // of a room whose history is not at hand
        }
    }

    /// Takes another part of a history.
    pub(crate) fn history(&mut self, part: &Value) {
        assert!(self.continues, "a part of a history after its end");
        self.continues = part["continues"] == true;
        let messages = read_part(part);
        if let Some(first) = messages.first() {
            follows(self.cursor, first);
        }
        self.messages.extend(messages);
        self.cursor = self.messages.last().map_or(0, |message| message.id);
    }
}
