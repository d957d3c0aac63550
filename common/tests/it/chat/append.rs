//! Append: one order, no doubles, whatever is written.

use std::time::Duration;

use common::{
    chat::{
        Content, Settings,
        bus::{Bus, BusEvent},
    },
    id::MessageId,
    testing::{TestChat, eventually},
};

use super::{Look, assert_chain, by_ada, ids, room, texts};

#[tokio::test]
async fn many_writers_on_many_connections_make_one_order_that_is_published_as_it_is_kept() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let (bus, mut events) = Bus::start(chat.queue.redis.clone(), chat.queue.keys.clone());
    assert!(bus.subscribe(&lobby).await);

    let mut writers = Vec::new();
    for writer in 0..8 {
        let (own, lobby) = (chat.elsewhere(), lobby.clone());
        writers.push(tokio::spawn(async move {
            for number in 0..50 {
                let text = format!("{writer}-{number}");
                own.post(&lobby, &by_ada(&text)).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }

    let log = chat.log(&lobby).await;
    assert_eq!(log.len(), 400);
    assert_chain(&log, MessageId::ZERO);
    let mut heard = Vec::new();
    while heard.len() < log.len() {
        let Some(BusEvent::Messages(room, entries)) = events.recv().await else {
            panic!("only messages are heard");
        };
        assert_eq!(room, lobby);
        heard.extend(entries);
    }
    assert_eq!(heard, log);
    for writer in 0..8 {
        let all = texts(&log);
        let of_one: Vec<_> = all
            .iter()
            .filter(|text| text.starts_with(&format!("{writer}-")))
            .collect();
        let in_order: Vec<_> = (0..50).map(|number| format!("{writer}-{number}")).collect();
        assert_eq!(of_one, in_order.iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_resend_gets_the_first_ones_id_on_any_server_and_from_a_cold_room() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let first = chat.say(&lobby, "hi").await;
    chat.say(&lobby, "ho").await;

    let again = chat.elsewhere().post(&lobby, &by_ada("hi")).await.unwrap();
    chat.flush(&lobby).await;
    chat.expire(&lobby).await;
    let later = chat.chat.post(&lobby, &by_ada("hi")).await.unwrap();

    assert_eq!((again.id, again.duplicate), (first, true));
    assert_eq!((later.id, later.duplicate), (first, true));
    assert_eq!(texts(&chat.archived(&lobby).await), ["hi", "ho"]);
    assert!(chat.log(&lobby).await.is_empty());
}

#[tokio::test]
async fn one_own_id_by_two_senders_or_in_two_rooms_is_no_resend() {
    let chat = TestChat::start().await;
    let by_bob = Content {
        user_id: "bob".into(),
        ..by_ada("1")
    };

    let first = chat.chat.post(&room("a"), &by_ada("1")).await.unwrap();
    let of_bob = chat.chat.post(&room("a"), &by_bob).await.unwrap();
    let elsewhere = chat.chat.post(&room("b"), &by_ada("1")).await.unwrap();

    assert!(!first.duplicate && !of_bob.duplicate && !elsewhere.duplicate);
    assert_eq!(chat.log(&room("a")).await.len(), 2);
}

#[tokio::test]
async fn a_resend_is_forgotten_after_its_window() {
    let chat = TestChat::with(Settings {
        resend_window: Duration::from_millis(100),
        ..Settings::default()
    })
    .await;
    let lobby = room("lobby");
    let first = chat.say(&lobby, "hi").await;
    eventually("the window has passed", async || {
        (chat.life_of(&chat.queue.keys.sent(&lobby)).await == -2).then_some(())
    })
    .await;

    let again = chat.chat.post(&lobby, &by_ada("hi")).await.unwrap();

    assert!(!again.duplicate);
    assert!(again.id > first);
}

#[tokio::test]
async fn rooms_that_are_named_like_keys_do_not_meet() {
    let chat = TestChat::start().await;
    let names = [
        "a",
        "a:log",
        "a:meta",
        "a:sent",
        "a:live",
        "log",
        "a:log:log",
        ":",
        "..",
    ];

    for name in names {
        chat.say(&room(name), name).await;
    }

    for name in names {
        assert_eq!(texts(&chat.log(&room(name)).await), [name]);
    }
}

#[tokio::test]
async fn an_id_is_above_the_last_one_even_if_the_clock_went_back() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let first = chat.say(&lobby, "1").await;
    let ahead = MessageId(first.0 + 3_600_000_000);
    let meta = chat.queue.keys.meta(&lobby);
    let _: i64 = chat
        .queue
        .command(&["HSET", &meta, "top", &ahead.to_string()])
        .await;

    let second = chat.say(&lobby, "2").await;
    let third = chat.say(&lobby, "3").await;

    assert_eq!(second.0, ahead.0 + 1);
    assert_eq!(third.0, ahead.0 + 2);
}

#[tokio::test]
async fn ids_are_exact_up_to_the_last_that_javascript_can_count() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let meta = chat.queue.keys.meta(&lobby);
    let near_the_end = MessageId(MessageId::MAX.0 - 3);
    let _: i64 = chat
        .queue
        .command(&["HSET", &meta, "top", &near_the_end.to_string()])
        .await;
    let _worker = chat.worker();

    let said = chat.say_many(&lobby, 3).await;
    chat.flush(&lobby).await;
    chat.warm(&lobby).await;

    let expected: Vec<_> = (1..=3).map(|n| MessageId(near_the_end.0 + n)).collect();
    assert_eq!(said, expected);
    assert_eq!(ids(&chat.log(&lobby).await), expected);
    assert_eq!(ids(&chat.archived(&lobby).await), expected);
    let since = chat.chat.log.open(&lobby, Some(said[0]), 10).await.unwrap();
    assert_eq!(ids(&since.entries), &expected[1..]);
    assert_eq!(since.top, MessageId::MAX);
}

#[tokio::test]
async fn any_text_comes_back_from_the_archive_as_it_was_sent() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    let long = "ü\u{1F389}".repeat(2700);
    let odd = [
        "\u{202E}sdrawkcab\u{202C}",
        "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}",
        "e\u{301} \u{2028}\u{2029}\u{FEFF}\u{FFFF}\u{10FFFF}",
        "\"\\\u{1}\u{7f}\r\n\t{}[] 1 2 {\"m\":1}",
        "'; DROP TABLE messages; --",
        "</script><b>",
        long.as_str(),
    ];
    for (at, text) in odd.iter().enumerate() {
        let content = Content {
            client_id: at.to_string().into(),
            ..by_ada(text)
        };
        chat.chat.post(&lobby, &content).await.unwrap();
    }
    let before = chat.log(&lobby).await;

    chat.flush(&lobby).await;
    chat.expire(&lobby).await;
    chat.warm(&lobby).await;

    assert_eq!(texts(&chat.log(&lobby).await), odd);
    assert_eq!(chat.log(&lobby).await, before);
}
