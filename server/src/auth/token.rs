//! Tokens: a JWT of somebody who may sign them is turned into a [`Person`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{
    Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::Deserialize;
use tokio::time::Instant;

use super::keys::Keys;
use crate::{
    frame::Refusal,
    person::{self, GUEST, Person, Proof, Tier},
};

/// A connection does not live as long as this, whatever its token says.
const FOREVER: f64 = 366.0 * 24.0 * 3600.0;

/// What a token must be, apart from being signed.
#[derive(Debug)]
pub(crate) struct Terms {
    /// How far clocks may differ.
    pub(crate) leeway: Duration,
    pub(crate) audience: Option<String>,
    pub(crate) issuer: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    name: Option<String>,
    #[serde(default)]
    rooms: Vec<String>,
    #[serde(default)]
    tier: Tier,
    exp: Option<f64>,
}

/// Whom a token names.
pub(crate) fn read(token: &str, keys: &Keys, terms: &Terms) -> Result<Person, Refusal> {
    let header = decode_header(token).map_err(|error| match error.kind() {
        ErrorKind::Json(why) if why.to_string().contains("variant") => {
            unauthorized("the token's `alg` is not one that is taken here")
        }
        _ => unauthorized("the token is no JWT: three parts in base64url, with dots between them"),
    })?;
    if header.crit.is_some() {
        return Err(unauthorized(
            "the token's header has a `crit`; none is known here",
        ));
    }
    let keys = keys.of(header.alg, header.kid.as_deref());
    if keys.is_empty() {
        let kid = header.kid.map_or(String::new(), |kid| {
            format!(
                " and the `kid` {}",
                kid.chars().take(40).collect::<String>()
            )
        });
        let message = format!(
            "no key of this server is for a token with the `alg` {:?}{kid}",
            header.alg
        );
        return Err(unauthorized(message));
    }
    let mut refusal = None;
    for key in keys {
        match decode::<Claims>(token, &key.check, &terms.validation(key.algorithm)) {
            Ok(data) => return terms.person(data.claims),
            Err(error) => {
                let by_another = matches!(error.kind(), ErrorKind::InvalidSignature);
                refusal = Some(why(&error));
                if !by_another {
                    break;
                }
            }
        }
    }
    Err(refusal.unwrap_or_else(|| unauthorized("the token is signed by nobody known here")))
}

impl Terms {
    fn validation(&self, algorithm: jsonwebtoken::Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.leeway.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    fn person(&self, claims: Claims) -> Result<Person, Refusal> {
        let bad = |refusal: Refusal| unauthorized(format!("in the token, {}", refusal.message));
        let user_id = claims.sub.unwrap_or_default();
        person::check_id("`sub`", &user_id).map_err(bad)?;
        person::check_name("`sub`", &user_id).map_err(bad)?;
        if user_id.starts_with(GUEST) {
            let message = format!("in the token, `sub` begins with {GUEST}, as only guests' do");
            return Err(unauthorized(message));
        }
        let name = person::shown(&claims.name.unwrap_or_default());
        let username = if name.is_empty() {
            user_id.clone()
        } else {
            name
        };
        let left = left(claims.exp.unwrap_or_default());
        let now = Instant::now();
        Ok(Person {
            user_id: user_id.into(),
            username: username.into(),
            tier: claims.tier,
            rooms: claims.rooms.into_iter().collect(),
            proof: Proof::Token {
                expires: now + left.until_expiry,
                ends: now + left.until(self.leeway),
            },
        })
    }
}

/// How long a token is good for.
struct Left {
    until_expiry: Duration,
    since_expiry: Duration,
}

impl Left {
    fn until(&self, leeway: Duration) -> Duration {
        (self.until_expiry + leeway).saturating_sub(self.since_expiry)
    }
}

fn left(exp: f64) -> Left {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let left = exp - now.as_secs_f64();
    Left {
        until_expiry: Duration::from_secs_f64(left.clamp(0.0, FOREVER)),
        since_expiry: Duration::from_secs_f64((-left).clamp(0.0, FOREVER)),
    }
}

fn unauthorized(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new("unauthorized", message)
}

fn why(error: &Error) -> Refusal {
    match error.kind() {
        ErrorKind::ExpiredSignature => {
            Refusal::new("expired", "the token has expired: get a fresh one")
        }
        ErrorKind::InvalidSignature => {
            unauthorized("the token's signature is not by a key of this server")
        }
        ErrorKind::MissingRequiredClaim(claim) => {
            unauthorized(format!("the token has no `{claim}`"))
        }
        ErrorKind::InvalidClaimFormat(claim) => {
            unauthorized(format!("the token's `{claim}` is not what it should be"))
        }
        ErrorKind::ImmatureSignature => unauthorized("the token is not valid yet: see its `nbf`"),
        ErrorKind::InvalidIssuer => {
            unauthorized("the token's `iss` is not the issuer trusted here")
        }
        ErrorKind::InvalidAudience => {
            unauthorized("the token's `aud` does not name this server (--jwt-audience)")
        }
        ErrorKind::Json(error) => unauthorized(format!("the token's claims: {error}")),
        _ => unauthorized("the token cannot be read"),
    }
}
