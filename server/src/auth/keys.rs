//! Keys: with which a token's signature is checked. They come from files, which are read again when they
//! change, so that keys can be rotated without a restart.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use anyhow::{Context, bail, ensure};
use common::error::Chain;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// HS256 needs a secret of at least so many bytes (RFC 7518, section 3.2).
const SECRET_BYTES: usize = 32;

/// One key. It serves one algorithm only: a token cannot choose how it is checked.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Its name, if its file gives one.
    pub(crate) id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) check: DecodingKey,
}

/// All keys of this server.
#[derive(Debug)]
pub(crate) struct Keys {
    secret: Option<Key>,
    files: Vec<KeyFile>,
    /// What the files had when they were last read, however that went.
    read: Mutex<Vec<Vec<u8>>>,
    all: RwLock<Arc<[Key]>>,
}

/// A file with keys.
#[derive(Debug, Clone)]
pub(crate) enum KeyFile {
    /// One public key.
    Pem(PathBuf),
    /// Any number of them.
    Jwks(PathBuf),
}

impl Keys {
    /// The keys of these files, and the secret.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub(crate) fn open(secret: Option<&str>, files: Vec<KeyFile>) -> anyhow::Result<Self> {
        let secret = secret.map(key_of_secret).transpose()?;
        let keys = Self {
            secret,
            files,
            read: Mutex::default(),
            all: RwLock::new(Arc::default()),
        };
        keys.reload()?;
        Ok(keys)
    }

    /// Whether there is none, and was not meant to be any.
    pub(crate) fn are_none(&self) -> bool {
        self.secret.is_none() && self.files.is_empty()
    }

    /// Whether no file has any, so that they stay as they are.
    pub(crate) fn are_fixed(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads the files again if they have changed; true if there are other keys now. A file that cannot be
    /// used leaves all keys as they are.
    ///
    /// # Errors
    /// If a changed file cannot be used; once for each change.
    pub(crate) fn reload(&self) -> anyhow::Result<bool> {
        let read: Vec<_> = self
            .files
            .iter()
            .map(KeyFile::read)
            .collect::<anyhow::Result<_>>()?;
        let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == read && !read.is_empty() {
            return Ok(false);
        }
        last.clone_from(&read);
        let mut keys: Vec<_> = self.secret.iter().cloned().collect();
        for (file, bytes) in self.files.iter().zip(&read) {
            let read = file.keys(bytes);
            keys.extend(
                read.with_context(|| format!("use the keys in {}", file.path().display()))?,
            );
        }
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
        Ok(true)
    }

    /// The keys that may have signed a token: those of its algorithm and, if one has its `kid`, only that.
    pub(crate) fn of(&self, algorithm: Algorithm, id: Option<&str>) -> Vec<Key> {
        let all = Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner));
        let named = id.filter(|id| all.iter().any(|key| key.id.as_deref() == Some(id)));
        all.iter()
            .filter(|key| key.algorithm == algorithm)
            .filter(|key| match (named, id) {
                (Some(name), _) => key.id.as_deref() == Some(name),
                // A name that no key has: only a key without one may be meant.
                (None, Some(_)) => key.id.is_none(),
                (None, None) => true,
            })
            .cloned()
            .collect()
    }
}

impl KeyFile {
    /// Where it is.
    pub(crate) fn path(&self) -> &PathBuf {
        match self {
            Self::Pem(path) | Self::Jwks(path) => path,
        }
    }

    fn read(&self) -> anyhow::Result<Vec<u8>> {
        let path = self.path();
        std::fs::read(path).with_context(|| format!("read the keys in {}", path.display()))
    }

    fn keys(&self, bytes: &[u8]) -> anyhow::Result<Vec<Key>> {
        match self {
            Self::Pem(_) => Ok(vec![key_of_pem(bytes)?]),
            Self::Jwks(_) => keys_of_jwks(bytes),
        }
    }
}

fn key_of_secret(secret: &str) -> anyhow::Result<Key> {
    // Whoever has a public key could sign with it, if it were taken for a secret.
    ensure!(
        !secret.contains("-----BEGIN"),
        "the JWT secret is a key in PEM: give its file with --jwt-key instead"
    );
    ensure!(
        secret.len() >= SECRET_BYTES,
        "the JWT secret has {} bytes; HS256 needs {SECRET_BYTES} at least, for example of `openssl rand -hex 32`",
        secret.len()
    );
    Ok(Key {
        id: None,
        algorithm: Algorithm::HS256,
        check: DecodingKey::from_secret(secret.as_bytes()),
    })
}

type Read = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;

fn key_of_pem(pem: &[u8]) -> anyhow::Result<Key> {
    let text = std::str::from_utf8(pem).context("it is not text, so it is not PEM")?;
    ensure!(
        !text.contains("PRIVATE KEY"),
        "it is a private key; this server is to have the public one only (`openssl pkey -pubout`)"
    );
    let kinds: [(Algorithm, Read); 3] = [
        (Algorithm::EdDSA, DecodingKey::from_ed_pem),
        (Algorithm::RS256, DecodingKey::from_rsa_pem),
        (Algorithm::ES256, DecodingKey::from_ec_pem),
    ];
    for (algorithm, read) in kinds {
        if let Ok(check) = read(pem) {
            return Ok(Key {
                id: None,
                algorithm,
                check,
            });
        }
    }
    bail!("it is no public key of RSA, Ed25519 or P-256 in PEM")
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// Keys that cannot be used here are passed over: key sets are shared with others.
fn keys_of_jwks(json: &[u8]) -> anyhow::Result<Vec<Key>> {
    let Jwks { keys } = serde_json::from_slice(json).context("read it as a JSON Web Key Set")?;
    let mut usable = Vec::new();
    for (at, key) in keys.into_iter().enumerate() {
        match key_of_jwk(key) {
            Ok(key) => usable.push(key),
            Err(error) => {
                tracing::warn!(error = %Chain(error.as_ref()), "key {at} of a key set is passed over");
            }
        }
    }
    ensure!(!usable.is_empty(), "none of its keys can be used");
    Ok(usable)
}

fn key_of_jwk(key: Value) -> anyhow::Result<Key> {
    let jwk: Jwk = serde_json::from_value(key).context("read it as a JSON Web Key")?;
    let common = &jwk.common;
    if let Some(usage) = &common.public_key_use {
        ensure!(
            *usage == PublicKeyUse::Signature,
            "it is not for signatures"
        );
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKey(_) => bail!("a secret does not belong into a key set"),
        _ => bail!("keys of RSA, Ed25519 and P-256 are known"),
    };
    if let Some(other) = common.key_algorithm {
        ensure!(
            other == named,
            "it is for {other}; {named} is known for its kind"
        );
    }
    Ok(Key {
        id: common.key_id.clone(),
        algorithm,
        check: DecodingKey::from_jwk(&jwk).context("read its parts")?,
    })
}
