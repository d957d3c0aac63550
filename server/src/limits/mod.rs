//! Limits: what one connection, one user, one address and all together may ask of this server. Each has a setting, a code
//! that its refusals bear, and a count of them in `rhubarb_limited_total`.

mod address;
mod addresses;
mod crowd;
mod guesses;
mod rate;
mod users;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use ipnet::IpNet;
use rand::RngExt;
use tokio::time::Instant;

use crate::{
    frame::{Refusal, millis},
    person::Person,
};

pub(crate) use address::Address;
pub(crate) use addresses::Place;
use addresses::{Addresses, Full};
use guesses::Guesses;
use rate::{Bucket, Rate};
pub(crate) use users::Seat;
use users::Users;

/// Who is told to connect later comes after a random time between what is needed and so much more, so that
/// those who were refused together do not come back together.
const SPREAD: Duration = Duration::from_secs(5);

/// Streams of the dashboard of one person at once.
const LOOKS: usize = 50;

/// What this server is asked at most. Each server has its own count. Rates are `A_SECOND:AT_ONCE`, or `off`.
#[derive(Debug, Clone, Args)]
#[group(id = "limits")]
#[command(next_help_heading = "Limits")]
pub(crate) struct Settings {
    /// Messages of one connection
    #[arg(
        long,
        env = "MESSAGE_RATE",
        default_value = "20:100",
        value_name = "RATE"
    )]
    pub(crate) message_rate: Rate,

    /// Messages of one user, over all connections
    #[arg(
        long,
        env = "USER_MESSAGE_RATE",
        default_value = "40:200",
        value_name = "RATE"
    )]
    pub(crate) user_message_rate: Rate,

    /// Rooms and pages of history that one user reads over HTTP
    #[arg(
        long,
        env = "USER_READ_RATE",
        default_value = "20:100",
        value_name = "RATE"
    )]
    pub(crate) user_read_rate: Rate,

    /// Joins of one connection
    #[arg(long, env = "JOIN_RATE", default_value = "10:100", value_name = "RATE")]
    pub(crate) join_rate: Rate,

    /// Tokens of one connection: to check one costs more than any other frame
    #[arg(long, env = "AUTH_RATE", default_value = "1:5", value_name = "RATE")]
    pub(crate) auth_rate: Rate,

    /// Frames of any kind of one connection; one that sends more is closed
    #[arg(
        long,
        env = "FRAME_RATE",
        default_value = "100:500",
        value_name = "RATE"
    )]
    pub(crate) frame_rate: Rate,

    /// Connections that are taken; others are told when to come back
    #[arg(
        long,
        env = "CONNECT_RATE",
        default_value = "2000:4000",
        value_name = "RATE"
    )]
    pub(crate) connect_rate: Rate,

    /// Connections that are taken from one address (IPv6: from one network of 64 bits)
    #[arg(
        long,
        env = "ADDRESS_CONNECT_RATE",
        default_value = "100:1000",
        value_name = "RATE"
    )]
    pub(crate) address_connect_rate: Rate,

    /// Requests about rooms over HTTP (messages, pages of history, looks) from one address: whoever may take any name
    /// is held by nothing else. A back end that posts for many needs more, or `off`
    #[arg(
        long,
        env = "ADDRESS_REQUEST_RATE",
        default_value = "200:1000",
        value_name = "RATE"
    )]
    pub(crate) address_request_rate: Rate,

    /// Connections of one address at once; many people may share one
    #[arg(
        long,
        env = "CONNECTIONS_PER_ADDRESS",
        default_value_t = 1000,
        value_name = "N"
    )]
    pub(crate) connections_per_address: usize,

    /// Proxies before this server: what they say in `X-Forwarded-For` of where a connection comes from is
    /// believed. Without them all clients have the proxy's address
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',', value_parser = address::network, value_name = "NETWORKS")]
    pub(crate) trusted_proxies: Vec<IpNet>,

    /// Connections of one user at once
    #[arg(
        long,
        env = "CONNECTIONS_PER_USER",
        default_value_t = 50,
        value_name = "N"
    )]
    pub(crate) connections_per_user: usize,

    /// Rooms of one connection at once
    #[arg(
        long,
        env = "ROOMS_PER_CONNECTION",
        default_value_t = 50,
        value_name = "N"
    )]
    pub(crate) rooms_per_connection: usize,

    /// Size of a message
    #[arg(long, env = "MESSAGE_BYTES", default_value_t = 16 * 1024, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=48 * 1024))]
    pub(crate) message_bytes: u32,
}

/// The limits of this server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) settings: Arc<Settings>,
    users: Users,
    /// Those who look at the dashboard.
    operators: Users,
    addresses: Addresses,
    guesses: Guesses,
    connects: Arc<Mutex<Bucket>>,
}

/// What one connection has used up of its limits.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    frames: Bucket,
    messages: Bucket,
    joins: Bucket,
    tokens: Bucket,
}

impl Limits {
    /// Limits that nobody has used yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings: Arc::new(settings),
            users: Users::default(),
            operators: Users::default(),
            addresses: Addresses::default(),
            guesses: Guesses::default(),
            connects: Arc::default(),
        }
    }

    /// Takes a connection, unless its address has too many, or too many come at once.
    pub(crate) fn connect(&self, address: Address) -> Result<Place, Refusal> {
        let (most, rate) = (
            self.settings.connections_per_address,
            self.settings.address_connect_rate,
        );
        // First: what one address asks too much is not taken from the others.
        let place = self.addresses.enter(address, most, rate, Instant::now());
        let place = place.map_err(|full| {
            let spread = SPREAD.mul_f64(rand::rng().random());
            match full {
                Full::TooFast(wait) => {
                    let message = "many connect at once from your address; try again after a while";
                    let wait = Some(wait + spread);
                    limited("address_connects", "rate_limited", message, wait)
                }
                Full::TooMany => {
                    let message = format!("your address has {most} connections to this server");
                    let wait = Some(Duration::from_secs(1) + spread);
                    let code = "too_many_connections";
                    limited("address_connections", code, message, wait)
                }
            }
        })?;
        let mut connects = self.connects.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = connects.take(self.settings.connect_rate, Instant::now());
        drop(connects);
        taken.map_err(|wait| {
            let wait = wait + SPREAD.mul_f64(rand::rng().random());
            let message = "many connect at once; try again after a while";
            limited("connects", "rate_limited", message, Some(wait))
        })?;
        Ok(place)
    }

    /// Takes one who looks at the dashboard, unless they do so too often at once. What the chat's clients do
    /// at their addresses does not count: when they all come back at once, operators look most.
    pub(crate) fn look(&self, name: &str) -> Result<Seat, Refusal> {
        self.operators.sit(name, LOOKS).ok_or_else(|| {
            let message = format!("you have the dashboard open {LOOKS} times; close one first");
            let wait = Duration::from_secs(1) + SPREAD.mul_f64(rand::rng().random());
            limited("looks", "too_many_connections", message, Some(wait))
        })
    }

    /// Has a secret checked; refuses wrong ones if too many came from the address.
    pub(crate) fn guess<T>(
        &self,
        address: Address,
        secret: &str,
        check: impl FnOnce() -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let guessed = self.guesses.check(address, secret, Instant::now(), check);
        guessed.map_err(|wait| {
            let message = "many wrong tokens came from your address; wait";
            limited("guesses", "rate_limited", message, Some(wait))
        })
    }

    /// Counts a request about a room that comes without a connection.
    pub(crate) fn request(&self, address: Address) -> Result<(), Refusal> {
        let rate = self.settings.address_request_rate;
        let counted = self.addresses.request(address, rate, Instant::now());
        counted.map_err(|wait| {
            let message = "many requests come at once from your address; try again after a while";
            let wait = wait + Duration::from_secs(1).mul_f64(rand::rng().random());
            limited("address_requests", "rate_limited", message, Some(wait))
        })
    }

    /// Counts a connection of a person, unless there are too many.
    pub(crate) fn sit(&self, person: &Person) -> Result<Seat, Refusal> {
        let most = self.settings.connections_per_user;
        self.users.sit(&person.user_id, most).ok_or_else(|| {
            let message = format!("you have {most} connections to this server; end one first");
            let wait = Duration::from_secs(1) + SPREAD.mul_f64(rand::rng().random());
            limited("connections", "too_many_connections", message, Some(wait))
        })
    }

    /// Counts a message of a person, whichever way it came.
    pub(crate) fn message(&self, person: &Person) -> Result<(), Refusal> {
        let counted = self.users.message(
            &person.user_id,
            self.settings.user_message_rate,
            Instant::now(),
        );
        counted.map_err(|wait| {
            let message = "you send more messages than a user may; wait";
            limited("user_messages", "rate_limited", message, Some(wait))
        })
    }

    /// Counts a read over HTTP: a page of history may be read from the archive.
    pub(crate) fn read(&self, person: &Person) -> Result<(), Refusal> {
        let rate = self.settings.user_read_rate;
        let counted = self.users.read(&person.user_id, rate, Instant::now());
        counted.map_err(|wait| {
            let message = "you read more pages than a user may; wait";
            limited("user_reads", "rate_limited", message, Some(wait))
        })
    }

    /// Refuses a message that is too large.
    pub(crate) fn message_size(&self, message: &str) -> Result<(), Refusal> {
        let most = self.settings.message_bytes as usize;
        if message.is_empty() || message.len() > most {
            let text = format!("a message has 1 to {most} bytes");
            return Err(limited("message_bytes", "bad_message", text, None));
        }
        Ok(())
    }

    /// Refuses a room more than a connection may have.
    pub(crate) fn room(&self, rooms: usize) -> Result<(), Refusal> {
        let most = self.settings.rooms_per_connection;
        if rooms >= most {
            let text = format!("{most} rooms are the most for a connection; leave one first");
            return Err(limited("rooms", "too_many_rooms", text, None));
        }
        Ok(())
    }
}

impl Pace {
    /// Counts a frame; false if there are too many.
    pub(crate) fn frame(&mut self, limits: &Limits) -> bool {
        let counted = self.frames.take(limits.settings.frame_rate, Instant::now());
        if counted.is_err() {
            metrics::counter!("rhubarb_limited_total", "limit" => "frames").increment(1);
        }
        counted.is_ok()
    }

    /// Counts a message of this connection, and of its user.
    pub(crate) fn message(&mut self, limits: &Limits, person: &Person) -> Result<(), Refusal> {
        let counted = self
            .messages
            .take(limits.settings.message_rate, Instant::now());
        counted.map_err(|wait| {
            let message = "you send more messages than a connection may; wait";
            limited("messages", "rate_limited", message, Some(wait))
        })?;
        limits.message(person)
    }

    /// Counts a token, before it is looked at.
    pub(crate) fn token(&mut self, limits: &Limits) -> Result<(), Refusal> {
        let counted = self.tokens.take(limits.settings.auth_rate, Instant::now());
        counted.map_err(|wait| {
            let message = "you send more tokens than a connection may; wait";
            limited("tokens", "rate_limited", message, Some(wait))
        })
    }

    /// Counts a join.
    pub(crate) fn join(&mut self, limits: &Limits) -> Result<(), Refusal> {
        let counted = self.joins.take(limits.settings.join_rate, Instant::now());
        counted.map_err(|wait| {
            let message = "you join more often than a connection may; wait";
            limited("joins", "rate_limited", message, Some(wait))
        })
    }
}

fn limited(
    limit: &'static str,
    code: &'static str,
    message: impl Into<std::borrow::Cow<'static, str>>,
    wait: Option<Duration>,
) -> Refusal {
    metrics::counter!("rhubarb_limited_total", "limit" => limit).increment(1);
    Refusal {
        // Rounded up: who comes back when told is not refused again.
        retry_after_ms: wait.map(|wait| millis(wait) + 1),
        ..Refusal::new(code, message)
    }
}
