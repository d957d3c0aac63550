//! Keys that are rotated.

use common::testing::{eventually, unique};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

use super::{ROOM, in_seconds};
use crate::harness::Stack;

const KEYS: [&str; 2] = [
    include_str!("../../../../server/src/auth/test_keys/ed25519.pem"),
    include_str!("../../../../server/src/auth/test_keys/other.pem"),
];

#[tokio::test]
async fn keys_are_rotated_without_a_restart() {
    let path = std::env::temp_dir().join(unique("rhubarb-jwks-"));
    let write = |keys: &[usize]| {
        let keys: Vec<_> = keys.iter().map(|&at| public(at)).collect();
        std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    };
    write(&[0]);
    let stack = Stack::start().await.with("GUESTS", "false");
    let stack = stack.with("JWKS", path.to_str().unwrap());
    let server = stack.server().await;
    let comes_in = async |key: usize| {
        let page = format!("/rooms/{ROOM}/messages?token={}", by_key(key));
        server.get(&page).await.status == 200
    };
    assert!(comes_in(0).await && !comes_in(1).await);

    write(&[1]);

    eventually("the new key is taken", async || {
        comes_in(1).await.then_some(())
    })
    .await;
    assert!(!comes_in(0).await, "and the old one is not");
    std::fs::remove_file(&path).unwrap();
}

fn public(key: usize) -> Value {
    let private = EncodingKey::from_ed_pem(KEYS[key].as_bytes()).unwrap();
    let mut jwk = Jwk::from_encoding_key(&private, Algorithm::EdDSA).unwrap();
    jwk.common.key_id = Some(format!("key-{key}"));
    serde_json::to_value(jwk).unwrap()
}

fn by_key(key: usize) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(format!("key-{key}"));
    let private = EncodingKey::from_ed_pem(KEYS[key].as_bytes()).unwrap();
    let claims = json!({"sub": "ada", "rooms": ["*"], "exp": in_seconds(60)});
    encode(&header, &claims, &private).unwrap()
}
