//! The door of the dashboard: who asks, and that a change is asked for by them and not by a page elsewhere
//! that their browser shows.

use http::{HeaderMap, header};

use super::{Ops, people::Who};
use crate::{
    auth::{bearer::bearer, origin::is_own},
    error::ApiError,
    limits::{Address, Limits},
};

/// The header that every change by cookie carries: no form can set it, and no script of another origin.
const OWN: &str = "x-rhubarb-ops";

/// From where a request came, for the checks of this file.
pub(super) struct Caller<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) address: Address,
    pub(super) limits: &'a Limits,
}

impl Caller<'_> {
    /// Who may look.
    pub(super) fn looks(&self, ops: &Ops) -> Result<Who, ApiError> {
        self.comes_from_here()?;
        if let Some(token) = self.bearer() {
            return self.holder(ops, token);
        }
        let by_cookie = ops.people.by_cookie(self.headers);
        by_cookie.ok_or(ApiError::Unauthorized)
    }

    /// Who may change something.
    pub(super) fn changes(&self, ops: &Ops) -> Result<Who, ApiError> {
        let who = self.looks(ops)?;
        if self.bearer().is_none() && !self.headers.contains_key(OWN) {
            return Err(ApiError::Forged);
        }
        Ok(who)
    }

    /// Whose token this is.
    pub(super) fn holder(&self, ops: &Ops, token: &str) -> Result<Who, ApiError> {
        let check = || ops.people.by_token(token);
        let found = self.limits.guess(self.address, token, check)?;
        found.ok_or_else(|| {
            tracing::warn!("a wrong token came to the dashboard");
            ApiError::Unauthorized
        })
    }

    /// The chat may be open to pages elsewhere; the dashboard never is.
    pub(super) fn comes_from_here(&self) -> Result<(), ApiError> {
        let text = |name: &str| {
            let value = self.headers.get(name)?;
            Some(value.to_str().unwrap_or_default().to_ascii_lowercase())
        };
        let site = text("sec-fetch-site");
        let by_site = site.is_none_or(|site| site == "same-origin" || site == "none");
        let origin = text(header::ORIGIN.as_str());
        let by_origin = origin.is_none_or(|origin| is_own(&origin, self.headers));
        if by_site && by_origin {
            Ok(())
        } else {
            Err(ApiError::ForbiddenOrigin)
        }
    }

    /// Whether the browser reached us by https, as far as that can be known behind a proxy.
    pub(super) fn is_secure(&self) -> bool {
        let begins = |name: &str, beginning: &str| {
            let value = self.headers.get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| value.to_ascii_lowercase().starts_with(beginning))
        };
        begins("origin", "https://") || begins("x-forwarded-proto", "https")
    }

    fn bearer(&self) -> Option<&str> {
        let header = self.headers.get(header::AUTHORIZATION);
        bearer(header.and_then(|text| text.to_str().ok()))
    }
}
