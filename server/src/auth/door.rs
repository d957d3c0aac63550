//! The door: who is let in, and as whom.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use common::{error::Chain, shutdown::Shutdown};
use http::{HeaderMap, header};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    Settings, Tenure,
    keys::{KeyFile, Keys},
    origin::Origins,
    token::{self, Terms},
};
use crate::{
    frame::Refusal,
    person::{GUEST, Person, Rooms},
};

/// Between two looks at the files with keys.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Lets people in. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    keys: Keys,
    terms: Terms,
    /// The rooms of guests, if there may be any.
    guests: Option<Rooms>,
    origins: Origins,
    authenticate_within: Duration,
    expiry_grace: Duration,
}

/// Who somebody claims to be, in an address: `?token=…`, or `?userId=…&username=…` as a guest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Claim {
    pub(crate) token: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) username: Option<String>,
}

impl Door {
    /// A door with these keys and ways.
    ///
    /// # Errors
    /// If a key cannot be used, or nobody could come in.
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        // By name: a package that turned the other kind of cryptography on, too, would leave none.
        let _ = jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER.install_default();
        let mut files: Vec<_> = settings.jwt_key.iter().cloned().map(KeyFile::Pem).collect();
        files.extend(settings.jwks.iter().cloned().map(KeyFile::Jwks));
        files.retain(|file| !file.path().as_os_str().is_empty());
        let keys = Keys::open(settings.jwt_secret.as_deref(), files)?;
        ensure!(
            settings.guests || !keys.are_none(),
            "nobody could connect: set --jwt-secret (JWT_SECRET), --jwt-key (JWT_KEY) or --jwks (JWKS) to take \
             tokens, or --guests (GUESTS=true) to take everybody by their word"
        );
        if settings.guests {
            tracing::warn!(
                "GUESTS is set: whoever reaches this server is taken by their word and may enter the rooms {}",
                settings.guest_rooms.join(", ")
            );
        }
        let guests = settings
            .guests
            .then(|| settings.guest_rooms.iter().cloned().collect());
        Ok(Self {
            inner: Arc::new(Inner {
                keys,
                terms: Terms {
                    leeway: settings.leeway(),
                    audience: settings.jwt_audience.clone(),
                    issuer: settings.jwt_issuer.clone(),
                },
                guests,
                origins: Origins::new(&settings.origin)?,
                authenticate_within: Duration::from_secs(settings.authenticate_within),
                expiry_grace: Duration::from_secs(settings.expiry_grace),
            }),
        })
    }

    /// Who comes with a request: by its header, then by its address. None if nothing is said and a connection
    /// may say it later.
    pub(crate) fn visitor(
        &self,
        headers: &HeaderMap,
        claim: Claim,
    ) -> Result<Option<Person>, Refusal> {
        if let Some(token) = bearer(headers).or(claim.token) {
            return self.token(&token).map(Some);
        }
        let Some(rooms) = &self.inner.guests else {
            return Ok(None);
        };
        let user_id = claim.user_id.map(|user_id| {
            if self.takes_tokens() && !user_id.is_empty() && !user_id.starts_with(GUEST) {
                format!("{GUEST}{user_id}")
            } else {
                user_id
            }
        });
        Person::guest(user_id, claim.username, rooms).map(Some)
    }

    /// Who comes with a request that must say so.
    pub(crate) fn who(&self, headers: &HeaderMap, claim: Claim) -> Result<Person, Refusal> {
        let nobody = || {
            let message = "say who you are: the header `authorization: Bearer …`, or ?token=…";
            Refusal::new("unauthorized", message)
        };
        self.visitor(headers, claim)?.ok_or_else(nobody)
    }

    /// Whom a token names.
    pub(crate) fn token(&self, token: &str) -> Result<Person, Refusal> {
        if !self.takes_tokens() {
            let message = "this server has no key to check a token with; it takes guests only";
            return Err(Refusal::new("unauthorized", message));
        }
        let read = token::read(token, &self.inner.keys, &self.inner.terms);
        let result = read
            .as_ref()
            .map_or_else(|refusal| refusal.code, |_| "good");
        metrics::counter!("rhubarb_tokens_total", "result" => result).increment(1);
        read
    }

    /// How long a connection may go on as this person.
    pub(crate) fn tenure(&self, person: &Person) -> Tenure {
        Tenure::new(
            person,
            Instant::now(),
            self.inner.authenticate_within,
            self.inner.expiry_grace,
        )
    }

    /// From which pages browsers may come.
    pub(crate) fn origins(&self) -> &Origins {
        &self.inner.origins
    }

    fn takes_tokens(&self) -> bool {
        !self.inner.keys.are_none()
    }

    /// Reads the files with keys again when they change, until the end.
    pub(crate) async fn keep_keys(self, end: Shutdown) {
        if self.inner.keys.are_fixed() {
            return;
        }
        let mut well = true;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = end.asked() => return,
            }
            let door = self.clone();
            let read = tokio::task::spawn_blocking(move || door.inner.keys.reload()).await;
            match read {
                Ok(Ok(changed)) => {
                    well = true;
                    if changed {
                        tracing::info!("the keys for tokens have changed and are in use");
                    }
                }
                Ok(Err(error)) if std::mem::replace(&mut well, false) => {
                    tracing::error!(
                        error = %Chain(error.as_ref()),
                        "the keys for tokens have changed and cannot be used; the old ones stay in use"
                    );
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}
