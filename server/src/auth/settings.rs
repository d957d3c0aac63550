//! What an operator says about who may connect.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, builder::FalseyValueParser};
use common::config::Secret;

/// Who may connect. At least a key, or --guests, is needed.
#[derive(Debug, Clone, Args)]
#[group(id = "auth")]
#[command(next_help_heading = "Who may connect")]
pub(crate) struct Settings {
    /// Secret with which tokens are signed (HS256), 32 bytes or more
    #[arg(
        long,
        env = "JWT_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    pub(crate) jwt_secret: Option<Secret>,

    /// Files with a public key each, in PEM: RSA (RS256), Ed25519 (`EdDSA`) or P-256 (ES256); read again when
    /// they change
    #[arg(long, env = "JWT_KEY", value_name = "FILE,…", value_delimiter = ',')]
    pub(crate) jwt_key: Vec<PathBuf>,

    /// File with a JSON Web Key Set, of which a token's `kid` selects one; read again when it changes
    #[arg(long, env = "JWKS", value_name = "FILE")]
    pub(crate) jwks: Option<PathBuf>,

    /// What a token's `aud` must name; without this, a token that has one is refused
    #[arg(long, env = "JWT_AUDIENCE", value_name = "NAME")]
    pub(crate) jwt_audience: Option<String>,

    /// What a token's `iss` must be
    #[arg(long, env = "JWT_ISSUER", value_name = "NAME")]
    pub(crate) jwt_issuer: Option<String>,

    /// How far the clocks of this server and of who signs tokens may differ
    #[arg(long, env = "JWT_LEEWAY", default_value_t = 10, value_name = "SECONDS")]
    pub(crate) jwt_leeway: u64,

    /// Takes everybody by their word: /ws?userId=…&username=…
    #[arg(long, env = "GUESTS", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    pub(crate) guests: bool,

    /// Rooms that guests may enter; a * at the end of a name stands for any ending
    #[arg(
        long,
        env = "GUEST_ROOMS",
        default_value = "*",
        value_name = "ROOM,…",
        value_delimiter = ','
    )]
    pub(crate) guest_rooms: Vec<String>,

    /// Pages from which browsers may come, such as `https://chat.example` or `https://*.example`; * for all.
    /// Without this, only those of this server's own host
    #[arg(long, env = "ORIGINS", value_name = "ORIGIN,…", value_delimiter = ',')]
    pub(crate) origin: Vec<String>,

    /// How long a connection without a token has to send one
    #[arg(
        long,
        env = "AUTHENTICATE_WITHIN",
        default_value_t = 10,
        value_name = "SECONDS"
    )]
    pub(crate) authenticate_within: u64,

    /// How long before its end a token is said to expire, and how long after it the connection stays open to
    /// be renewed
    #[arg(
        long,
        env = "EXPIRY_GRACE",
        default_value_t = 10,
        value_name = "SECONDS"
    )]
    pub(crate) expiry_grace: u64,
}

impl Settings {
    /// How far clocks may differ.
    pub(super) fn leeway(&self) -> Duration {
        Duration::from_secs(self.jwt_leeway)
    }
}
