//! Tokens with real keys: those that are taken, and each way in which one is refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::testing::unique;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};

use super::{
    keys::{KeyFile, Keys},
    token::{Terms, read},
};
use crate::person::{Person, Proof, Tier};

const SECRET: &str = "a secret of tests with thirty-two bytes";
const RSA: &str = include_str!("test_keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("test_keys/rsa.pub.pem");
const ED25519: &str = include_str!("test_keys/ed25519.pem");
const ED25519_PUBLIC: &str = include_str!("test_keys/ed25519.pub.pem");
const P256: &str = include_str!("test_keys/p256.pem");
const P256_PUBLIC: &str = include_str!("test_keys/p256.pub.pem");
const OTHER: &str = include_str!("test_keys/other.pem");

/// A file of a test's own.
struct File(std::path::PathBuf);

impl File {
    fn of(text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(unique("rhubarb-keys-")));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn secret() -> Keys {
    Keys::open(Some(SECRET), Vec::new()).unwrap()
}

fn pem(public: &str) -> Keys {
    let file = File::of(public);
    Keys::open(None, vec![KeyFile::Pem(file.0.clone())]).unwrap()
}

fn terms() -> Terms {
    Terms {
        leeway: Duration::from_secs(10),
        audience: None,
        issuer: None,
    }
}

fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs().cast_signed() + seconds
}

fn claims() -> Value {
    json!({"sub": "ada", "name": "Ada L", "rooms": ["lobby", "team.*"], "tier": "premium", "exp": in_seconds(60)})
}

/// Ada's claims with others in place of some.
fn with(change: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn signed(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    encode(header, claims, key).unwrap()
}

fn by_secret(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    signed(&Header::new(Algorithm::HS256), claims, &key)
}

fn ed25519(private: &str) -> EncodingKey {
    EncodingKey::from_ed_pem(private.as_bytes()).unwrap()
}

fn rsa() -> EncodingKey {
    EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap()
}

/// The code and the text with which a token is refused.
fn refused(token: &str, keys: &Keys, terms: &Terms) -> (&'static str, String) {
    let refusal = read(token, keys, terms).expect_err("a refusal");
    (refusal.code, refusal.message.into_owned())
}

#[tokio::test]
async fn a_token_names_a_person() {
    let ada = read(&by_secret(&claims()), &secret(), &terms()).unwrap();

    let Person {
        user_id,
        username,
        tier,
        rooms,
        proof,
    } = ada;
    assert_eq!((&*user_id, &*username), ("ada", "Ada L"));
    assert_eq!(tier, Tier::Premium);
    assert!(rooms.have(&"lobby".parse().unwrap()) && rooms.have(&"team.a".parse().unwrap()));
    assert!(!rooms.have(&"other".parse().unwrap()));
    let Proof::Token { expires, ends } = proof else {
        panic!("{proof:?}");
    };
    assert_eq!(ends - expires, Duration::from_secs(10), "the leeway");
}

#[tokio::test]
async fn what_a_token_leaves_out_is_the_least() {
    let token = by_secret(&json!({"sub": "ada", "exp": in_seconds(60)}));

    let ada = read(&token, &secret(), &terms()).unwrap();

    assert_eq!(&*ada.username, "ada");
    assert_eq!(ada.tier, Tier::Free);
    assert!(!ada.rooms.have(&"lobby".parse().unwrap()), "no room at all");
}

#[tokio::test]
async fn each_kind_of_key_is_taken() {
    let kinds = [
        (Algorithm::RS256, rsa(), pem(RSA_PUBLIC)),
        (Algorithm::EdDSA, ed25519(ED25519), pem(ED25519_PUBLIC)),
        (
            Algorithm::ES256,
            EncodingKey::from_ec_pem(P256.as_bytes()).unwrap(),
            pem(P256_PUBLIC),
        ),
    ];
    for (algorithm, key, keys) in kinds {
        let token = signed(&Header::new(algorithm), &claims(), &key);
        assert!(read(&token, &keys, &terms()).is_ok(), "{algorithm:?}");

        // One that was changed on its way.
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let root = by_secret(&with(&json!({"sub": "root"})));
        let others = root.split('.').nth(1).unwrap();
        let changed = format!("{header}.{others}.{signature}");
        let (code, text) = refused(&changed, &keys, &terms());
        assert_eq!(code, "unauthorized");
        assert!(text.contains("signature"), "{text}");
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    // Whoever knows the public key signs with it as if it were a secret.
    let keys = pem(RSA_PUBLIC);
    let key = EncodingKey::from_secret(RSA_PUBLIC.as_bytes());

    let forged = signed(&Header::new(Algorithm::HS256), &claims(), &key);

    let (code, text) = refused(&forged, &keys, &terms());
    assert_eq!(code, "unauthorized");
    assert!(text.contains("no key") && text.contains("HS256"), "{text}");
    let wrong = Keys::open(Some(RSA_PUBLIC), Vec::new()).unwrap_err();
    assert!(wrong.to_string().contains("--jwt-key"), "{wrong}");
}

#[tokio::test]
async fn a_token_that_nobody_signed_is_refused() {
    let unsigned = |header: &str| {
        let of = |text: &str| {
            // base64url of a JSON text, as a token has it: borrowed from one that is signed.
            let token = by_secret(&serde_json::from_str::<Value>(text).unwrap());
            token.split('.').nth(1).unwrap().to_owned()
        };
        format!("{}.{}.", of(header), of(&claims().to_string()))
    };

    let (code, text) = refused(&unsigned(r#"{"alg":"none"}"#), &secret(), &terms());
    assert_eq!(code, "unauthorized");
    assert!(text.contains("`alg`"), "{text}");
    let (_, text) = refused(&unsigned(r#"{"alg":"HS256"}"#), &secret(), &terms());
    assert!(text.contains("signature"), "{text}");
    for nonsense in ["", "x", "a.b", "a.b.c", "…", &"x".repeat(10_000)] {
        let (code, text) = refused(nonsense, &secret(), &terms());
        assert_eq!(code, "unauthorized", "{nonsense}");
        assert!(text.contains("no JWT"), "{nonsense}: {text}");
    }
}

#[tokio::test]
async fn each_claim_that_is_wrong_is_told() {
    let none = Value::Null;
    for (change, code, says) in [
        (json!({"exp": none}), "unauthorized", "no `exp`"),
        (json!({"exp": in_seconds(-11)}), "expired", "fresh"),
        (json!({"exp": "soon"}), "unauthorized", "claims"),
        (json!({"nbf": in_seconds(60)}), "unauthorized", "`nbf`"),
        (json!({"sub": none}), "unauthorized", "`sub`"),
        (json!({"sub": ""}), "unauthorized", "`sub`"),
        (json!({"sub": "a b"}), "unauthorized", "`sub`"),
        (json!({"sub": "x".repeat(65)}), "unauthorized", "`sub`"),
        (json!({"sub": "guest-ada"}), "unauthorized", "guest"),
        (json!({"tier": "gold"}), "unauthorized", "gold"),
        (json!({"rooms": "lobby"}), "unauthorized", "claims"),
        (json!({"aud": "elsewhere"}), "unauthorized", "`aud`"),
    ] {
        let (got, text) = refused(&by_secret(&with(&change)), &secret(), &terms());
        assert_eq!(got, code, "{change}: {text}");
        assert!(text.contains(says), "{change}: {text}");
    }
    let within = by_secret(&with(&json!({"exp": in_seconds(-5), "nbf": in_seconds(5)})));
    assert!(
        read(&within, &secret(), &terms()).is_ok(),
        "clocks may differ"
    );
}

#[tokio::test]
async fn audience_and_issuer_must_be_named_if_they_are_set() {
    let strict = Terms {
        audience: Some("chat".to_owned()),
        issuer: Some("login".to_owned()),
        ..terms()
    };
    let token = |change: Value| by_secret(&with(&change));

    let right = token(json!({"aud": ["shop", "chat"], "iss": "login"}));
    assert!(read(&right, &secret(), &strict).is_ok());
    for (change, says) in [
        (json!({"iss": "login"}), "`aud`"),
        (json!({"aud": "chat"}), "`iss`"),
        (json!({"aud": "shop", "iss": "login"}), "`aud`"),
        (json!({"aud": "chat", "iss": "evil"}), "`iss`"),
    ] {
        let (code, text) = refused(&token(change.clone()), &secret(), &strict);
        assert_eq!(code, "unauthorized");
        assert!(text.contains(says), "{change}: {text}");
    }
}

#[tokio::test]
async fn a_header_that_asks_for_more_is_refused() {
    let mut header = Header::new(Algorithm::HS256);
    header.crit = Some(vec!["b64".to_owned()]);
    let key = EncodingKey::from_secret(SECRET.as_bytes());

    let (code, text) = refused(&signed(&header, &claims(), &key), &secret(), &terms());

    assert_eq!(code, "unauthorized");
    assert!(text.contains("crit"), "{text}");
}

/// A key of a key set.
fn jwk(id: &str, private: &str) -> Value {
    let jwk = Jwk::from_encoding_key(&ed25519(private), Algorithm::EdDSA).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk["kid"] = id.into();
    jwk
}

fn by_kid(id: Option<&str>, private: &str) -> String {
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = id.map(str::to_owned);
    signed(&header, &claims(), &ed25519(private))
}

#[tokio::test]
async fn the_kid_selects_a_key_of_a_set() {
    let set = json!({"keys": [jwk("a", ED25519), jwk("b", OTHER)]});
    let file = File::of(&set.to_string());
    let keys = Keys::open(None, vec![KeyFile::Jwks(file.0.clone())]).unwrap();
    let good = |id, private| read(&by_kid(id, private), &keys, &terms()).is_ok();

    assert!(good(Some("a"), ED25519) && good(Some("b"), OTHER));
    assert!(!good(Some("b"), ED25519), "another key's name");
    assert!(!good(Some("c"), ED25519), "a name of no key");
    assert!(good(None, ED25519) && good(None, OTHER), "no name: any");
}

#[tokio::test]
async fn keys_are_rotated_without_a_restart() {
    let set = |keys: &[Value]| json!({ "keys": keys }).to_string();
    let file = File::of(&set(&[jwk("a", ED25519)]));
    let keys = Keys::open(None, vec![KeyFile::Jwks(file.0.clone())]).unwrap();
    let good = |id, private| read(&by_kid(Some(id), private), &keys, &terms()).is_ok();

    assert!(!keys.reload().unwrap(), "nothing has changed");
    file.write(&set(&[jwk("a", ED25519), jwk("b", OTHER)]));
    assert!(!good("b", OTHER) && keys.reload().unwrap() && good("b", OTHER));
    file.write("{ half a file");
    assert!(keys.reload().is_err(), "told");
    assert!(!keys.reload().unwrap(), "once");
    assert!(good("a", ED25519) && good("b", OTHER), "the old ones stay");
    file.write(&set(&[]));
    assert!(keys.reload().is_err(), "no keys are a mistake");
    file.write(&set(&[jwk("b", OTHER)]));
    assert!(keys.reload().unwrap());
    assert!(!good("a", ED25519) && good("b", OTHER), "and one is gone");
}

#[test]
fn keys_that_cannot_be_used_are_refused_at_the_start() {
    let why = |text: &str, of: fn(std::path::PathBuf) -> KeyFile| {
        let file = File::of(text);
        let error = Keys::open(None, vec![of(file.0.clone())]).unwrap_err();
        let told = format!("{error:#}");
        assert!(told.contains(&file.0.display().to_string()), "{told}");
        told
    };
    let oct = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string();

    assert!(why(RSA, KeyFile::Pem).contains("private"));
    assert!(why("nonsense", KeyFile::Pem).contains("PEM"));
    assert!(why("nonsense", KeyFile::Jwks).contains("JSON Web Key Set"));
    assert!(why(&oct, KeyFile::Jwks).contains("none of its keys"));
    let short = Keys::open(Some("short"), Vec::new()).unwrap_err();
    assert!(short.to_string().contains("32"), "{short}");
    let gone = vec![KeyFile::Pem("/no/such/file".into())];
    let gone = Keys::open(None, gone).unwrap_err();
    assert!(format!("{gone:#}").contains("/no/such/file"), "{gone:#}");
}
