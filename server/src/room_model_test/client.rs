//! A client that believes what it is told, and checks it.

use std::sync::Arc;

use serde_json::Value;

use super::world::Joining;
use crate::{hub::ConnectionId, outbox::Outbox};

/// One client and its connection.
pub(super) struct Client {
    pub(super) connection: ConnectionId,
    pub(super) outbox: Arc<Outbox>,
    pub(super) joining: Option<Joining>,
    /// The ids that it shows; none before its first history and when it was told to reload.
    pub(super) shows: Option<Vec<i64>>,
    /// Whether it was told that its history is complete.
    pub(super) complete: bool,
    /// Whether it was too slow, and was told from where to resume.
    pub(super) resumes: bool,
    /// Whether more of its history is to come.
    pub(super) continues: bool,
    /// The newest message when it joined, and the last one that it has.
    pub(super) top: i64,
    pub(super) last: i64,
}

impl Client {
    pub(super) fn read(&mut self) {
        for frame in self.outbox.take() {
            self.take(&frame);
        }
    }

    pub(super) fn take(&mut self, frame: &str) {
        let frame: Value = serde_json::from_str(frame).unwrap();
        let payload = &frame["payload"];
        let id = |of: &Value| of.as_i64().unwrap();
        match frame["type"].as_str().unwrap() {
            "joined" => {
                self.shows = Some(Vec::new());
                self.complete = payload["complete"].as_bool().unwrap();
                self.resumes = false;
                self.top = id(&payload["top"]);
                self.last = 0;
                self.take_part(payload);
            }
            "history" => {
                assert!(self.continues, "a part after the end");
                self.take_part(payload);
            }
            "message" => {
                assert!(!self.continues, "a live message before the history's end");
                if self.shows.is_some() {
                    assert_eq!(id(&payload["prev"]), self.last, "a hole or a double");
                    self.show(id(&payload["messageId"]));
                }
            }
            "reset" => {
                let shows = self.shows.take().expect("told to reload twice, or nothing");
                if let Some(since) = payload["since"].as_i64() {
                    assert_eq!(since, shows.last().copied().unwrap_or(0), "what it has");
                    self.resumes = true;
                }
            }
            other => panic!("{other} was not expected"),
        }
    }

    fn take_part(&mut self, payload: &Value) {
        for message in payload["messages"].as_array().unwrap() {
            let [id, prev] = ["messageId", "prev"].map(|name| message[name].as_i64().unwrap());
            let begins = self.shows.as_ref().is_none_or(Vec::is_empty);
            let follows = begins || prev == self.last || prev == 0;
            assert!(!self.complete || follows, "a hole in a history");
            self.show(id);
        }
        self.continues = payload["continues"] == true;
        if !self.continues {
            self.last = self.last.max(self.top);
        }
    }

    fn show(&mut self, id: i64) {
        assert!(id > self.last, "a double");
        self.last = id;
        if let Some(shows) = &mut self.shows {
            shows.push(id);
        }
    }
}
