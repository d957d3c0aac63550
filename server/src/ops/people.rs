//! People: who may use the dashboard, each by a token of their own, so that what is changed bears a name. A
//! cookie, signed with that token, names its holder to every server of the deployment; none keeps it.

use std::{
    fmt,
    ops::Deref,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::auth::bearer::Token;

/// How long a cookie is good for.
const SHIFT: Duration = Duration::from_secs(12 * 3600);
/// The cookie's name.
const COOKIE: &str = "rhubarb_ops";
/// What a cookie is for: no other token is one.
const AUDIENCE: &str = "rhubarb-ops";
/// A name has so many letters at most.
const LONGEST: usize = 64;

/// Those who may.
#[derive(Debug)]
pub(crate) struct People(Vec<Person>);

struct Person {
    name: String,
    token: Token,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Person({})", self.name)
    }
}

/// Somebody who may, until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Who {
    pub(crate) name: String,
    /// Seconds since 1970; none if the token itself came with the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    aud: String,
    exp: u64,
}

impl People {
    /// Those of a list of `NAME=TOKEN`; none if it is empty.
    ///
    /// # Errors
    /// If one is not of that form. The error repeats no token.
    pub(crate) fn new(list: &[impl Deref<Target = str>]) -> anyhow::Result<Option<Self>> {
        let mut people: Vec<Person> = Vec::new();
        let given = list.iter().map(|text| text.trim());
        for (at, text) in given.filter(|text| !text.is_empty()).enumerate() {
            let n = at + 1;
            let Some((name, text)) = text.split_once('=') else {
                bail!("number {n} of --ops-token is not of the form NAME=TOKEN");
            };
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
            if name.is_empty() || name.len() > LONGEST || !name.chars().all(fits) {
                bail!(
                    "the name of number {n} of --ops-token has 1 to {LONGEST} letters, digits, or - _ . @"
                );
            }
            let token: Token = text
                .parse()
                .with_context(|| format!("read the token of {name} (--ops-token)"))?;
            if people.iter().any(|one| one.name == name) {
                bail!("--ops-token names {name} twice");
            }
            if people.iter().any(|one| one.token.is(text)) {
                bail!(
                    "{name} and another have the same token (--ops-token): who it was could not be told"
                );
            }
            people.push(Person {
                name: name.to_owned(),
                token,
            });
        }
        Ok((!people.is_empty()).then_some(Self(people)))
    }

    /// Whose token this is. All are compared, so that the time tells nothing.
    pub(super) fn by_token(&self, token: &str) -> Option<Who> {
        let mut found = None;
        for person in &self.0 {
            if person.token.is(token) {
                found = Some(person);
            }
        }
        found.map(|person| Who {
            name: person.name.clone(),
            until: None,
        })
    }

    /// Whose cookie a request carries.
    pub(super) fn by_cookie(&self, headers: &HeaderMap) -> Option<Who> {
        let lines = headers.get_all(header::COOKIE).iter();
        let cookies = lines.filter_map(|line| line.to_str().ok());
        let mut cookies = cookies.flat_map(|line| line.split(';'));
        cookies.find_map(|cookie| {
            let (name, value) = cookie.trim().split_once('=')?;
            (name == COOKIE).then(|| self.signed(value)).flatten()
        })
    }

    fn signed(&self, value: &str) -> Option<Who> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "aud", "sub"]);
        validation.leeway = 10;
        self.0.iter().find_map(|person| {
            let key = DecodingKey::from_secret(person.token.bytes());
            let claims = decode::<Claims>(value, &key, &validation).ok()?.claims;
            (claims.sub == person.name).then_some(Who {
                name: claims.sub,
                until: Some(claims.exp),
            })
        })
    }

    /// The cookie of somebody, as `Set-Cookie` has it, and the person until when.
    pub(super) fn cookie(&self, name: &str, is_secure: bool) -> Option<(String, Who)> {
        let person = self.0.iter().find(|person| person.name == name)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let claims = Claims {
            sub: person.name.clone(),
            aud: AUDIENCE.to_owned(),
            exp: (now + SHIFT).as_secs(),
        };
        let key = EncodingKey::from_secret(person.token.bytes());
        let value = encode(&Header::default(), &claims, &key).ok()?;
        let who = Who {
            name: claims.sub,
            until: Some(claims.exp),
        };
        Some((set_cookie(&value, SHIFT.as_secs(), is_secure), who))
    }
}

/// Takes the cookie from the browser.
pub(super) fn no_cookie(is_secure: bool) -> String {
    set_cookie("", 0, is_secure)
}

fn set_cookie(value: &str, seconds: u64, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Path=/ops; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "ada-0123456789abcdef";
    const BOB: &str = "bob-0123456789abcdef";

    fn people(list: &[&str]) -> anyhow::Result<Option<People>> {
        let list: Vec<_> = list.iter().map(|&text| text.to_owned()).collect();
        People::new(&list)
    }

    fn both() -> People {
        let list = [format!("ada={ADA}"), format!("bob={BOB}")];
        People::new(&list).unwrap().unwrap()
    }

    fn carrying(set_cookie: &str) -> HeaderMap {
        let (cookie, _) = set_cookie.split_once(';').unwrap();
        let mut headers = HeaderMap::new();
        let line = format!("theme=dark; {cookie}");
        headers.insert(header::COOKIE, line.parse().unwrap());
        headers
    }

    #[test]
    fn a_token_names_its_holder_and_nobody_else() {
        let people = both();

        assert_eq!(people.by_token(ADA).unwrap().name, "ada");
        assert_eq!(people.by_token(BOB).unwrap().name, "bob");
        assert_eq!(people.by_token("ada"), None);
        assert_eq!(people.by_token(""), None);
    }

    #[test]
    fn a_cookie_is_good_on_every_server_with_the_same_token_and_on_no_other() {
        let (cookie, who) = both().cookie("ada", true).unwrap();

        assert!(
            cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"),
            "{cookie}"
        );
        assert!(!cookie.contains(ADA));
        let headers = carrying(&cookie);
        assert_eq!(both().by_cookie(&headers), Some(who));
        let ada_only = people(&[&format!("ada={ADA}")]).unwrap().unwrap();
        assert_eq!(ada_only.by_cookie(&headers).unwrap().name, "ada");
        for others in [
            format!("ada={BOB}"),
            format!("eve={ADA}"),
            format!("bob={BOB}"),
        ] {
            let others = people(&[&others]).unwrap().unwrap();
            assert_eq!(others.by_cookie(&headers), None);
        }
    }

    #[test]
    fn a_cookie_is_over_at_its_end_and_nothing_else_is_one() {
        let people = both();
        let claims = |aud: &str, exp| {
            let claims = Claims {
                sub: "ada".to_owned(),
                aud: aud.to_owned(),
                exp,
            };
            let key = EncodingKey::from_secret(ADA.as_bytes());
            let value = encode(&Header::default(), &claims, &key).unwrap();
            people.by_cookie(&carrying(&set_cookie(&value, 9, false)))
        };

        assert!(claims(AUDIENCE, 4_000_000_000).is_some());
        assert_eq!(claims(AUDIENCE, 1_000_000_000), None);
        assert_eq!(claims("chat", 4_000_000_000), None);
        assert_eq!(people.by_cookie(&carrying("rhubarb_ops=x.y.z;")), None);
        assert_eq!(people.by_cookie(&HeaderMap::new()), None);
        assert_eq!(people.by_cookie(&carrying(&no_cookie(false))), None);
    }

    #[test]
    fn what_is_no_list_of_people_is_refused_without_telling_a_token() {
        assert!(people(&[]).unwrap().is_none());
        assert!(people(&["", " "]).unwrap().is_none());
        let [ada, same] = [format!("ada={ADA}"), format!("bob={ADA}")];
        for wrong in [
            &[ADA][..],
            &["ada=short-secret"],
            &["=0123456789abcdef-x"],
            &["a b=0123456789abcdef-x"],
            &[&ada, &ada],
            &[&ada, &same],
        ] {
            let error = format!("{:#}", people(wrong).unwrap_err());
            for secret in [ADA, "short-secret", "0123456789abcdef-x"] {
                assert!(!error.contains(secret), "{error}");
            }
        }
        assert!(!format!("{:?}", both()).contains(ADA));
    }
}
