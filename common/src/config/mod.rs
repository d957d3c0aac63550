//! Configuration: the settings that every process shares, and where their values come from.
//!
//! A setting is a flag with an environment variable. [`load()`] reads them: flag before environment before
//! `file` before default. `docs/settings.md` lists all of them.

mod file;
mod load;
mod secret;
pub mod setting;

use clap::Args;

use crate::telemetry::LogFormat;

pub use load::{Given, Value, load, parse};
pub use secret::Secret;
pub use setting::Process;

/// Where Redis is, what to call things there, and how to log. Each flag can be set by its environment variable, or
/// in a file.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// File with settings, in TOML; its keys are the long names of flags
    #[arg(long, env = "RHUBARB_CONFIG", value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,

    /// Address of Redis, e.g. `redis://127.0.0.1:6379/0`, or `rediss://HOST:6380/0?cacert=FILE` for TLS
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Secret,

    /// Prefix of all Redis keys and channels; two deployments with different prefixes can share a Redis
    #[arg(long, env = "RHUBARB_NAMESPACE", default_value = "rhubarb", value_name = "NAME", value_parser = namespace)]
    pub namespace: String,

    /// How log lines are written
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "human")]
    pub log_format: LogFormat,
}

/// Where Postgres is.
#[derive(Debug, Clone, Args)]
pub struct Archive {
    /// Address of Postgres, e.g. `postgres://user:password@127.0.0.1:5432/rhubarb`; for TLS with
    /// `?sslmode=verify-full&sslrootcert=FILE`
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Secret,

    /// How many connections to Postgres at most
    #[arg(
        long,
        env = "DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_name = "N",
        value_parser = connections
    )]
    pub database_connections: usize,
}

/// Where traces are sent.
#[derive(Debug, Clone, Args)]
pub struct Tracing {
    /// Collector to send traces to, by OTLP over HTTP, e.g. `http://127.0.0.1:4318`. Off if not set
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub otlp_endpoint: Option<String>,

    /// The share of messages and requests that begin a trace, from 0 to 1. Those that come with a `traceparent`
    /// are traced if that says so
    #[arg(long, env = "TRACE_RATIO", default_value_t = 0.01, value_name = "SHARE", value_parser = ratio)]
    pub trace_ratio: f64,
}

fn ratio(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "a number from 0 to 1 is expected".to_owned())
}

/// What a process does instead of its work.
#[derive(Debug, Clone, Copy, Args)]
pub struct Check {
    /// Show every setting, its value and where that comes from, try Redis and Postgres, and end
    #[arg(long)]
    pub check_config: bool,
}

fn connections(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=1000).contains(n))
        .ok_or_else(|| "a number from 1 to 1000 is expected".to_owned())
}

fn namespace(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.len() <= 64
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if fits {
        Ok(text.to_owned())
    } else {
        Err("a namespace has 1 to 64 letters, digits, `_`, `-` or `.`".to_owned())
    }
}
