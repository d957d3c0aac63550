//! `queuectl rooms`.

use common::{
    chat::inspect::{
        Overview, RoomStatus,
        list::{RoomCursor, RoomPage, Which},
    },
    id::{MessageId, RoomId},
};
use serde::Serialize;

use crate::{
    Ending, Outcome,
    connect::Connection,
    out::{Out, add, clean, count, number, numbers, short, text},
    time::{since, until},
};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  queuectl rooms                 what is not in the archive yet, the longest first\n  queuectl rooms lobby           one room\n  queuectl rooms --which all     all that Redis holds; walks over its keys"
)]
pub(crate) struct Args {
    /// One room
    #[arg(conflicts_with_all = ["which", "limit", "cursor"])]
    room: Option<RoomId>,

    /// Which rooms
    #[arg(long, value_enum, default_value = "dirty")]
    which: Which,

    /// About how many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,

    /// Go on where the last page ended
    #[arg(long, value_name = "CURSOR", value_parser = crate::cursor::cursor::<RoomCursor>)]
    cursor: Option<RoomCursor>,
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    overview: &'a Overview,
    #[serde(flatten)]
    page: &'a RoomPage,
}

pub(crate) async fn run(args: Args, connection: &Connection, out: &Out) -> Outcome {
    let rooms = connection.rooms();
    if let Some(room) = &args.room {
        let room = rooms.show(room).await?;
        out.answer(&room, || tell_one(&room, out))?;
        return Ok(Ending::Done);
    }
    let page = rooms
        .list(args.which, args.limit.into(), args.cursor.as_ref())
        .await?;
    let overview = rooms.overview().await?;
    let answer = Answer {
        overview: &overview,
        page: &page,
    };
    out.answer(&answer, || tell(&overview, &page, out))?;
    Ok(Ending::Done)
}

fn tell(overview: &Overview, page: &RoomPage, out: &Out) -> String {
    let mut told = if page.rooms.is_empty() {
        match (page.which, &page.next) {
            (_, Some(_)) => "None so far.".to_owned(),
            (Which::Dirty, _) => "All that was written is in the archive.".to_owned(),
            (Which::Occupied, _) => "Nobody is in a room.".to_owned(),
            (Which::Premium, _) => "No room is premium.".to_owned(),
            (Which::All, _) => "Redis holds no room.".to_owned(),
        }
    } else {
        table(page, out)
    };
    add(
        &mut told,
        format_args!("\n\n{}", out.wrap(&whole(overview), 0)),
    );
    if let Some(next) = &page.next {
        let which = page.which;
        add(
            &mut told,
            format_args!("\n\nMore: queuectl rooms --which {which} --cursor {next}"),
        );
    }
    told
}

/// `3 rooms are dirty, the oldest for 2 s; 1 is premium; 2 servers.`
fn whole(overview: &Overview) -> String {
    let mut told = format!("{} not flushed", count(overview.dirty, "room"));
    if let Some(then) = overview.unflushed_since_ms {
        let time = since(overview.now_ms, then);
        add(&mut told, format_args!(", the oldest message for {time}"));
    }
    if overview.premium > 0 {
        add(
            &mut told,
            format_args!("; {} premium", number(overview.premium)),
        );
    }
    let servers = overview.servers.len() as u64;
    add(&mut told, format_args!("; {}", count(servers, "server")));
    told.push('.');
    told
}

fn table(page: &RoomPage, out: &Out) -> String {
    let columns = [
        numbers("MEMBERS"),
        numbers("IN REDIS"),
        numbers("UNFLUSHED"),
        text("OLDEST"),
        text("STATE"),
        text("ROOM"),
    ];
    let row = |room: &RoomStatus| {
        vec![
            number(room.members),
            number(room.messages),
            number(room.unflushed),
            room.unflushed_since_ms
                .map(|then| since(room.now_ms, then))
                .unwrap_or_default(),
            state(room),
            clean(room.room.as_str()),
        ]
    };
    out.table(&columns, page.rooms.iter().map(row).collect())
}

/// `warm, flushing`.
pub(crate) fn state(room: &RoomStatus) -> String {
    let mut words = vec![if room.warm { "warm" } else { "cold" }];
    words.extend(room.flushing.map(|_| "flushing"));
    words.extend(room.hydrating.map(|_| "hydrating"));
    words.extend(room.premium_until_ms.map(|_| "premium"));
    words.join(", ")
}

fn tell_one(room: &RoomStatus, out: &Out) -> String {
    const INDENT: usize = 15;
    let now = room.now_ms;
    let mut told = format!("{}  {}\n\n", room.room, state(room));
    let mut line = |name: &str, text: String| {
        let text = out.wrap(&clean(&text), INDENT);
        add(&mut told, format_args!("{name:<INDENT$}{text}\n"));
    };
    line("members", members(room));
    if room.is_here() {
        line("log", log(room));
        line("top", id(room.top));
        line(
            "watermark",
            format!("{}, up to there it is in the archive", id(room.watermark)),
        );
        let unflushed = match (room.unflushed, room.unflushed_since_ms) {
            (0, None) => "none".to_owned(),
            (n, Some(then)) => format!("{}, the oldest for {}", number(n), since(now, then)),
            (n, None) => number(n),
        };
        line("unflushed", unflushed);
    } else {
        line(
            "log",
            "Redis holds nothing of it: it is in the archive alone, or never was".to_owned(),
        );
    }
    if room.changed > 0 {
        let changed = count(room.changed, "message");
        line(
            "changed",
            format!("{changed} that the archive shows as before"),
        );
    }
    if let Some(queue) = room.flushing {
        let again = if room.flush_again {
            "; another follows"
        } else {
            ""
        };
        line("flush", format!("under way in queue {queue}{again}"));
    }
    if let Some(queue) = room.hydrating {
        line("rehydration", format!("under way in queue {queue}"));
    }
    if let Some(then) = room.expires_ms {
        line(
            "leaves Redis",
            format!("{}, if nobody comes", until(now, then)),
        );
    }
    if let Some(then) = room.premium_until_ms {
        let queue = "its jobs go to queue high";
        line("premium", format!("{queue}; it ends {}", until(now, then)));
    }
    if let Some(hint) = hint(room) {
        add(&mut told, format_args!("\n{}\n", out.wrap(&hint, 0)));
    }
    told
}

fn members(room: &RoomStatus) -> String {
    let servers = room.members_by_server.iter();
    let servers: Vec<_> = servers
        .map(|(server, n)| format!("{} on {}", number(n), short(server)))
        .collect();
    let mut told = match &servers[..] {
        [] => "none".to_owned(),
        some => format!("{}: {}", number(room.members), some.join(", ")),
    };
    if room.fading > 0 {
        let fading = number(room.fading);
        add(
            &mut told,
            format_args!("; {fading} of servers that have ended fade"),
        );
    }
    told
}

fn log(room: &RoomStatus) -> String {
    let messages = count(room.messages, "message");
    match room.hydrated_from {
        None => format!("{messages}; older ones are asked of the archive when somebody joins"),
        Some(MessageId::ZERO) => format!("{messages}, all there are"),
        Some(from) => format!("{messages}, complete from {} on", id(from)),
    }
}

/// An id, and the time that it is.
fn id(id: MessageId) -> String {
    if id == MessageId::ZERO {
        return "none".to_owned();
    }
    let ms = u64::try_from(id.0).unwrap_or(0) / 1000;
    format!("{id} ({})", crate::time::clock(ms))
}

fn hint(room: &RoomStatus) -> Option<String> {
    let name = &room.room;
    let age = room
        .unflushed_since_ms
        .map(|then| room.now_ms.saturating_sub(then));
    match age {
        Some(age) if age > 60_000 && room.flushing.is_none() => Some(format!(
            "What is unflushed has waited for long and no flush is under way: is a worker running? \
             To ask for one: queuectl flush {name} --wait"
        )),
        Some(age) if age > 60_000 => Some(
            "What is unflushed has waited for long: look at `queuectl status`, and at Postgres."
                .to_owned(),
        ),
        _ => None,
    }
}
