//! Hazards of "Redis first, database later" that no other file's tests show, and `docs/hazards.md`, which
//! names a test for each.

use std::path::Path;

use common::{id::BootId, testing::TestChat};

use super::{Look, ids, room, windowed};

#[test]
fn every_test_that_the_page_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/hazards.md")).unwrap();
    let mut named = 0;
    for (path, test) in page.split('`').filter_map(|text| text.split_once(".rs::")) {
        let file = std::fs::read_to_string(root.join(format!("{path}.rs"))).unwrap_or_default();
        assert!(
            file.contains(&format!("fn {test}(")),
            "{path}.rs has no {test}"
        );
        named += 1;
    }
    assert!(named > 30, "{named}");
    for hazard in 1..=22 {
        assert!(
            page.contains(&format!("\n| {hazard} | ")),
            "hazard {hazard}"
        );
    }
}

/// Redis comes back without its newest messages, some of which were flushed before.
#[tokio::test]
async fn what_comes_after_a_loss_is_flushed_all_the_same() {
    let chat = TestChat::with(windowed(1000, 3)).await;
    let lobby = room("lobby");
    let _worker = chat.worker();
    chat.warm(&lobby).await;
    let before = chat.say_many(&lobby, 10).await;
    let (log, meta) = (chat.queue.keys.log(&lobby), chat.queue.keys.meta(&lobby));
    let kept = chat.meta(&lobby).await;
    let flushed_and_lost = chat.say(&lobby, "flushed, then lost").await;
    chat.flush(&lobby).await;
    chat.is_idle().await;
    let lost = chat.say(&lobby, "lost").await;

    // What it had a second before: the log's end is below what the archive has.
    for gone in [flushed_and_lost, lost] {
        let gone = gone.to_string();
        let _: i64 = chat
            .queue
            .command(&["ZREMRANGEBYSCORE", &log, &gone, &gone])
            .await;
    }
    let _: i64 = chat.queue.command(&["DEL", &meta]).await;
    for (field, value) in &kept {
        let _: i64 = chat.queue.command(&["HSET", &meta, field, value]).await;
    }
    let mut after = Vec::new();
    for n in 1..=5 {
        after.push(chat.say(&lobby, &format!("after {n}")).await);
    }
    let resent = chat
        .chat
        .post(&lobby, &super::by_ada("after 5"))
        .await
        .unwrap();
    chat.flush(&lobby).await;
    chat.is_idle().await;

    let archived = ids(&chat.archived(&lobby).await);
    assert!(after.iter().all(|id| *id > lost), "no id is used again");
    assert!(resent.duplicate);
    assert_eq!(archived, [before, vec![flushed_and_lost], after].concat());
    assert!(!chat.is_dirty(&lobby).await);
}

#[tokio::test]
async fn leaving_and_joining_do_not_move_the_watermark() {
    let chat = TestChat::start().await;
    let lobby = room("lobby");
    let server = BootId::fresh();
    let mut said = Vec::new();
    for round in 0..5 {
        chat.chat.tell_members(server, &lobby, 1).await.unwrap();
        chat.chat.log.beginning(&lobby, None, 10).await.unwrap();
        said.push(chat.say(&lobby, &round.to_string()).await);
        chat.chat.tell_members(server, &lobby, 0).await.unwrap();
    }
    assert_eq!(chat.meta(&lobby).await.get("watermark"), None);
    chat.chat.tell_members(server, &lobby, 1).await.unwrap();

    let _worker = chat.worker();
    chat.is_flushed(&lobby).await;

    assert_eq!(ids(&chat.archived(&lobby).await), said);
}
