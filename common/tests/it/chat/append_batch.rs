//! Appends in batches, and what an append leaves to every sixty-fourth.

use std::time::Duration;

use common::{
    chat::{Posting, Settings},
    id::MessageId,
    testing::{RedisServer, TestChat, TestDatabase, TestQueue},
};
use futures_util::future::join_all;

use super::{Look, assert_chain, by_ada, room, texts};

#[tokio::test]
async fn messages_that_come_at_once_go_in_few_calls() {
    let server = RedisServer::start(&[]);
    let queue = TestQueue::on(&server.url());
    let chat = TestChat::on(queue, TestDatabase::start().await, Settings::default());
    let rooms = [room("a"), room("b"), room("c")];
    let said: Vec<_> = (0..300).map(|number: usize| number.to_string()).collect();

    let posts = said.iter().enumerate();
    let posts = posts.map(|(n, text)| {
        let (chat, room) = (&chat.chat, &rooms[n % 3]);
        async move { chat.post(room, &by_ada(text)).await.unwrap() }
    });
    let kept = join_all(posts).await;

    let stats: String = chat.queue.command(&["INFO", "commandstats"]).await;
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).unwrap();
    let calls: usize = calls.split(',').next().unwrap().parse().unwrap();
    assert!(calls < 20, "{calls} calls for 300 messages");
    for (n, room) in rooms.iter().enumerate() {
        let log = chat.log(room).await;
        let of_room = |index: &usize| index % 3 == n;
        let expected: Vec<_> = (0..300).filter(of_room).collect();
        assert_chain(&log, MessageId::ZERO);
        for (entry, index) in log.iter().zip(&expected) {
            assert_eq!(entry.id, kept[*index].id, "each is told its own id");
        }
        let expected: Vec<_> = expected.iter().map(usize::to_string).collect();
        assert_eq!(
            texts(&log),
            expected,
            "they are in the order in which they came"
        );
    }
}

#[tokio::test]
async fn what_one_sender_says_in_a_row_stays_in_order_and_goes_in_few_calls() {
    let server = RedisServer::start(&[]);
    let queue = TestQueue::on(&server.url());
    let chat = TestChat::on(queue, TestDatabase::start().await, Settings::default());
    let rooms = [room("a"), room("b")];
    // Each row is far more than half a call takes, so that some go in calls that are under way at once.
    let said = |speaker: usize| (0..300).map(move |number: usize| format!("{speaker} {number}"));

    let speaking = (0..8).map(|speaker| {
        let (chat, rooms) = (&chat.chat, &rooms);
        async move {
            let texts: Vec<_> = said(speaker).collect();
            let row: Vec<_> = texts
                .iter()
                .enumerate()
                .map(|(n, text)| Posting {
                    room: &rooms[n % 2],
                    content: by_ada(text),
                })
                .collect();
            chat.post_row(&row).await
        }
    });
    let kept = join_all(speaking).await;

    let stats: String = chat.queue.command(&["INFO", "commandstats"]).await;
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).unwrap();
    let calls: usize = calls.split(',').next().unwrap().parse().unwrap();
    assert!(calls < 20, "{calls} calls for 2,400 messages");
    for (n, room) in rooms.iter().enumerate() {
        let log = chat.log(room).await;
        assert_chain(&log, MessageId::ZERO);
        let heard = texts(&log);
        for (speaker, kept) in kept.iter().enumerate() {
            let expected: Vec<_> = said(speaker).skip(n).step_by(2).collect();
            let begins = format!("{speaker} ");
            let of_one = heard.iter().filter(|text| text.starts_with(&begins));
            assert!(of_one.eq(&expected), "what speaker {speaker} said");
            let told = kept.iter().map(|kept| kept.as_ref().unwrap().id);
            let of_one = log.iter().zip(&heard);
            let of_one = of_one.filter(|(_, text)| text.starts_with(&begins));
            let ids = of_one.map(|(entry, _)| entry.id);
            assert!(told.skip(n).step_by(2).eq(ids), "each is told its own id");
        }
    }
}

#[tokio::test]
async fn a_message_that_comes_twice_at_once_is_kept_once() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    chat.say(&lobby, "before").await;
    let said = ["1", "2", "1", "3", "3", "4"].map(by_ada);

    let posts = said
        .each_ref()
        .map(|content| chat.chat.post(&lobby, content));
    let kept: Vec<_> = join_all(posts)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();

    let log = chat.log(&lobby).await;
    assert_eq!(texts(&log), ["before", "1", "2", "3", "4"]);
    let is_resend: Vec<_> = kept.iter().map(|kept| kept.duplicate).collect();
    assert_eq!(is_resend, [false, false, true, false, true, false]);
    assert_eq!(kept[2].id, kept[0].id);
    assert_eq!(kept[4].id, kept[3].id);
    let fresh: Vec<_> = kept
        .iter()
        .filter(|kept| !kept.duplicate)
        .map(|kept| kept.fresh)
        .collect();
    assert_eq!(fresh, [2, 3, 4, 5], "each is counted once");
}

#[tokio::test]
async fn a_message_that_cannot_be_kept_is_no_matter_of_the_others() {
    let chat = TestChat::start().await;
    let (good, bad) = (room("good"), room("bad"));
    let log = chat.queue.keys.log(&bad);
    let _: String = chat.queue.command(&["SET", &log, "not a log"]).await;

    let (one, two) = (by_ada("1"), by_ada("2"));
    let posts = [(&good, &one), (&bad, &one), (&good, &two), (&bad, &two)];
    let posts = posts.map(|(room, content)| chat.chat.post(room, content));
    let kept = join_all(posts).await;

    let is_kept: Vec<_> = kept.iter().map(Result::is_ok).collect();
    assert_eq!(is_kept, [true, false, true, false]);
    let error = kept[1].as_ref().unwrap_err();
    let why = std::error::Error::source(error).unwrap().to_string();
    assert!(why.contains("WRONGTYPE"), "{why}");
    assert_eq!(texts(&chat.log(&good).await), ["1", "2"]);
}

#[tokio::test]
async fn while_redis_is_away_all_hear_of_it_and_none_waits_for_the_others() {
    let server = RedisServer::start(&[]);
    let queue = TestQueue::on(&server.url());
    let chat = TestChat::on(queue, TestDatabase::start().await, Settings::default());
    let lobby = room("lobby");
    chat.chat.post(&lobby, &by_ada("before")).await.unwrap();
    let texts: Vec<_> = (0..2000).map(|number: usize| number.to_string()).collect();

    server.signal("STOP");
    // Twice the longest that one batch may take: it waits for an answer, then for a new connection.
    let posts = texts.iter().map(|text| {
        let (chat, lobby) = (&chat.chat, &lobby);
        async move { chat.post(lobby, &by_ada(text)).await }
    });
    let heard = tokio::time::timeout(Duration::from_secs(12), join_all(posts)).await;
    server.signal("CONT");

    let heard = heard.expect("all hear of it");
    assert!(heard.iter().all(Result::is_err));
}

#[tokio::test]
async fn no_message_is_below_the_watermark_of_a_clock_that_was_ahead() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let first = chat.chat.post(&lobby, &by_ada("first")).await.unwrap();
    let ahead = first.id.0 + 3_600_000_000;
    let meta = chat.queue.keys.meta(&lobby);
    let _: usize = chat
        .queue
        .command(&["HSET", &meta, "watermark", &ahead.to_string()])
        .await;

    let second = chat.chat.post(&lobby, &by_ada("second")).await.unwrap();

    assert!(second.id.0 > ahead);
}

#[tokio::test]
async fn who_goes_away_while_its_message_is_kept_holds_nobody_up() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");

    for number in 0..20 {
        let (gone, stays) = (format!("gone {number}"), format!("stays {number}"));
        let (gone, stays) = (by_ada(&gone), by_ada(&stays));
        tokio::select! {
            biased;
            _ = chat.chat.post(&lobby, &gone) => panic!("it cannot be answered at once"),
            () = tokio::task::yield_now() => {}
        }
        chat.chat.post(&lobby, &stays).await.unwrap();
    }

    assert_eq!(chat.log(&lobby).await.len(), 40);
}

#[tokio::test]
async fn a_resend_is_recognised_for_the_whole_window_after_each_message() {
    let window = Duration::from_secs(20);
    let chat = TestChat::with(Settings {
        resend_window: window,
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    let (sent, meta) = (chat.queue.keys.sent(&lobby), chat.queue.keys.meta(&lobby));
    chat.say(&lobby, "1").await;
    // As if most of the time had passed that the first message has given.
    let soon: i64 = chat.queue.command(&["PEXPIRETIME", &sent]).await;
    let soon = (soon - 15_000).to_string();
    let _: i64 = chat.queue.command(&["PEXPIREAT", &sent, &soon]).await;
    let _: i64 = chat
        .queue
        .command(&["HSET", &meta, "sent_until", &soon])
        .await;

    chat.say(&lobby, "2").await;

    let left = chat.life_of(&sent).await;
    assert!(left > 19_000, "{left} ms left");
    assert!(left <= 25_000, "{left} ms left");
}

#[tokio::test]
async fn a_mark_that_was_deleted_by_hand_comes_back_while_people_speak() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    chat.say_many(&lobby, 3).await;
    let dirty = chat.queue.keys.dirty();
    let _: i64 = chat.queue.command(&["DEL", &dirty]).await;

    // Three were said before: the sixty-fifth marks it.
    for number in 4..=65 {
        chat.say(&lobby, &number.to_string()).await;
    }

    let mark: Option<f64> = chat.queue.command(&["ZSCORE", &dirty, "lobby"]).await;
    assert!(mark.is_some(), "the room is in the set again");
}
