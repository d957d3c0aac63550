//! The address of Redis: where it is, and with which certificates it is spoken to.

use std::{fs, path::Path};

use redis::{Client, ClientTlsConfig, ErrorKind, IntoConnectionInfo, RedisError, TlsCertificates};

use super::KvError;

/// A client of the Redis at `url`. A `rediss://` address may end in `?cacert=FILE`, for an authority that the machine
/// does not know, and `&cert=FILE&key=FILE`, for a Redis that wants to know who connects: in redis-cli's words.
pub(super) fn client(url: &str) -> Result<Client, KvError> {
    let (address, files) = Files::split(url);
    let scheme = url
        .split("://")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_tls = matches!(&*scheme, "rediss" | "valkeys");
    if !is_tls && !files.are_none() {
        return Err(KvError::Certificate(
            "certificates need an address that begins with rediss://".to_owned(),
        ));
    }
    let info = address
        .as_str()
        .into_connection_info()
        .map_err(KvError::Address)?;
    // One command less for each connection, and one that no user needs the right to.
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    let info = info.set_redis_settings(settings);
    if !is_tls {
        return Client::open(info).map_err(KvError::Address);
    }
    // By name: if a package turned another kind of cryptography on, too, rustls would know none.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if files.are_none() {
        return Client::open(info).map_err(KvError::Address);
    }
    let certificates = files.read()?;
    Client::build_with_tls(info, certificates)
        .map_err(|error| KvError::Certificate(error.to_string()))
}

/// What an address names of certificates.
#[derive(Debug, Default)]
struct Files<'a> {
    cacert: Option<&'a str>,
    cert: Option<&'a str>,
    key: Option<&'a str>,
}

impl<'a> Files<'a> {
    /// Takes them out of an address; what is left is for redis-rs.
    fn split(url: &'a str) -> (String, Self) {
        let mut files = Self::default();
        let Some((address, query)) = url.split_once('?').filter(|_| url.contains("://")) else {
            return (url.to_owned(), files);
        };
        let mut left = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("cacert", file)) => files.cacert = Some(file),
                Some(("cert", file)) => files.cert = Some(file),
                Some(("key", file)) => files.key = Some(file),
                _ => left.push(pair),
            }
        }
        let mark = if left.is_empty() { "" } else { "?" };
        (format!("{address}{mark}{}", left.join("&")), files)
    }

    fn are_none(&self) -> bool {
        self.cacert.or(self.cert).or(self.key).is_none()
    }

    fn read(&self) -> Result<TlsCertificates, KvError> {
        let read = |file: &str| {
            let text = fs::read(Path::new(file));
            text.map_err(|error| KvError::Certificate(format!("{file}: {error}")))
        };
        let client_tls = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some(ClientTlsConfig {
                client_cert: read(cert)?,
                client_key: read(key)?,
            }),
            (None, None) => None,
            _ => {
                return Err(KvError::Certificate(
                    "cert and key belong together".to_owned(),
                ));
            }
        };
        let root_cert = self.cacert.map(read).transpose()?;
        Ok(TlsCertificates {
            client_tls,
            root_cert,
        })
    }
}

/// What a failed attempt to connect is called.
pub(super) fn failed(source: RedisError) -> KvError {
    let text = source.to_string();
    if text.contains("invalid peer certificate") {
        return KvError::Untrusted(source);
    }
    let is_cut_off = source.is_connection_dropped() && !source.is_connection_refusal();
    let is_no_tls = text.contains("InvalidContentType");
    if is_cut_off || is_no_tls || source.kind() == ErrorKind::Parse {
        return KvError::Stranger(source);
    }
    KvError::Connect(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_taken_out_of_an_address() {
        let (left, files) = Files::split("rediss://h:1/0?cacert=/ca&protocol=resp3&cert=/c&key=/k");
        assert_eq!(left, "rediss://h:1/0?protocol=resp3");
        assert_eq!(
            (files.cacert, files.cert, files.key),
            (Some("/ca"), Some("/c"), Some("/k"))
        );
        assert_eq!(Files::split("rediss://h?cacert=/ca").0, "rediss://h");
    }

    #[test]
    fn what_cannot_be_is_refused_and_no_password_is_told() {
        for (url, word) in [
            ("redis://:s3cret@h:1/0?cacert=/ca", "rediss://"),
            (
                "rediss://:s3cret@h:1/0?cacert=/no/such",
                "/no/such: No such file",
            ),
            ("rediss://:s3cret@h:1/0?cert=/c", "belong together"),
            ("redis://:s3cret@h:1/s3cret", "Redis address"),
            ("redis://:s3cret@h:s3cret", "Redis address"),
            ("s3cret", "Redis address"),
        ] {
            let error = client(url).unwrap_err();
            let text = format!("{} {error:?}", crate::error::Chain(&error));
            assert!(
                text.contains(word) && !text.contains("s3cret"),
                "{url}: {text}"
            );
        }
    }
}
