//! A page of older messages, read over HTTP as who scrolls back does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use client::{Message, MessageId};
use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::name;
use crate::chaos::{
    chat::{
        event::{Event, RoomNumber, Shown},
        notes::Notes,
    },
    ledger::Who,
};

/// A page that has not come by then does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) room: RoomNumber,
    pub(super) before: MessageId,
    pub(super) limit: u64,
    /// Which of the guest's pages it is.
    pub(super) id: u64,
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<Message>,
    more: bool,
}

/// Reads a page and notes it; one that does not come is no page.
pub(super) async fn turn(port: u16, who: Who, wanted: Wanted, notes: &Notes) {
    let Wanted {
        room, before, id, ..
    } = wanted;
    notes.note(who, Event::Turns { room, id, before });
    if let Ok(Ok(page)) = timeout(PATIENCE, read(port, who, wanted)).await {
        let messages = page.messages.iter().map(Shown::from).collect();
        let more = page.more;
        let came = Event::Page {
            room,
            id,
            more,
            messages,
        };
        notes.note(who, came);
    }
}

async fn read(port: u16, who: Who, wanted: Wanted) -> Result<Page> {
    let (room, before, limit) = (name(wanted.room), wanted.before, wanted.limit);
    let user = format!("c{}", who.slot);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "GET /rooms/{room}/messages?before={before}&limit={limit}&userId={user}&username={user} HTTP/1.1\r\n\
         Host: 127.0.0.1\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "no page: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
    // One that was cut short is no JSON.
    Ok(serde_json::from_str(body)?)
}
