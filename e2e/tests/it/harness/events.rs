//! A reader of a room's events over HTTP, as a browser's `EventSource` is one: it names the last id that it
//! has when it comes back. It checks all that it hears (see [`super::transcript`]).

use std::{collections::BTreeMap, net::SocketAddr};

use common::testing::PATIENCE;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::transcript::Transcript;

/// One event.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: Value,
    id: Option<String>,
}

/// One reader's stream, of one room or of several.
pub(crate) struct Events {
    user: String,
    path: String,
    lines: Lines<BufReader<TcpStream>>,
    /// What there is of the next event.
    begun: Event,
    /// What it was last told to name when it comes back.
    pub(crate) last_id: Option<String>,
    /// After how many ms it is to come back.
    pub(crate) retry: u64,
    /// What it saw of its only room.
    pub(crate) seen: Transcript,
    /// What it saw of each, where there are several.
    pub(crate) rooms: BTreeMap<String, Transcript>,
}

impl Events {
    /// Opens a room of the server on a port of this machine.
    ///
    /// # Panics
    /// If that fails.
    pub(crate) async fn open(port: u16, user: &str, room: &str) -> Self {
        Self::resume(port, user, room, None).await
    }

    /// Opens a room where somebody was before.
    pub(crate) async fn resume(port: u16, user: &str, room: &str, last_id: Option<String>) -> Self {
        Self::begin(port, user, of_one(room), last_id, None).await
    }

    /// Opens several rooms.
    pub(crate) async fn open_all(port: u16, user: &str, rooms: &[&str]) -> Self {
        let path = format!("/events?room={}", rooms.join("&room="));
        let mut events = Self::begin(port, user, path, None, None).await;
        events.rooms = rooms
            .iter()
            .map(|room| ((*room).to_owned(), Transcript::default()))
            .collect();
        events
    }

    /// Opens a room, and takes little at once.
    pub(crate) async fn open_narrow(port: u16, user: &str, room: &str) -> Self {
        Self::begin(port, user, of_one(room), None, Some(4096)).await
    }

    async fn begin(
        port: u16,
        user: &str,
        path: String,
        last_id: Option<String>,
        buffer: Option<u32>,
    ) -> Self {
        let (status, lines) = ask(port, user, &path, last_id.as_deref(), buffer).await;
        assert_eq!(status, 200, "{path} for {user}");
        Self {
            user: user.to_owned(),
            path,
            lines,
            begun: Event::default(),
            last_id,
            retry: 0,
            seen: Transcript::default(),
            rooms: BTreeMap::new(),
        }
    }

    /// Comes back, to another server maybe.
    pub(crate) async fn come_back(&mut self, port: u16) {
        let (status, lines) =
            ask(port, &self.user, &self.path, self.last_id.as_deref(), None).await;
        assert_eq!(status, 200, "{} comes back to {}", self.user, self.path);
        self.lines = lines;
        self.begun = Event::default();
    }

    /// The next event; none at the end of the stream. What is dropped of it while it waits is not lost.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("{} waited {PATIENCE:?}", self.user));
            // An event that was cut off does not count.
            let line = line.ok()??;
            match line.split_once(": ") {
                Some(("event", kind)) => kind.clone_into(&mut self.begun.kind),
                Some(("id", text)) => self.begun.id = Some(text.to_owned()),
                Some(("data", text)) => self.begun.data = serde_json::from_str(text).expect("JSON"),
                Some(("retry", ms)) => self.retry = ms.parse().expect("a number of ms"),
                _ if line.is_empty() && !self.begun.kind.is_empty() => break,
                _ => {}
            }
        }
        let event = std::mem::take(&mut self.begun);
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        self.note(&event);
        Some(event)
    }

    /// Hears until what was seen is as `wanted`.
    pub(crate) async fn until(&mut self, what: &str, wanted: impl Fn(&Transcript) -> bool) {
        while !wanted(&self.seen) {
            let event = self.next().await;
            assert!(event.is_some(), "{}: the end before {what}", self.user);
        }
    }

    /// Hears until a text was seen.
    pub(crate) async fn hears(&mut self, text: &str) {
        self.until(text, |seen| seen.messages.iter().any(|m| m.text == text))
            .await;
    }

    /// The texts that were seen.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.seen.messages.iter().map(|m| m.text.clone()).collect()
    }

    fn note(&mut self, event: &Event) {
        let Event { kind, data, .. } = event;
        let room = data["roomId"].as_str().unwrap_or_default();
        let seen = self.rooms.get_mut(room).unwrap_or(&mut self.seen);
        match kind.as_str() {
            "message" => seen.live(data),
            "reset" => {
                let resets = seen.resets + 1;
                *seen = Transcript {
                    resets,
                    ..Transcript::default()
                };
            }
            "joined" | "presence" => {
                seen.members = data["members"].as_u64().expect("a number of members");
                seen.complete = data["complete"] == true || kind == "presence";
            }
            _ => {}
        }
    }
}

fn of_one(room: &str) -> String {
    format!("/rooms/{room}/events?")
}

/// Asks for events; gives the status and what follows the head.
async fn ask(
    port: u16,
    user: &str,
    path: &str,
    last_id: Option<&str>,
    buffer: Option<u32>,
) -> (u16, Lines<BufReader<TcpStream>>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes).expect("a small buffer");
    }
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = timeout(PATIENCE, socket.connect(address))
        .await
        .expect("a connection in time")
        .unwrap_or_else(|error| panic!("{user} connects: {error}"));
    let last_id = last_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
    // 1.0, so that the events come as they are, not in chunks. The browser's test has those.
    let head = format!(
        "GET {path}&userId={user}&username={user} HTTP/1.0\r\nHost: 127.0.0.1\r\n{last_id}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut lines = BufReader::new(stream).lines();
    let mut status = 0;
    loop {
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("a head in time").expect("a head");
        let line = line.unwrap_or_else(|| panic!("no answer for {user}"));
        if line.is_empty() {
            return (status, lines);
        }
        if status == 0 {
            let word = line.split(' ').nth(1).expect("a status");
            status = word.parse().expect("a status");
        }
    }
}
