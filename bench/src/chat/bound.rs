//! The bound of fan-out: a bare server on one thread, without Redis, history, ids of its own clock or
//! answers. A message becomes one ready frame, as long as ours and naming the one before it, of which each
//! member of the room in this process gets the bytes; what comes while it is busy goes out in one write a
//! member. It trusts its clients, and knows of the protocol what the crowd sends.

use std::{cell::RefCell, collections::HashMap, io::ErrorKind, rc::Rc};

use anyhow::{Context, Result};
use clap::Args;
use memchr::memmem;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{spawn_local, yield_now},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Where to listen.
#[derive(Debug, Clone, Args)]
pub(crate) struct BoundOptions {
    /// Port to listen on
    #[arg(long)]
    port: u16,
}

/// One connection.
struct Member {
    stream: TcpStream,
    out: RefCell<Vec<u8>>,
}

#[derive(Default)]
struct Room {
    members: Vec<Rc<Member>>,
    last: i64,
}

#[derive(Default)]
struct State {
    rooms: RefCell<HashMap<String, Room>>,
    /// Those with something to be written.
    filled: RefCell<Vec<Rc<Member>>>,
    woken: Notify,
}

/// Runs as the bound until it is killed.
pub(crate) fn be_bound(options: &BoundOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(options.port))
}

async fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let state = Rc::<State>::default();
    spawn_local(write(Rc::clone(&state)));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = Rc::clone(&state);
        spawn_local(async move {
            // One that breaks is of no interest to the others.
            let _ = attend(&state, stream).await;
        });
    }
}

/// Writes what is put into members' buffers, each once a turn.
async fn write(state: Rc<State>) {
    let mut turn = Vec::new();
    loop {
        state.woken.notified().await;
        yield_now().await; // all that has arrived is heard first
        std::mem::swap(&mut turn, &mut state.filled.borrow_mut());
        for member in turn.drain(..) {
            let mut out = member.out.borrow_mut();
            match member.stream.try_write(&out) {
                Ok(written) => drop(out.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => out.clear(),
            }
            if !out.is_empty() {
                drop(out);
                state.put(member, &[]);
            }
        }
    }
}

/// Reads one connection's frames.
async fn attend(state: &State, stream: TcpStream) -> Result<()> {
    let member = Rc::new(Member {
        stream,
        out: RefCell::default(),
    });
    let (mut buffer, mut rest) = (vec![0; 2048], Vec::new());
    let mut is_open = false;
    loop {
        member.stream.readable().await?;
        let read = match member.stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => break,
        };
        rest.extend_from_slice(&buffer[..read]);
        if !is_open {
            let Some(end) = memmem::find(&rest, b"\r\n\r\n") else {
                continue;
            };
            let answer = handshake(&rest[..end]);
            member.stream.try_write(answer.as_bytes())?;
            if !answer.starts_with("HTTP/1.1 101") {
                break; // that is all it wanted
            }
            rest.drain(..end + 4);
            is_open = true;
        }
        let mut from = 0;
        while let Some((text, end)) = unmask(&mut rest, from) {
            state.hear(&member, &rest[text..end]);
            from = end;
        }
        rest.drain(..from);
    }
    for room in state.rooms.borrow_mut().values_mut() {
        room.members.retain(|other| !Rc::ptr_eq(other, &member));
    }
    Ok(())
}

/// The answer to an upgrade; to anything else, that the server is ready.
fn handshake(request: &[u8]) -> String {
    let request = String::from_utf8_lossy(request);
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    match key {
        Some(key) => format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        ),
        None => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
    }
}

/// Where the text of the frame at `from` begins and ends, if it has arrived; unmasks it.
fn unmask(bytes: &mut [u8], from: usize) -> Option<(usize, usize)> {
    let length = usize::from(bytes.get(from + 1)? & 0x7f);
    let (mask, length) = match length {
        126 => {
            let high = usize::from(*bytes.get(from + 2)?);
            (from + 4, high << 8 | usize::from(*bytes.get(from + 3)?))
        }
        length => (from + 2, length),
    };
    let (begin, end) = (mask + 4, mask + 4 + length);
    let (head, text) = bytes.get_mut(..end)?.split_at_mut(begin);
    let mask = &head[mask..];
    for (byte, mask) in text.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Some((begin, end))
}

impl State {
    fn hear(&self, member: &Rc<Member>, text: &[u8]) {
        let field = |name: &[u8]| {
            let at = memmem::find(text, name).map_or(text.len(), |at| at + name.len());
            let end = memchr::memchr(b'"', &text[at..]).unwrap_or_default();
            String::from_utf8_lossy(&text[at..at + end])
        };
        let name = field(br#""roomId":""#);
        let mut rooms = self.rooms.borrow_mut();
        if text.starts_with(br#"{"type":"join""#) {
            let room = rooms.entry(name.clone().into_owned()).or_default();
            room.members.push(Rc::clone(member));
            let joined = format!(
                r#"{{"type":"joined","id":1,"payload":{{"roomId":"{name}","complete":true,"more":false,"top":{},"members":1,"messages":[]}}}}"#,
                room.last
            );
            self.put(Rc::clone(member), &frame(&joined));
        } else if let Some(room) = rooms.get_mut(&*name) {
            // Ids as long as ours.
            let id = room.last.max(1_790_000_000_000_000) + 1;
            let (due, text) = (field(br#""clientId":""#), field(br#""message":""#));
            let message = format!(
                r#"{{"type":"message","payload":{{"roomId":"{name}","messageId":{id},"prev":{},"timestamp":"2026-09-21T14:13:20.000Z","userId":"{name}-100","username":"{name}-100","clientId":"{due}","message":"{text}"}}}}"#,
                room.last
            );
            room.last = id;
            let frame = frame(&message);
            for member in &room.members {
                self.put(Rc::clone(member), &frame);
            }
        }
    }

    fn put(&self, member: Rc<Member>, bytes: &[u8]) {
        let mut out = member.out.borrow_mut();
        let is_new = out.is_empty() || bytes.is_empty();
        out.extend_from_slice(bytes);
        drop(out);
        if is_new {
            self.filled.borrow_mut().push(member);
            self.woken.notify_one();
        }
    }
}

/// A text of up to 64 KiB as a frame.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length) if length < 126 => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend_from_slice(text.as_bytes());
    frame
}
