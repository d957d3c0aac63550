//! `queuectl rooms`, `flush` and `rehydrate`. While a process is waited for, workers go on in the other thread.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Stdio},
};

use common::{
    chat::Content,
    id::BootId,
    testing::{TestChat, eventually},
};

use crate::desk::{Ended, queuectl, run};

fn call(chat: &TestChat, args: &[&str]) -> Ended {
    let mut command = queuectl(&chat.queue.url, args);
    run(command.env("RHUBARB_NAMESPACE", &chat.queue.namespace))
}

fn ask(chat: &TestChat, args: &[&str]) -> String {
    let ended = call(chat, args);
    assert_eq!(ended.code, 0, "{args:?}: {}", ended.err);
    ended.out
}

async fn say(chat: &TestChat, room: &str, n: usize) {
    for n in 0..n {
        let text = format!("whisper {n}");
        let content = Content {
            user_id: "ada".into(),
            username: "Ada".into(),
            client_id: text.as_str().into(),
            message: text.as_str().into(),
        };
        let room = room.parse().unwrap();
        chat.chat.post(&room, &content).await.expect("it is kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_are_listed_and_shown_without_their_messages() {
    let chat = TestChat::start().await;
    assert_eq!(
        ask(&chat, &["rooms"]),
        "All that was written is in the archive.\n\n0 rooms not flushed; 0 servers.\n"
    );
    say(&chat, "lobby", 3).await;
    let server = BootId::fresh();
    let lobby = "lobby".parse().unwrap();
    chat.chat.tell_members(server, &lobby, 2).await.unwrap();

    for which in ["dirty", "occupied"] {
        let list = ask(&chat, &["rooms", "--which", which]);
        assert!(
            list.contains("2         3          3  0 s     cold   lobby\n"),
            "{list}"
        );
        assert!(
            list.contains("1 room not flushed, the oldest message for 0 s; 1 server."),
            "{list}"
        );
        assert!(!list.contains("whisper"), "{list}");
    }
    let one = ask(&chat, &["rooms", "lobby"]);
    assert!(one.starts_with("lobby  cold\n\n"), "{one}");
    assert!(
        one.contains(&format!(
            "members        2: 2 on {}\n",
            &server.to_string()[..8]
        )),
        "{one}"
    );
    assert!(
        one.contains("unflushed      3, the oldest for 0 s\n"),
        "{one}"
    );
    assert!(!one.contains("whisper"), "{one}");
    let json: serde_json::Value =
        serde_json::from_str(&ask(&chat, &["rooms", "lobby", "--json"])).unwrap();
    assert_eq!(
        (&json["members"], &json["unflushed"]),
        (&2.into(), &3.into())
    );
    let nowhere = ask(&chat, &["rooms", "nowhere"]);
    assert!(nowhere.contains("Redis holds nothing of it"), "{nowhere}");
    assert_eq!(call(&chat, &["rooms", "no room"]).code, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_and_a_rehydration_are_asked_for_and_followed_to_their_end() {
    let chat = TestChat::start().await;
    say(&chat, "lobby", 3).await;

    let told = ask(&chat, &["flush", "lobby"]);
    assert_eq!(
        told,
        "Asked for a flush of lobby: 3 messages, by default-1 (--wait waits for its end).\n"
    );
    let told = ask(&chat, &["flush", "lobby"]);
    assert!(
        told.starts_with("A flush of lobby is under way; another follows"),
        "{told}"
    );

    let worker = chat.worker();
    ask(&chat, &["flush", "lobby", "--wait"]);
    eventually("both flushes have ended", async || {
        chat.queue.is_drained().await.then_some(())
    })
    .await;
    say(&chat, "lobby", 1).await; // a resend: nothing new
    assert_eq!(
        ask(&chat, &["flush", "lobby", "--wait"]),
        "lobby is clean: all that was written there is in the archive.\n"
    );
    assert_eq!(
        ask(&chat, &["rehydrate", "lobby", "--wait"]),
        "Rehydrated lobby: Redis holds 3 messages of it.\n"
    );
    assert_eq!(
        ask(&chat, &["rehydrate", "lobby", "--wait"]),
        "lobby is warm already: Redis holds 3 messages of it.\n"
    );
    assert_eq!(
        ask(&chat, &["flush", "nowhere"]),
        "Redis holds nothing of nowhere: there is nothing to flush.\n"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_flush_that_nobody_runs_is_told_why() {
    let chat = TestChat::start().await;
    say(&chat, "lobby", 3).await;
    let (child, stderr, said) = begin(&chat, &["flush", "lobby", "--wait"]);
    assert_eq!(
        said,
        "default-1: No worker is running. No job is before it in queue default.\n"
    );

    let _worker = chat.worker();

    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ended = ended.await.expect("a thread").expect("an end");
    let out = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(out, "Flushed lobby: 3 messages went to the archive.\n");
    drop(stderr); // the process may write until its end
}

/// A call that goes on, and the first line that it says.
fn begin(chat: &TestChat, args: &[&str]) -> (Child, BufReader<ChildStderr>, String) {
    let mut command = queuectl(&chat.queue.url, args);
    command.env("RHUBARB_NAMESPACE", &chat.queue.namespace);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("a process");
    let mut stderr = BufReader::new(child.stderr.take().expect("its word"));
    let mut said = String::new();
    stderr.read_line(&mut said).expect("a line");
    (child, stderr, said)
}

async fn forget_the_ask(chat: &TestChat) {
    let asked = chat.queue.keys.flushing(&"lobby".parse().unwrap());
    let deleted: u32 = chat.queue.command(&["DEL", &asked]).await;
    assert_eq!(deleted, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_what_another_has_asked_for_is_told_why_and_it_is_asked_again() {
    let chat = TestChat::start().await;
    say(&chat, "lobby", 3).await;
    ask(&chat, &["flush", "lobby"]);
    let (mut child, _stderr, said) = begin(&chat, &["flush", "lobby", "--wait"]);
    assert_eq!(
        said,
        "A flush of lobby was asked for before, in queue default, which no worker serves: start one.\n"
    );
    child.kill().expect("a process");
    child.wait().expect("its end");
    ask(&chat, &["pause", "default", "--by", "ada"]);
    let (child, stderr, said) = begin(&chat, &["flush", "lobby", "--wait"]);
    assert!(
        said.contains(", in queue default, which is paused for ")
            && said.ends_with(" by ada: queuectl resume default.\n"),
        "{said}"
    );

    ask(&chat, &["discard", "default-1"]);
    forget_the_ask(&chat).await;
    eventually("it is asked for again", async || {
        (call(&chat, &["show", "default-2"]).code == 0).then_some(())
    })
    .await;
    ask(&chat, &["resume", "default"]);
    let _worker = chat.worker();

    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ended = ended.await.expect("a thread").expect("an end");
    let out = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(out, "Flushed lobby: 3 messages went to the archive.\n");
    drop(stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_ends_without_having_flushed_is_not_waited_for() {
    let chat = TestChat::start().await;
    say(&chat, "lobby", 3).await;
    let (child, mut stderr, said) = begin(&chat, &["flush", "lobby", "--wait"]);
    assert!(
        said.starts_with("default-1: No worker is running."),
        "{said}"
    );

    ask(&chat, &["discard", "default-1"]);
    forget_the_ask(&chat).await;

    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("its last word");
    let ended = child.wait_with_output().expect("an end");
    assert_eq!(ended.status.code(), Some(1), "{rest}");
    assert!(
        rest.contains("the flush of lobby is over (default-1 has ended), and 3 messages are not in the archive."),
        "{rest}"
    );
}
