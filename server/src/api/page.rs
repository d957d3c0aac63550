//! The page and the client library, from inside the binary.

use std::fmt::Write as _;

use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{self, InvalidHeaderValue},
};
use rust_embed::{Embed, EmbeddedFile};
use warp::{
    path::Tail,
    reply::{Reply, Response},
};

use crate::error::ApiError;

/// The files of the page.
#[derive(Embed)]
#[folder = "static/"]
struct Files;

/// Nothing from elsewhere, nothing inline, and no text that becomes markup: a message can never run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// The folder of the dashboard.
const OPS: &str = "ops/";

/// What every file is sent with.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    // The files name each other without versions: a browser must not mix old and new ones.
    (header::CACHE_CONTROL, "no-cache"),
];

/// The page itself.
pub(crate) async fn index(known: Option<String>) -> Result<Response, ApiError> {
    reply("index.html", known)
}

/// One of its files.
pub(crate) async fn file(path: Tail, known: Option<String>) -> Result<Response, ApiError> {
    if path.as_str().starts_with(OPS) {
        return Err(ApiError::NotFound); // not without its token
    }
    reply(path.as_str(), known)
}

/// One of the files of the dashboard.
pub(crate) fn ops(path: &str, known: Option<String>) -> Result<Response, ApiError> {
    reply(&format!("{OPS}{path}"), known)
}

/// A file, or that the browser has it already: `known` is what it names in `If-None-Match`.
fn reply(path: &str, known: Option<String>) -> Result<Response, ApiError> {
    let file = Some(path).filter(|path| is_plain(path));
    let file = file.and_then(Files::get).ok_or(ApiError::NotFound)?;
    let tag = tag(&file);
    let is_known = known.is_some_and(|known| names(&known, &tag));
    let kind = kind(&file);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        file.data.into_owned().into_response()
    };
    set_headers(&mut response, &tag, &kind).map_err(|error| {
        tracing::error!(%error, path, "a file of the page has no proper headers");
        ApiError::Internal
    })?;
    Ok(response)
}

/// Whether a path says itself which file is meant: the files are also found by paths with backslashes or dots, which
/// would pass by the check of the folder.
fn is_plain(path: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let mut parts = path.split('/');
    parts.all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(fits))
}

fn set_headers(response: &mut Response, tag: &str, kind: &str) -> Result<(), InvalidHeaderValue> {
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_str(tag)?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind)?);
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(())
}

/// The hash of the content, as an entity tag.
fn tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let mut tag = String::from("\"");
    for byte in &hash[..16] {
        let _ = write!(tag, "{byte:02x}"); // a string takes all that is written
    }
    tag.push('"');
    tag
}

/// Whether an `If-None-Match` has this tag among its own. A proxy that compresses makes tags weak.
fn names(known: &str, tag: &str) -> bool {
    let mut tags = known.split(',').map(str::trim);
    tags.any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

fn kind(file: &EmbeddedFile) -> String {
    match file.metadata.mimetype() {
        // Modules must be told to be text/javascript in UTF-8.
        kind if kind.starts_with("text/") => format!("{kind}; charset=utf-8"),
        kind => kind.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn header<'a>(response: &'a Response<impl Sized>, name: &str) -> &'a str {
        response.headers()[name].to_str().unwrap()
    }

    #[test]
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = reply("rhubarb/client.js", None).unwrap();
        let tag = header(&first, "etag").to_owned();

        for known in [tag.clone(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            let again = reply("rhubarb/client.js", Some(known)).unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(header(&again, "etag"), tag);
        }
        let other = reply("rhubarb/client.js", Some("\"other\"".to_owned())).unwrap();
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[test]
    fn modules_are_sent_as_such_and_nothing_inline_may_run() {
        let module = reply("rhubarb.js", None).unwrap();

        assert_eq!(
            header(&module, "content-type"),
            "text/javascript; charset=utf-8"
        );
        assert_eq!(header(&module, "x-content-type-options"), "nosniff");
        let policy = header(&module, "content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn only_files_of_the_page_are_there() {
        for path in [
            "",
            "none.js",
            "rhubarb",
            "../Cargo.toml",
            "rhubarb/../../Cargo.toml",
            "ops\\index.html",
            "rhubarb/../ops/index.html",
            "./ops/index.html",
            "/ops/index.html",
            "rhubarb\\client.js",
            "rhubarb%5cclient.js",
        ] {
            assert!(
                matches!(reply(path, None), Err(ApiError::NotFound)),
                "{path}"
            );
        }
    }
}
