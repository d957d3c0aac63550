//! A rolling restart: all servers of one port are replaced, one after another and twice, while clients who
//! follow the protocol go on. They see `goaway`, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use common::testing::{PATIENCE, eventually};
use futures_util::{SinkExt, StreamExt};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, interval, sleep_until, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message as Frame,
};

use crate::harness::{Events, Process, Server, Stack, http, transcript::Transcript};

const ROOMS: usize = 5;
const CLIENTS: usize = 50;
/// These do not go when they are asked to.
const LAGGARDS: usize = 5;
/// Between two messages of one client.
const PACE: Duration = Duration::from_millis(100);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// How far the test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// All write.
    Write,
    /// Nobody writes any more; what was written is still to be acknowledged.
    Settle,
    /// In each room there are so many messages.
    End([usize; ROOMS]),
}

/// What clients have written, those that have nothing left to be acknowledged.
#[derive(Debug, Default)]
struct Settled {
    clients: usize,
    written: [usize; ROOMS],
}

/// A client that follows the protocol: it goes when it is asked to, resumes where it was, and sends again
/// what was not acknowledged.
struct Follower {
    user: String,
    room: usize,
    is_laggard: bool,
    port: u16,
    seen: Transcript,
    unacked: BTreeMap<String, String>,
    written: usize,
    moves: usize,
    /// Connections that the server closed.
    closed: usize,
}

/// Why a connection ended.
enum End {
    Moved,
    Done,
}

fn room(number: usize) -> String {
    format!("stage-{number}")
}

impl Follower {
    fn new(number: usize, port: u16) -> Self {
        Self {
            user: format!("client-{number}"),
            room: number % ROOMS,
            is_laggard: number < LAGGARDS,
            port,
            seen: Transcript::default(),
            unacked: BTreeMap::new(),
            written: 0,
            moves: 0,
            closed: 0,
        }
    }

    async fn run(
        mut self,
        mut phase: watch::Receiver<Phase>,
        settled: watch::Sender<Settled>,
    ) -> Self {
        let mut is_settled = false;
        while let End::Moved = self.connection(&mut phase, &settled, &mut is_settled).await {
            self.moves += 1;
        }
        self
    }

    async fn connection(
        &mut self,
        phase: &mut watch::Receiver<Phase>,
        settled: &watch::Sender<Settled>,
        is_settled: &mut bool,
    ) -> End {
        let mut socket = self.connect().await;
        let mut beat = interval(PACE);
        let mut asked_to_go = false;
        let mut leaves_at = None;
        loop {
            let now = *phase.borrow();
            if now != Phase::Write && self.unacked.is_empty() && !*is_settled {
                *is_settled = true;
                settled.send_modify(|settled| {
                    settled.clients += 1;
                    settled.written[self.room] += self.written;
                });
            }
            if let Phase::End(totals) = now
                && self.seen.messages.len() >= totals[self.room]
            {
                return End::Done;
            }
            tokio::select! {
                frame = timeout(PATIENCE, socket.next()) => {
                    let frame = frame.unwrap_or_else(|_| panic!("{} hears nothing", self.user));
                    match frame {
                        Some(Ok(Frame::Text(text))) => {
                            let frame = serde_json::from_str(&text).expect("a frame of JSON");
                            if let Some(range) = self.take(&frame) {
                                asked_to_go = true;
                                leaves_at = Some(self.leaves_at(range));
                            }
                        }
                        Some(Ok(Frame::Close(Some(close)))) => {
                            assert!(asked_to_go, "{} was closed without a word: {close:?}", self.user);
                            assert_eq!(u16::from(close.code), 1001);
                            self.closed += 1;
                            return End::Moved;
                        }
                        Some(Ok(_)) => {}
                        lost => panic!("{} lost its connection: {lost:?}", self.user),
                    }
                }
                _ = beat.tick(), if now == Phase::Write => self.write(&mut socket).await,
                () = sleep_until(leaves_at.unwrap_or_else(Instant::now)), if leaves_at.is_some() && !self.is_laggard => {
                    return End::Moved;
                }
                changed = phase.changed() => changed.expect("a test that goes on"),
            }
        }
    }

    /// Connects, resumes, and sends again what was not acknowledged.
    async fn connect(&self) -> Socket {
        let (user, port) = (&self.user, self.port);
        let address = format!("ws://127.0.0.1:{port}/ws?userId={user}&username={user}");
        let connected = timeout(PATIENCE, connect_async(&address)).await;
        let (mut socket, _) = connected
            .expect("a WebSocket in time")
            .unwrap_or_else(|error| panic!("connect {user}: {error}"));
        let since = (self.seen.cursor > 0).then_some(self.seen.cursor);
        let join = json!({"roomId": room(self.room), "since": since, "limit": 1000});
        ask(&mut socket, "join", &join).await;
        for (client_id, text) in &self.unacked {
            self.post(&mut socket, client_id, text).await;
        }
        socket
    }

    async fn write(&mut self, socket: &mut Socket) {
        self.written += 1;
        let text = format!("{} {}", self.user, self.written);
        self.unacked.insert(text.replace(' ', "-"), text.clone());
        self.post(socket, &text.replace(' ', "-"), &text).await;
    }

    async fn post(&self, socket: &mut Socket, client_id: &str, text: &str) {
        let message = json!({"roomId": room(self.room), "clientId": client_id, "message": text});
        ask(socket, "message", &message).await;
    }

    /// Takes a frame; gives the range in which it is to go, if it is asked to.
    fn take(&mut self, frame: &Value) -> Option<[u64; 2]> {
        let payload = &frame["payload"];
        match frame["type"].as_str().expect("a type") {
            "message" => self.seen.live(payload),
            "history" => self.seen.history(payload),
            "joined" => {
                let since = (self.seen.cursor > 0).then_some(self.seen.cursor);
                self.seen.joined(payload, since);
                assert!(self.seen.complete, "{} has a hole: {frame}", self.user);
            }
            "ack" => {
                let client_id = payload["clientId"].as_str().expect("a client id");
                self.unacked.remove(client_id);
            }
            "goaway" => {
                let range = payload["reconnectInMs"].clone();
                return Some(serde_json::from_value(range).expect("a range"));
            }
            "presence" => {}
            other => panic!("{} was told {other}: {frame}", self.user),
        }
        None
    }

    /// At a moment of its own between the two.
    fn leaves_at(&self, [first, last]: [u64; 2]) -> Instant {
        let number: u64 = self.user.bytes().map(u64::from).sum();
        let after = first + (number * 7919) % (last - first).max(1);
        Instant::now() + Duration::from_millis(after)
    }
}

async fn ask(socket: &mut Socket, kind: &str, payload: &Value) {
    let frame = json!({"type": kind, "id": 1, "payload": payload}).to_string();
    // A connection that is gone shows when it is read from.
    let _ = socket.send(Frame::text(frame)).await;
}

/// Reads a room's events, and comes back as a browser does; gives the room and all that it has seen.
async fn read(
    mut events: Events,
    number: usize,
    port: u16,
    mut phase: watch::Receiver<Phase>,
) -> (usize, Transcript) {
    loop {
        if let Phase::End(totals) = *phase.borrow()
            && events.seen.messages.len() >= totals[number]
        {
            return (number, events.seen);
        }
        tokio::select! {
            event = events.next() => if event.is_none() {
                events.come_back(port).await;
            },
            changed = phase.changed() => changed.expect("a test that goes on"),
        }
    }
}

/// Posts over HTTP, a connection each; gives how many messages it has written.
async fn post(room: String, port: u16, phase: watch::Receiver<Phase>) -> usize {
    let mut written = 0;
    while *phase.borrow() == Phase::Write {
        written += 1;
        let body =
            json!({"clientId": format!("post-{written}"), "message": format!("post {written}")});
        let path = format!("/rooms/{room}/messages?userId=poster");
        let reply = http::post(port, &path, &body).await;
        let reply = reply.unwrap_or_else(|error| panic!("post {written}: {error}"));
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
    written
}

/// Replaces a server by another on its port: the new one first.
async fn replace(stack: &Stack, server: &Server, old: &mut Process) {
    let new = server.beside(stack).await;
    old.signal(Signal::SIGTERM);
    assert_eq!(old.exit_code().await, Some(0));
    *old = new;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_are_replaced_twice_under_load_and_nobody_sees_more_than_goaway() {
    let stack = Stack::start().await.with("DRAIN_SECONDS", "2");
    let (mut server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut beside = server.beside(&stack).await;
    let port = server.port;
    for number in 0..ROOMS {
        server.client("first").await.join(&room(number)).await;
    }
    let mut readers = JoinSet::new();
    let (tell, phase) = watch::channel(Phase::Write);
    // Before the first message: they see all.
    for number in 0..ROOMS {
        let events = server.events("reader", &room(number)).await;
        readers.spawn(read(events, number, port, phase.clone()));
    }
    let settled = watch::Sender::new(Settled::default());
    let mut followers = JoinSet::new();
    for number in 0..CLIENTS {
        let follower = Follower::new(number, port);
        followers.spawn(follower.run(phase.clone(), settled.clone()));
    }
    let poster = tokio::spawn(post(room(0), port, phase.clone()));

    for _ in 0..2 {
        let new = server.beside(&stack).await;
        server.terminate();
        assert_eq!(server.process.exit_code().await, Some(0));
        server.process = new;
        replace(&stack, &server, &mut beside).await;
    }

    tell.send_replace(Phase::Settle);
    let over_http = poster.await.expect("posts that were all taken");
    let mut heard = settled.subscribe();
    let failed = async { followers.join_next().await.map(|ended| ended.map(|_| ())) };
    tokio::select! {
        _ = heard.wait_for(|settled| settled.clients == CLIENTS) => {}
        ended = failed => panic!("a client ended early: {ended:?}"),
    }
    let mut totals = settled.borrow().written;
    totals[0] += over_http;
    tell.send_replace(Phase::End(totals));
    let mut transcripts: [Vec<Transcript>; ROOMS] = Default::default();
    while let Some(follower) = followers.join_next().await {
        let follower = follower.expect("a client that saw it all");
        assert!(follower.moves > 0, "{} stayed", follower.user);
        if follower.is_laggard {
            assert_eq!(follower.closed, follower.moves, "{}", follower.user);
        }
        transcripts[follower.room].push(follower.seen);
    }
    while let Some(reader) = readers.join_next().await {
        let (room, seen) = reader.expect("a reader that saw it all");
        assert_eq!(seen.resets, 0);
        transcripts[room].push(seen);
    }
    for (number, seen) in transcripts.iter().enumerate() {
        let all = &seen[0].messages;
        assert_eq!(all.len(), totals[number], "messages of {}", room(number));
        assert!(
            seen.iter().all(|others| others.messages == *all),
            "clients of {} have seen something else",
            room(number)
        );
        let texts: BTreeSet<_> = all.iter().map(|message| &message.text).collect();
        assert_eq!(texts.len(), all.len(), "a double in {}", room(number));
    }
}

#[tokio::test]
async fn a_server_may_say_that_it_is_not_ready_before_it_goes() {
    let stack = Stack::start().await.with("UNREADY_SECONDS", "3600");
    let server = stack.server().await;
    let mut ada = server.client("ada").await;
    ada.join("stage").await;

    server.terminate();
    eventually("it says so", async || {
        (server.health().await["state"] == "draining").then_some(())
    })
    .await;

    // A balancer that has not asked yet sends people here, and they are served.
    let mut bob = server.client("bob").await;
    bob.join("stage").await;
    bob.post("stage", "still here").await;
    ada.hears("stage", "still here").await;
}
