//! The page, from inside the binary.

use http::{HeaderValue, header};
use rust_embed::Embed;
use warp::reply::{Reply, Response};

use crate::error::ApiError;

/// The files of the page.
#[derive(Embed)]
#[folder = "static/"]
struct Files;

/// Nothing from elsewhere, nothing inline: text of a message can never run.
const POLICY: &str =
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// The page itself.
pub(crate) async fn index() -> Result<Response, ApiError> {
    file("index.html".to_owned()).await
}

/// One of its files.
pub(crate) async fn file(name: String) -> Result<Response, ApiError> {
    let file = Files::get(&name).ok_or(ApiError::NotFound)?;
    let kind = match file.metadata.mimetype() {
        // Modules must be told to be text/javascript in UTF-8.
        kind if kind.starts_with("text/") => format!("{kind}; charset=utf-8"),
        kind => kind.to_owned(),
    };
    let mut response = file.data.into_owned().into_response();
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    // The files name each other without versions: a browser must not mix old and new ones.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
