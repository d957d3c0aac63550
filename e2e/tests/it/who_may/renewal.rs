//! Tokens that are renewed in time, late, or not at all.

use super::{ROOM, authenticate, enter, is_error, refused_join, token, token_for, with_secret};

#[tokio::test]
async fn a_renewal_takes_rooms_away_and_never_changes_who_one_is() {
    let stack = with_secret().await;
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = enter(&server, "ada", &token("ada", &["*"])).await;
    let mut bob = enter(&server, "bob", &token("bob", &["*"])).await;
    ada.join("lobby").await;
    ada.join(ROOM).await;
    bob.join(ROOM).await;
    bob.counts_members(ROOM, 2).await;

    let refusal = authenticate(&mut ada, &token("bob", &["*"])).await;
    assert_eq!(refusal["payload"]["code"], "unauthorized", "{refusal}");
    let renewed = authenticate(&mut ada, &token("ada", &["lobby"])).await;
    assert_eq!(renewed["type"], "authed");

    let taken = is_error(&mut ada, "forbidden_room").await;
    assert_eq!(taken["payload"]["roomId"], ROOM);
    bob.counts_members(ROOM, 1).await;
    assert_eq!(refused_join(&mut ada, ROOM).await["code"], "forbidden_room");
    ada.post("lobby", "I am still here").await;
    ada.hears("lobby", "I am still here").await;
}

#[tokio::test]
async fn who_renews_a_token_when_told_notices_nothing() {
    let stack = with_secret().await.with("JWT_LEEWAY", "0");
    let stack = stack.with("EXPIRY_GRACE", "60");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    // It is told at half of its time, which leaves time for a slow machine.
    let mut ada = enter(&server, "ada", &token_for(10, "ada", &["*"])).await;
    ada.join(ROOM).await;

    is_error(&mut ada, "expired").await;
    let renewed = authenticate(&mut ada, &token("ada", &["*"])).await;

    assert_eq!(renewed["type"], "authed", "{renewed}");
    ada.post(ROOM, "I may stay").await;
    ada.hears(ROOM, "I may stay").await;
    assert_eq!(ada.room(ROOM).resets, 0);
}

#[tokio::test]
async fn who_does_not_renew_a_token_hears_no_more_and_is_closed() {
    let stack = with_secret().await.with("JWT_LEEWAY", "0");
    let stack = stack.with("EXPIRY_GRACE", "1");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = enter(&server, "ada", &token("ada", &["*"])).await;
    ada.join(ROOM).await;
    let mut bob = enter(&server, "bob", &token_for(6, "bob", &["*"])).await;
    bob.join(ROOM).await;

    is_error(&mut bob, "expired").await;
    let left = bob
        .next("to be out of the room", |frame| frame["type"] == "left")
        .await;
    assert_eq!(left["payload"]["roomId"], ROOM);
    let end = bob.closed().await.expect("a reason");

    assert_eq!(u16::from(end.code), 4401, "{}", end.reason);
    ada.counts_members(ROOM, 1).await;
}

#[tokio::test]
async fn between_its_end_and_the_connections_a_token_can_still_be_renewed() {
    let stack = with_secret()
        .await
        .with("JWT_LEEWAY", "0")
        .with("EXPIRY_GRACE", "60");
    let (server, _worker) = tokio::join!(stack.server(), stack.worker());
    let mut ada = enter(&server, "ada", &token_for(8, "ada", &["*"])).await;
    ada.join(ROOM).await;
    ada.post(ROOM, "before").await;
    ada.hears(ROOM, "before").await;

    ada.next("to be out of the room", |frame| frame["type"] == "left")
        .await;
    assert_eq!(refused_join(&mut ada, ROOM).await["code"], "expired");
    let mut bob = enter(&server, "bob", &token("bob", &["*"])).await;
    bob.join(ROOM).await;
    bob.post(ROOM, "meanwhile").await;

    authenticate(&mut ada, &token("ada", &["*"])).await;
    let cursor = ada.room(ROOM).cursor;
    let joined = ada.join_since(ROOM, Some(cursor)).await;
    assert_eq!(joined["complete"], true);
    assert_eq!(ada.texts(ROOM), ["before", "meanwhile"], "no hole");
}
