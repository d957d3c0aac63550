//! Kept parts of histories: bounded, shared, and never out of date.

use std::time::Duration;

use common::{
    chat::{Content, Entry, Settings, log::Opened},
    id::{MessageId, RoomId},
    testing::{RedisServer, TestChat, TestDatabase, TestQueue},
};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    history::{Histories, Part, parts::Told},
    room_test::entry,
};

fn room() -> RoomId {
    "lobby".parse().unwrap()
}

fn shown(part: &Part) -> Vec<i64> {
    let messages: Vec<Value> = serde_json::from_str(&format!("[{}]", part.json())).unwrap();
    let ids = messages.iter().map(|message| message["messageId"].as_i64());
    ids.map(Option::unwrap).collect()
}

/// Everything after an id, part by part.
async fn read(histories: &Histories, mut after: MessageId, top: MessageId) -> Vec<i64> {
    let mut all = Vec::new();
    while after < top {
        let part = histories.part(&room(), after, top).await.unwrap();
        assert!(part.json().len() <= 64 * 1024);
        if part.last() == MessageId::ZERO {
            break;
        }
        after = part.last();
        all.extend(shown(&part));
    }
    all
}

async fn say(chat: &TestChat, text: &str) -> MessageId {
    let content = Content {
        user_id: "u".into(),
        username: "u".into(),
        client_id: text.into(),
        message: text.into(),
    };
    chat.chat.post(&room(), &content).await.unwrap().id
}

/// How many ranges of logs Redis has read since its start.
async fn reads(chat: &TestChat) -> u64 {
    calls(chat, "zrangebyscore").await
}

/// How many commands of a name Redis has run since its start.
async fn calls(chat: &TestChat, command: &str) -> u64 {
    let info: String = chat.queue.command(&["INFO", "commandstats"]).await;
    let begin = format!("cmdstat_{command}:calls=");
    let line = info.lines().find_map(|line| line.strip_prefix(&begin));
    let calls = line.and_then(|line| line.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

/// A chat with a Redis of its own.
async fn alone(server: &RedisServer) -> TestChat {
    let queue = TestQueue::on(&server.url());
    TestChat::on(queue, TestDatabase::start().await, Settings::default())
}

#[test]
fn parts_are_bounded_and_nothing_is_lost_between_them() {
    let long = |id: i64| {
        let content = Content {
            user_id: "u".into(),
            username: "u".into(),
            client_id: "c".into(),
            message: "x".repeat(16_000).into(),
        };
        Entry::of(MessageId(id), MessageId(id - 1), &content)
    };
    let entries: Vec<_> = (1..=20)
        .map(|id| {
            if id % 2 == 0 {
                long(id)
            } else {
                entry(id, id - 1)
            }
        })
        .collect();

    let parts: Vec<_> = Part::split(&entries).collect();

    assert!(parts.len() > 2);
    assert!(parts.iter().all(|part| part.json().len() <= 64 * 1024));
    let all: Vec<_> = parts.iter().flat_map(shown).collect();
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn joiners_of_one_room_share_one_read_and_get_what_came_since() {
    let server = RedisServer::start(&[]);
    let chat = alone(&server).await;
    let mut said = Vec::new();
    for n in 0..1200 {
        said.push(say(&chat, &n.to_string()).await);
    }
    let histories = Histories::start(chat.chat.clone());
    let opened = histories.beginning(&room(), None, 2000).await.unwrap();
    assert!(opened.warm, "nothing is archived");

    let first = read(&histories, MessageId::ZERO, said[1199]).await;
    let before = reads(&chat).await;
    for _ in 0..20 {
        assert_eq!(read(&histories, MessageId::ZERO, said[1199]).await, first);
    }
    let from_within = read(&histories, said[700], said[1199]).await;
    let none = reads(&chat).await - before;
    for n in 0..5 {
        said.push(say(&chat, &format!("new {n}")).await);
        let top = *said.last().unwrap();
        assert_eq!(
            read(&histories, MessageId::ZERO, top).await.len(),
            said.len()
        );
    }
    let some = reads(&chat).await - before;

    let all: Vec<_> = said.iter().map(|id| id.0).collect();
    assert_eq!(first, all[..1200]);
    assert_eq!(from_within, all[701..1200]);
    assert_eq!(read(&histories, MessageId::ZERO, said[1204]).await, all);
    assert_eq!((none, some), (0, 5), "only what is new is read");
}

#[tokio::test]
async fn who_opens_a_new_room_together_asks_the_archive_once() {
    let server = RedisServer::start(&[]);
    let chat = alone(&server).await;
    let histories = Histories::start(chat.chat.clone());

    let room = room();
    let joiners = (0..20).map(|_| histories.beginning(&room, None, 10));
    let opened = join_all(joiners).await;

    assert!(opened.iter().all(|opened| opened.as_ref().unwrap().warm));
    assert_eq!(calls(&chat, "hsetnx").await, 1, "each look begins with one");
}

#[tokio::test]
async fn who_has_all_costs_redis_nothing_more() {
    let server = RedisServer::start(&[]);
    let chat = alone(&server).await;
    let last = say(&chat, "last").await;
    let histories = Histories::start(chat.chat.clone());
    histories.beginning(&room(), Some(last), 10).await.unwrap();
    let before = reads(&chat).await;

    let part = histories.part(&room(), last, last).await.unwrap();

    assert_eq!(part.last(), MessageId::ZERO);
    assert_eq!(reads(&chat).await, before);
}

#[tokio::test]
async fn histories_that_begin_anywhere_are_whole() {
    let chat = TestChat::start().await;
    let mut said = Vec::new();
    for n in 0..40 {
        said.push(say(&chat, &n.to_string()).await);
    }
    let histories = Histories::start(chat.chat.clone());
    histories.beginning(&room(), None, 100).await.unwrap();

    for at in [30, 38, 39, 10, 20, 5, 35, 0, 12] {
        said.push(say(&chat, &format!("after {at}")).await);
        let top = *said.last().unwrap();
        let wanted: Vec<_> = said[at + 1..].iter().map(|id| id.0).collect();
        assert_eq!(read(&histories, said[at], top).await, wanted, "after {at}");
        // Between two messages, as who was away in another room may ask.
        let between = MessageId(said[at].0 + 1);
        assert_eq!(
            read(&histories, between, top).await,
            wanted,
            "after {at} and a bit"
        );
    }
}

#[tokio::test]
async fn who_was_away_for_longer_than_others_gets_all_in_one_part_too() {
    let chat = TestChat::start().await;
    let mut said = Vec::new();
    for n in 0..40 {
        said.push(say(&chat, &n.to_string()).await);
    }
    let histories = Histories::start(chat.chat.clone());
    histories.beginning(&room(), None, 100).await.unwrap();
    let top = said[39];

    for at in [30, 10, 20, 0] {
        let part = histories.part(&room(), said[at], top).await.unwrap();
        let wanted: Vec<_> = said[at + 1..].iter().map(|id| id.0).collect();
        assert_eq!(shown(&part), wanted, "after {at}");
    }
}

#[tokio::test]
async fn what_redis_has_lost_is_not_shown_any_more() {
    let chat = TestChat::start().await;
    let (first, lost) = (say(&chat, "first").await, say(&chat, "lost").await);
    let histories = Histories::start(chat.chat.clone());
    histories.beginning(&room(), None, 100).await.unwrap();
    assert_eq!(
        read(&histories, MessageId::ZERO, lost).await,
        [first.0, lost.0]
    );

    // As a crash without an append-only file does.
    let (log, meta) = (chat.queue.keys.log(&room()), chat.queue.keys.meta(&room()));
    let _: i64 = chat
        .queue
        .command(&["ZREMRANGEBYRANK", &log, "-1", "-1"])
        .await;
    let _: i64 = chat
        .queue
        .command(&["HSET", &meta, "top", &first.to_string()])
        .await;
    let opened = histories.beginning(&room(), None, 100).await.unwrap();
    let level = read(&histories, MessageId::ZERO, opened.top).await;
    let next = say(&chat, "next").await;

    assert_eq!(opened.top, first);
    assert_eq!(level, [first.0]);
    assert_eq!(
        read(&histories, MessageId::ZERO, next).await,
        [first.0, next.0]
    );
}

#[tokio::test]
async fn who_comes_back_to_a_cold_room_does_not_ask_the_archive_once_more() {
    let chat = TestChat::start().await;
    let (seen, newest) = (say(&chat, "seen").await, say(&chat, "newest").await);
    let worker = chat.worker();
    chat.chat.ask_flush(&room()).await.unwrap();
    let (log, meta) = (chat.queue.keys.log(&room()), chat.queue.keys.meta(&room()));
    common::testing::eventually("all is archived", async || {
        let which = chat.chat.archive.which(&room(), &[newest]).await;
        (which.unwrap() == [newest] && !is_dirty(&chat).await).then_some(())
    })
    .await;
    worker.stop().await;
    let _: i64 = chat.queue.command(&["DEL", &log, &meta]).await;
    let histories = Histories::start(chat.chat.clone());
    let back = async |since| {
        let opened = histories.beginning(&room(), Some(since), 100).await;
        let opened = opened.unwrap();
        (opened.warm, opened.complete, opened.top)
    };

    assert_eq!(back(seen).await, (false, true, newest));
    chat.database
        .execute("ALTER TABLE messages RENAME TO out_of_reach")
        .await;

    for _ in 0..3 {
        assert_eq!(back(seen).await, (false, true, newest));
    }
    // The archive was not asked that.
    assert_eq!(back(newest).await, (false, false, newest));
}

#[test]
fn what_was_told_of_a_cold_room_is_told_again_only_to_who_asked_before() {
    let nothing = |members| Opened {
        warm: false,
        hydrated_from: MessageId::ZERO,
        top: MessageId::ZERO,
        members,
        complete: false,
        more: true,
        after: MessageId::ZERO,
        behind: false,
        newer: 0,
        unflushed: 0,
        first_unflushed: MessageId::ZERO,
        whole: false,
        entries: Vec::new(),
    };
    let further = Opened {
        top: MessageId(5),
        ..nothing(1)
    };
    let early = Instant::now();
    let told = Told::now(nothing(1), further.clone());
    let later = Instant::now() + Duration::from_secs(1);
    let with_members = |members| {
        Some(Opened {
            members,
            ..further.clone()
        })
    };

    assert_eq!(told.again(early, &nothing(3)), with_members(3));
    // It may have come back, had news and left Redis meanwhile.
    assert_eq!(told.again(later, &nothing(3)), None);
    let top = |id| Opened {
        top: MessageId(id),
        ..nothing(2)
    };
    assert_eq!(told.again(later, &top(5)), with_members(2));
    assert_eq!(told.again(early, &top(6)), None);
}

async fn is_dirty(chat: &TestChat) -> bool {
    let dirty = chat.queue.keys.dirty();
    let score: Option<f64> = chat.queue.command(&["ZSCORE", &dirty, "lobby"]).await;
    score.is_some()
}
