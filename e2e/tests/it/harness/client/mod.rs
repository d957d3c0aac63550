//! A chat client on a real socket. It checks all that it hears (see [`super::transcript`]), and joins
//! anew when it is told to.

mod note;

use std::collections::{BTreeMap, HashMap, VecDeque};

use common::testing::{PATIENCE, unique};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        self, client::IntoClientRequest, handshake::client::Request, protocol::CloseFrame,
    },
};

use super::transcript::Transcript;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a socket brings.
#[derive(Debug)]
enum Heard {
    Frame(Value),
    Closed(Option<CloseFrame>),
}

/// The server's word that a message is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) id: i64,
    pub(crate) duplicate: bool,
}

/// One person's connection to one server.
#[derive(Debug)]
pub(crate) struct Client {
    user: String,
    sink: SplitSink<Socket, tungstenite::Message>,
    heard: mpsc::UnboundedReceiver<Heard>,
    hearing: JoinHandle<()>,
    /// Frames that nobody waited for yet, in their order; messages are in the transcripts instead.
    unread: VecDeque<Value>,
    rooms: BTreeMap<String, Transcript>,
    /// Joins that wait for an answer, by frame id, with where they resume.
    joins: HashMap<u64, Option<i64>>,
    next_id: u64,
}

impl Client {
    /// Connects as `user` to the server on a port of this machine.
    ///
    /// # Panics
    /// If that fails.
    pub(crate) async fn connect(port: u16, user: &str) -> Self {
        Self::connect_with(port, user, &format!("userId={user}&username={user}")).await
    }

    /// Connects with another query, such as a token.
    pub(crate) async fn connect_with(port: u16, user: &str, query: &str) -> Self {
        let address = format!("ws://127.0.0.1:{port}/ws?{query}");
        let request = address.as_str().into_client_request();
        Self::open(request.expect("an address"), user).await
    }

    /// Connects by this request.
    pub(crate) async fn open(request: Request, user: &str) -> Self {
        let (socket, _) = timeout(PATIENCE, connect_async(request))
            .await
            .expect("a WebSocket in time")
            .unwrap_or_else(|error| panic!("connect {user}: {error}"));
        let (sink, mut stream) = socket.split();
        let (tell, heard) = mpsc::unbounded_channel();
        let hearing = tokio::spawn(async move {
            let mut close = None;
            while let Some(Ok(message)) = stream.next().await {
                match message {
                    tungstenite::Message::Text(text) => {
                        let frame = serde_json::from_str(&text).expect("a frame of JSON");
                        let _ = tell.send(Heard::Frame(frame));
                    }
                    tungstenite::Message::Close(frame) => close = frame,
                    _ => {}
                }
            }
            let _ = tell.send(Heard::Closed(close));
        });
        Self {
            user: user.to_owned(),
            sink,
            heard,
            hearing,
            unread: VecDeque::new(),
            rooms: BTreeMap::new(),
            joins: HashMap::new(),
            next_id: 1,
        }
    }

    /// Connects to another server, with what was seen so far, and resumes each room from there.
    pub(crate) async fn move_to(mut self, port: u16) -> Self {
        self.drain();
        let mut moved = Self::connect(port, &self.user).await;
        moved.rooms = std::mem::take(&mut self.rooms);
        drop(self);
        for room in moved.rooms.keys().cloned().collect::<Vec<_>>() {
            let since = moved.rooms[&room].cursor;
            moved.join_since(&room, Some(since)).await;
        }
        moved
    }

    // --- What a client asks -------------------------------------------------------------------

    /// Joins a room and gives the answer's payload.
    pub(crate) async fn join(&mut self, room: &str) -> Value {
        self.join_since(room, None).await
    }

    /// Joins a room from a message on.
    pub(crate) async fn join_since(&mut self, room: &str, since: Option<i64>) -> Value {
        self.join_for(room, since, Some(1000)).await
    }

    /// Joins a room from a message on, for so many messages at most.
    pub(crate) async fn join_for(
        &mut self,
        room: &str,
        since: Option<i64>,
        limit: Option<usize>,
    ) -> Value {
        let id = self.ask_to_join_for(room, since, limit).await;
        let joined = self.reply(id).await;
        assert_eq!(joined["type"], "joined", "{}: {joined}", self.user);
        while self.room(room).continues {
            self.take("the rest of a history").await;
        }
        joined["payload"].clone()
    }

    /// Asks for a room, and waits for nothing.
    pub(crate) async fn ask_to_join(&mut self, room: &str, since: Option<i64>) -> u64 {
        self.ask_to_join_for(room, since, Some(1000)).await
    }

    /// Asks for a room from a message on, for so many messages at most, and waits for nothing.
    pub(crate) async fn ask_to_join_for(
        &mut self,
        room: &str,
        since: Option<i64>,
        limit: Option<usize>,
    ) -> u64 {
        let payload = json!({"roomId": room, "since": since, "limit": limit});
        let id = self.ask("join", &payload).await;
        self.joins.insert(id, since);
        id
    }

    /// Leaves a room, which the server confirms.
    pub(crate) async fn leave(&mut self, room: &str) {
        let id = self.ask("leave", &json!({"roomId": room})).await;
        let left = self.reply(id).await;
        assert_eq!(left["type"], "left", "{}: {left}", self.user);
    }

    /// Posts a message, which the server acknowledges.
    pub(crate) async fn post(&mut self, room: &str, text: &str) -> Ack {
        self.post_as(room, &unique("c-"), text).await
    }

    /// Posts a message under a client id.
    pub(crate) async fn post_as(&mut self, room: &str, client_id: &str, text: &str) -> Ack {
        self.try_post(room, client_id, text)
            .await
            .unwrap_or_else(|error| panic!("{} posts {text}: {error}", self.user))
    }

    /// Posts a message; gives the code of the error if it was not taken.
    pub(crate) async fn try_post(
        &mut self,
        room: &str,
        client_id: &str,
        text: &str,
    ) -> Result<Ack, String> {
        let id = self.ask_to_post(room, client_id, text).await;
        self.acked(id).await
    }

    /// Posts `texts` one right after the other, and waits for all acknowledgements.
    pub(crate) async fn post_all(&mut self, room: &str, texts: &[String]) {
        let mut ids = Vec::new();
        for text in texts {
            ids.push(self.ask_to_post(room, &unique("c-"), text).await);
        }
        for id in ids {
            let acked = self.acked(id).await;
            assert!(acked.is_ok(), "{}: {acked:?}", self.user);
        }
    }

    /// Posts, and waits for nothing.
    pub(crate) async fn ask_to_post(&mut self, room: &str, client_id: &str, text: &str) -> u64 {
        let payload = json!({"roomId": room, "clientId": client_id, "message": text});
        self.ask("message", &payload).await
    }

    /// The answer to a post: acknowledged, or the code of an error.
    pub(crate) async fn acked(&mut self, id: u64) -> Result<Ack, String> {
        let reply = self.reply(id).await;
        let payload = &reply["payload"];
        if reply["type"] == "ack" {
            Ok(Ack {
                id: payload["messageId"].as_i64().expect("an ack's messageId"),
                duplicate: payload["duplicate"] == true,
            })
        } else {
            Err(payload["code"].as_str().unwrap_or("no code").to_owned())
        }
    }

    /// Sends a text frame as it is.
    pub(crate) async fn send(&mut self, text: &str) {
        self.send_raw(tungstenite::Message::text(text)).await;
    }

    /// Sends anything.
    pub(crate) async fn send_raw(&mut self, message: tungstenite::Message) {
        // A connection that is gone shows when its answer is waited for.
        let _ = self.sink.send(message).await;
    }

    /// Sends frames in one piece, so that they come together.
    pub(crate) async fn send_together(&mut self, frames: Vec<tungstenite::Message>) {
        for frame in frames {
            let _ = self.sink.feed(frame).await;
        }
        let _ = self.sink.flush().await;
    }

    /// Asks anything; gives the whole answer.
    pub(crate) async fn request(&mut self, kind: &str, payload: &Value) -> Value {
        let id = self.ask(kind, payload).await;
        self.reply(id).await
    }

    /// Sends a frame, and waits for nothing; gives its id.
    pub(crate) async fn ask(&mut self, kind: &str, payload: &Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({"type": kind, "id": id, "payload": payload}).to_string())
            .await;
        id
    }

    // --- What a client hears ------------------------------------------------------------------

    /// Waits for the answer to the frame with this id.
    pub(crate) async fn reply(&mut self, id: u64) -> Value {
        self.next(&format!("the answer to frame {id}"), |frame| {
            frame["id"] == id
        })
        .await
    }

    /// Waits for an error frame; gives its code.
    pub(crate) async fn error_code(&mut self) -> String {
        let error = self
            .next("an error", |frame| frame["type"] == "error")
            .await;
        error["payload"]["code"]
            .as_str()
            .expect("a code")
            .to_owned()
    }

    /// Waits for a frame that is not a message.
    pub(crate) async fn next(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.unread.iter().position(&wanted) {
            return self.unread.remove(at).expect("a frame that was just seen");
        }
        loop {
            self.take(what).await;
            if self.unread.back().is_some_and(&wanted) {
                return self.unread.pop_back().expect("a frame that was just seen");
            }
        }
    }

    /// Hears until `room` is as `wanted`.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        room: &str,
        wanted: impl Fn(&Transcript) -> bool,
    ) {
        while !self.rooms.get(room).is_some_and(&wanted) {
            self.take(what).await;
        }
    }

    /// Hears until a text was seen in `room`.
    pub(crate) async fn hears(&mut self, room: &str, text: &str) {
        self.until(&format!("the message {text}"), room, |seen| {
            seen.messages.iter().any(|message| message.text == text)
        })
        .await;
    }

    /// Hears until `room` has so many members.
    pub(crate) async fn counts_members(&mut self, room: &str, members: u64) {
        self.until(&format!("{members} members"), room, |seen| {
            seen.members == members
        })
        .await;
    }

    /// What was seen of a room.
    pub(crate) fn room(&self, room: &str) -> &Transcript {
        self.rooms.get(room).expect("a room that was joined")
    }

    /// The texts that were seen in a room.
    pub(crate) fn texts(&self, room: &str) -> Vec<String> {
        self.room(room)
            .messages
            .iter()
            .map(|message| message.text.clone())
            .collect()
    }

    /// Waits until the server closes the connection; gives its reason.
    pub(crate) async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            let heard = timeout(PATIENCE, self.heard.recv()).await;
            match heard.expect("the end of a connection in time") {
                Some(Heard::Frame(frame)) => self.note(frame),
                Some(Heard::Closed(reason)) => return reason,
                None => return None,
            }
        }
    }

    /// Waits until the connection ends; gives the message ids that were acknowledged, by frame id.
    pub(crate) async fn acks_until_closed(&mut self) -> BTreeMap<u64, i64> {
        self.closed().await;
        let acks = self.unread.iter().filter(|frame| frame["type"] == "ack");
        acks.filter_map(|ack| Some((ack["id"].as_u64()?, ack["payload"]["messageId"].as_i64()?)))
            .collect()
    }

    /// Takes what is there already.
    fn drain(&mut self) {
        while let Ok(heard) = self.heard.try_recv() {
            if let Heard::Frame(frame) = heard {
                self.note(frame);
            }
        }
    }

    /// Takes the next frame.
    async fn take(&mut self, what: &str) {
        let Ok(heard) = timeout(PATIENCE, self.heard.recv()).await else {
            let (user, unread) = (&self.user, &self.unread);
            panic!("{user} waited {PATIENCE:?} for: {what}; it heard {unread:#?}");
        };
        let Some(Heard::Frame(frame)) = heard else {
            panic!(
                "{} lost its connection ({heard:?}) and waits for: {what}",
                self.user
            );
        };
        let reset = (frame["type"] == "reset").then(|| {
            frame["payload"]["roomId"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        });
        self.note(frame);
        if let Some(room) = reset {
            self.ask_to_join(&room, None).await;
        }
    }
}

/// The socket ends without a word, as a lost connection does.
impl Drop for Client {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}
