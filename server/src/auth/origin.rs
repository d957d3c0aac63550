//! Origins: from which pages a browser may come. A page of another host must not use a visitor's access to
//! this server; browsers say of each such request, in `Origin`, from which page it comes. Who sends none is
//! no browser, or a page that only links here.

use anyhow::bail;
use http::{HeaderMap, HeaderValue, Method, header};
use warp::reply::Response;

/// The pages that are let in.
#[derive(Debug)]
pub(crate) enum Origins {
    /// Those of the host that is asked.
    Own,
    /// Those of these.
    Listed(Vec<Pattern>),
    /// All.
    Any,
}

/// `https://chat.example`, or `https://*.example`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// All of it, or what is before the `*`.
    beginning: String,
    /// What is after it.
    ending: Option<String>,
}

/// Whether a request may be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does not come from a page, or from one of this host.
    Own,
    /// It comes from a page elsewhere, that may read the answer.
    Elsewhere(HeaderValue),
    /// It comes from a page that may not.
    Forbidden,
}

impl Origins {
    /// Those of a list; none for this host's own.
    ///
    /// # Errors
    /// If one is no origin.
    pub(crate) fn new(list: &[String]) -> anyhow::Result<Self> {
        let list: Vec<_> = list.iter().filter(|text| !text.is_empty()).collect();
        if list.is_empty() {
            return Ok(Self::Own);
        }
        if list.iter().any(|text| *text == "*") {
            return Ok(Self::Any);
        }
        let patterns = list.into_iter().map(|text| Pattern::read(text));
        patterns.collect::<anyhow::Result<_>>().map(Self::Listed)
    }

    /// Whether a request with these headers may be answered.
    pub(crate) fn verdict(&self, headers: &HeaderMap) -> Verdict {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Verdict::Own;
        };
        let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
        let is_own = || is_own(&text, headers);
        match self {
            Self::Own if is_own() => Verdict::Own,
            Self::Any => Verdict::Elsewhere(origin.clone()),
            Self::Listed(patterns) if patterns.iter().any(|pattern| pattern.fits(&text)) => {
                Verdict::Elsewhere(origin.clone())
            }
            Self::Own | Self::Listed(_) => Verdict::Forbidden,
        }
    }
}

/// Whether an origin has the host that is asked.
pub(crate) fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let (Some((scheme, authority)), Some(host)) = (origin.split_once("://"), host) else {
        return false;
    };
    // A browser leaves the scheme's own port out; others may not.
    let port = if scheme == "https" { ":443" } else { ":80" };
    let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    !authority.is_empty() && bare(authority) == bare(host)
}

impl Pattern {
    fn read(text: &str) -> anyhow::Result<Self> {
        let text = text.to_ascii_lowercase();
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let Some(host) = rest else {
            bail!("`{text}` is no origin: give a scheme and a host, such as https://chat.example");
        };
        let labels = host.strip_prefix("*.").unwrap_or(host);
        if labels.is_empty() || labels.contains(['*', '/', '?', '#', '@']) {
            bail!(
                "`{text}` is no origin: a scheme and a host, with *. before it at most, and no path"
            );
        }
        Ok(match text.split_once('*') {
            Some((beginning, ending)) => Self {
                beginning: beginning.to_owned(),
                ending: Some(ending.to_owned()),
            },
            None => Self {
                beginning: text,
                ending: None,
            },
        })
    }

    fn fits(&self, origin: &str) -> bool {
        match &self.ending {
            None => origin == self.beginning,
            Some(ending) => origin
                .strip_prefix(&*self.beginning)
                .and_then(|rest| rest.strip_suffix(&**ending))
                .is_some_and(|between| !between.is_empty()),
        }
    }
}

/// The headers that let a page elsewhere read an answer.
pub(crate) fn share(response: &mut Response, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("retry-after"),
    );
}

/// Whether a browser asks only whether it may ask.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that.
pub(crate) fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = http::StatusCode::NO_CONTENT;
    for (name, value) in [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, PATCH, DELETE",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, idempotency-key, last-event-id",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(list: &[&str], origin: Option<&str>, host: &str) -> Verdict {
        let list: Vec<_> = list.iter().map(|&text| text.to_owned()).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        Origins::new(&list).unwrap().verdict(&headers)
    }

    #[test]
    fn without_a_list_a_browser_comes_from_the_own_host_only() {
        let own = |origin, host| verdict(&[], Some(origin), host);

        assert_eq!(verdict(&[], None, "chat.example"), Verdict::Own);
        assert_eq!(own("http://127.0.0.1:8080", "127.0.0.1:8080"), Verdict::Own);
        assert_eq!(own("https://Chat.example", "chat.example"), Verdict::Own);
        assert_eq!(
            own("https://chat.example", "chat.example:443"),
            Verdict::Own
        );
        for other in [
            "https://evil.example",
            "http://127.0.0.1:8081",
            "https://chat.example.evil",
            "https://chat.example:8443",
            "null",
            "",
            "https://",
        ] {
            assert_eq!(own(other, "chat.example"), Verdict::Forbidden, "{other}");
        }
    }

    #[test]
    fn with_a_list_only_what_is_listed() {
        let list = ["https://chat.example", "https://*.shop.example"];
        let listed = |origin| verdict(&list, Some(origin), "here.example") != Verdict::Forbidden;

        assert!(listed("https://chat.example") && listed("https://a.b.shop.example"));
        for other in [
            "http://chat.example",
            "https://chat.example.evil",
            "https://shop.example",
            "https://.shop.example.evil",
            "https://here.example",
            "https://evilshop.example",
        ] {
            assert!(!listed(other), "{other}");
        }
        let any = verdict(&["*"], Some("https://a"), "b");
        assert_eq!(
            any,
            Verdict::Elsewhere(HeaderValue::from_static("https://a"))
        );
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for wrong in [
            "chat.example",
            "https://",
            "https://a/b",
            "https://a.*",
            "ftp://a",
            "https://*",
        ] {
            assert!(Origins::new(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
