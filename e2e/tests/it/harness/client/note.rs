//! What a client hears, entered into its transcripts.

use serde_json::Value;

use super::Client;

impl Client {
    /// Enters a frame into the transcripts.
    pub(super) fn note(&mut self, frame: Value) {
        let payload = &frame["payload"];
        let room = payload["roomId"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str() {
            Some("message") => {
                if let Some(seen) = self.rooms.get_mut(&room) {
                    seen.live(payload);
                }
                return;
            }
            Some("presence") => {
                if let Some(seen) = self.rooms.get_mut(&room) {
                    seen.members = payload["members"].as_u64().expect("a number of members");
                }
                return;
            }
            Some("reset") => {
                let seen = self.rooms.entry(room).or_default();
                seen.stale = true;
                seen.resets += 1;
                return;
            }
            Some("history") => {
                if let Some(seen) = self.rooms.get_mut(&room) {
                    seen.history(payload);
                }
                return;
            }
            Some("joined") => {
                let id = frame["id"].as_u64().expect("an answer's id");
                let since = self.joins.remove(&id).expect("a join that was asked for");
                self.rooms.entry(room).or_default().joined(payload, since);
            }
            _ => {}
        }
        self.unread.push_back(frame);
    }
}
