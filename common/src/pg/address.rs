//! The address of Postgres, and connections to it: with TLS or without, as `sslmode` says in libpq's words.

use std::sync::Arc;

use diesel::ConnectionError;
use diesel_async::AsyncPgConnection;
use tokio_postgres::{
    Config, NoTls,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PATIENCE, PgError, tls};
use crate::error::Chain;

/// Where Postgres is, how to get in, and what is asked of its certificate. Cheap to clone.
#[derive(Clone)]
pub(super) struct Address {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    place: String,
    mode: Mode,
    tls: Option<MakeRustlsConnect>,
}

/// Whether TLS is used, and what the other side must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// No TLS.
    Disable,
    /// TLS if it works, whoever answers.
    Prefer,
    /// TLS, whoever answers; with an authority as `verify-ca`.
    Require,
    /// TLS, with a certificate that is trusted.
    VerifyCa,
    /// TLS, with a certificate that is trusted and bears the host's name.
    VerifyFull,
}

impl Mode {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// If it cannot be read, or the certificates that it names cannot.
    pub(super) fn read(url: &str) -> Result<Self, PgError> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(PgError::Address);
        }
        let (mut mode, mut files) = (None, tls::Files::default());
        // As tokio-postgres has it: up to the first @ is who gets in, also if there is a question mark in it.
        let start = url.find('@').unwrap_or_default();
        let query = url[start..].find('?').map_or(url.len(), |at| start + at);
        let (address, query) = (&url[..query], url[query..].trim_start_matches('?'));
        let mut left = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", name)) => mode = Some(Mode::read(name).ok_or(PgError::SslMode)?),
                Some(("sslrootcert", file)) => files.root = Some(file.to_owned()),
                Some(("sslcert", file)) => files.cert = Some(file.to_owned()),
                Some(("sslkey", file)) => files.key = Some(file.to_owned()),
                _ => left.push(pair),
            }
        }
        let mark = if left.is_empty() { "" } else { "?" };
        let address = format!("{address}{mark}{}", left.join("&"));
        // Why not is not told: the reason may be a part of the password.
        let mut config: Config = address.parse().map_err(|_| PgError::Address)?;
        // What is left of a password behind an @ of its own would be taken for the host, and told.
        let is_odd = |host: &Host| matches!(host, Host::Tcp(name) if name.contains(['@', '/', '&', '=', '?']));
        if config.get_hosts().is_empty() || config.get_hosts().iter().any(is_odd) {
            return Err(PgError::Address);
        }
        let mode = match mode {
            Some(Mode::Require) if files.root.is_some() => Mode::VerifyCa,
            None if files.root.is_some() => Mode::VerifyFull,
            mode => mode.unwrap_or(Mode::Prefer),
        };
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        let tls = match mode {
            Mode::Disable => None,
            mode => Some(MakeRustlsConnect::new(tls::config(mode, &files)?)),
        };
        let place = place(&config);
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                place,
                mode,
                tls,
            }),
        })
    }

    /// Host and port.
    pub(super) fn place(&self) -> String {
        self.inner.place.clone()
    }

    /// A new connection.
    ///
    /// # Errors
    /// If none can be made within [`PATIENCE`].
    pub(super) async fn connect(&self) -> Result<AsyncPgConnection, PgError> {
        let connected = tokio::time::timeout(PATIENCE, self.establish()).await;
        let place = || self.place();
        let connected = connected.map_err(|_| PgError::Timeout { place: place() })?;
        connected.map_err(|source| match source.to_string() {
            text if text.contains("invalid peer certificate") => PgError::Untrusted {
                place: place(),
                source,
            },
            _ => PgError::Connect {
                place: place(),
                source,
            },
        })
    }

    /// A new connection, for a pool that has its own patience.
    pub(super) async fn establish(&self) -> Result<AsyncPgConnection, ConnectionError> {
        let Inner {
            config, mode, tls, ..
        } = &*self.inner;
        let bad = |error: tokio_postgres::Error| {
            ConnectionError::BadConnection(Chain(&error).to_string())
        };
        if let Some(tls) = tls {
            match config.connect(tls.clone()).await {
                Ok((client, connection)) => {
                    return AsyncPgConnection::try_from_client_and_connection(client, connection)
                        .await;
                }
                // As libpq has it: what was only preferred is done without.
                Err(error) if *mode == Mode::Prefer && error.to_string().contains("TLS") => {}
                Err(error) => return Err(bad(error)),
            }
        }
        let mut config = config.clone();
        config.ssl_mode(SslMode::Disable);
        let (client, connection) = config.connect(NoTls).await.map_err(bad)?;
        AsyncPgConnection::try_from_client_and_connection(client, connection).await
    }
}

fn place(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    format!("{host}:{}", config.get_ports().first().unwrap_or(&5432))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(query: &str) -> Mode {
        Address::read(&format!("postgres://h/db{query}"))
            .unwrap()
            .inner
            .mode
    }

    #[test]
    fn the_mode_is_in_the_words_of_libpq() {
        assert_eq!(mode(""), Mode::Prefer);
        assert_eq!(mode("?sslmode=disable"), Mode::Disable);
        let marks = Address::read("postgres://u:s3/cr?et@h:1/db?sslmode=disable").unwrap();
        assert_eq!(
            (marks.inner.mode, &*marks.inner.place),
            (Mode::Disable, "h:1")
        );
        assert_eq!(mode("?application_name=x&sslmode=require"), Mode::Require);
    }

    #[test]
    fn what_cannot_be_is_refused_and_no_password_is_told() {
        for (url, word) in [
            (
                "postgres://u:s3cret@h/db?sslmode=maybe",
                "disable, prefer, require, verify-ca or verify-full",
            ),
            ("postgres://u:s3cret@h/db?sslrootcert=/no/such", "/no/such"),
            ("postgres://u:p@h/db?s3cret=1", "postgres://"),
            ("postgres://u:s3cret", "postgres://"),
            ("postgres://u:a@s3cret@h/db", "%40 for a @"),
            ("host=s3cret user=u sslmode=require", "postgres://"),
            ("s3cret", "postgres://"),
        ] {
            let error = Address::read(url).map(|_| url).unwrap_err();
            let text = format!("{} {error:?}", Chain(&error));
            assert!(text.contains(word), "{url}: {text}");
            assert!(!text.contains("s3"), "{url}: {text}");
        }
    }
}
