//! Frames as the events of a stream.

use common::id::MessageId;
use serde_json::json;

use super::rooms::{NoPlaces, Places, Rooms};

fn joined(complete: bool, top: i64, ids: &[i64], continues: bool) -> String {
    joined_in("r", complete, top, ids, continues, false)
}

/// The answer with what is at hand, which is not all.
fn partial(ids: &[i64]) -> String {
    joined_in("r", false, *ids.last().unwrap_or(&0), ids, false, true)
}

fn joined_in(
    room: &str,
    complete: bool,
    top: i64,
    ids: &[i64],
    continues: bool,
    partial: bool,
) -> String {
    let messages: Vec<_> = ids.iter().map(|id| json!({"messageId": id})).collect();
    json!({"type": "joined", "payload": {
        "roomId": room, "complete": complete, "more": true, "top": top, "members": 2,
        "messages": messages, "continues": continues, "partial": partial,
    }})
    .to_string()
}

fn history(ids: &[i64]) -> String {
    let messages: Vec<_> = ids.iter().map(|id| json!({"messageId": id})).collect();
    json!({"type": "history", "payload": {"roomId": "r", "messages": messages, "continues": false}})
        .to_string()
}

fn message(id: i64) -> String {
    json!({"type": "message", "payload": {"roomId": "r", "messageId": id}}).to_string()
}

fn reset(since: Option<i64>) -> String {
    json!({"type": "reset", "payload": {"roomId": "r", "reason": "x", "since": since}}).to_string()
}

fn showing(since: Option<i64>) -> Rooms {
    let since = since.map(|id| id.to_string().parse().unwrap());
    Rooms::new(vec!["r".parse().unwrap()], since, None).unwrap()
}

/// The kinds of events that frames are shown as, with their ids.
fn shown(showing: &mut Rooms, frames: &[String]) -> Vec<String> {
    let mut out = String::new();
    for frame in frames {
        showing.show(frame, &mut out);
    }
    let events = out.split_terminator("\n\n").map(|event| {
        let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
        let kind = field("event: ").unwrap();
        field("id: ").map_or(kind.to_owned(), |id| format!("{kind} {id}"))
    });
    events.collect()
}

#[test]
fn history_and_what_follows_are_shown_once_and_in_order() {
    let mut showing = showing(None);

    let frames = [
        joined(true, 4, &[1, 2], true),
        history(&[3, 4]),
        message(4),
        message(5),
    ];

    let events = shown(&mut showing, &frames);
    assert_eq!(
        events,
        [
            "joined",
            "message 1",
            "message 2",
            "message 3",
            "message 4",
            "live",
            "message 5"
        ]
    );
}

#[test]
fn a_message_of_the_history_looks_like_a_live_one() {
    let mut out = String::new();

    showing(None).show(&joined(true, 1, &[1], false), &mut out);

    assert!(
        out.contains("event: message\nid: 1\ndata: {\"roomId\":\"r\",\"messageId\":1}\n\n"),
        "{out}"
    );
}

#[test]
fn who_comes_back_gets_what_is_newer_or_is_told() {
    let complete = shown(&mut showing(Some(2)), &[joined(true, 4, &[3, 4], false)]);
    let not = shown(&mut showing(Some(2)), &[joined(false, 9, &[8, 9], false)]);

    assert_eq!(complete, ["joined", "message 3", "message 4", "live"]);
    assert_eq!(not, ["reset -", "joined", "message 8", "message 9", "live"]);
}

#[test]
fn who_has_nothing_to_see_is_told_where_to_come_back_to() {
    let empty = shown(&mut showing(None), &[joined(true, 0, &[], false)]);
    let level = shown(&mut showing(Some(7)), &[joined(true, 7, &[], false)]);
    let cold = shown(&mut showing(None), &[partial(&[])]);

    assert_eq!(empty, ["joined 0", "live"]);
    assert_eq!(level, ["joined 7", "live"]);
    assert_eq!(cold, ["joined -", "live"], "what there is is not known yet");
}

#[test]
fn after_a_reset_nothing_counts_until_the_room_was_joined_again() {
    let mut showing = showing(None);
    let mut out = String::new();
    shown(&mut showing, &[joined(true, 2, &[1, 2], false)]);

    let then = showing.show(&reset(None), &mut out);
    let frames = [message(9), reset(None), joined(true, 9, &[8, 9], false)];
    let after = shown(&mut showing, &frames);

    assert_eq!(then, Some(0));
    assert!(out.starts_with("event: reset\n"), "{out}");
    assert_eq!(after, ["joined", "message 8", "message 9", "live"]);
}

#[test]
fn a_slow_reader_goes_on_where_it_was_and_hears_of_nothing() {
    let mut showing = showing(None);
    let mut out = String::new();
    shown(&mut showing, &[joined(true, 2, &[1, 2], false)]);

    let then = showing.show(&reset(Some(2)), &mut out);

    assert_eq!((then, out.as_str()), (Some(0), ""));
    let again = showing.join(0);
    assert_eq!(again.since, Some(MessageId(2)));
    let after = shown(&mut showing, &[message(4), joined(true, 4, &[3, 4], false)]);
    assert_eq!(after, ["joined", "message 3", "message 4", "live"]);
}

#[test]
fn what_was_only_at_hand_is_not_gone_on_from() {
    let mut pieces = showing(Some(2));
    let first = shown(&mut pieces, &[partial(&[8]), message(9)]);
    let since = pieces.join(0).since;
    let mut back =
        Rooms::new(vec!["r".parse().unwrap()], Some("-".parse().unwrap()), None).unwrap();
    let again = shown(&mut back, &[joined(true, 9, &[7, 8, 9], false)]);

    assert_eq!(
        first,
        ["reset -", "joined -", "message", "live", "message"],
        "a browser keeps the last id"
    );
    assert_eq!(since, None);
    assert_eq!(
        again,
        [
            "reset -",
            "joined",
            "message 7",
            "message 8",
            "message 9",
            "live"
        ]
    );
}

#[test]
fn the_word_that_a_room_is_at_hand_shows_it_anew() {
    let mut showing = showing(None);
    shown(&mut showing, &[partial(&[8])]);

    let events = shown(
        &mut showing,
        &[reset(Some(8)), joined(true, 8, &[7, 8], false)],
    );

    assert_eq!(
        events,
        ["reset -", "joined", "message 7", "message 8", "live"]
    );
}

#[test]
fn an_id_says_where_the_reader_is_in_each_room() {
    let rooms = || ["q", "r", "s"].map(|room| room.parse().unwrap()).to_vec();
    let mut showing = Rooms::new(rooms(), None, None).unwrap();
    let (q, s) = (
        joined_in("q", true, 3, &[3], false, false),
        joined_in("s", true, 0, &[], false, false),
    );

    let frames = [q, joined(true, 5, &[4, 5], false), s, message(6)];
    let events = shown(&mut showing, &frames);

    let expected = [
        "joined",
        "message 3,-,-",
        "live",
        "joined",
        "message 3,4,-",
        "message 3,5,-",
        "live",
        "joined 3,5,0",
        "live",
        "message 3,6,0",
    ];
    assert_eq!(events, expected);
    let back = Rooms::new(rooms(), Some("3,-,0".parse().unwrap()), Some(50)).unwrap();
    let since: Vec<_> = (0..3).map(|room| back.join(room).since).collect();
    assert_eq!(since, [Some(MessageId(3)), None, Some(MessageId(0))]);
    let others = Rooms::new(rooms(), Some("3,4".parse().unwrap()), None);
    assert_eq!(others.err(), Some(NoPlaces));
}

#[test]
fn places_are_read_as_they_are_written_and_bounded() {
    let read = |text: &str| text.parse::<Places>();

    assert!(read("0").is_ok() && read("-").is_ok() && read("9007199254740991,-,7").is_ok());
    for wrong in [
        "",
        "x",
        "1,",
        ",1",
        "1;2",
        "-1",
        "9007199254740992",
        &"1,".repeat(400),
    ] {
        assert_eq!(read(wrong), Err(NoPlaces), "{wrong}");
    }
}
