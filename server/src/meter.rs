//! The counters that are raised so often that looking one up by its name each time would show.

use std::sync::LazyLock;

use metrics::{Counter, counter};

/// Copies of messages that were put into an outbox.
pub(crate) static DELIVERED: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_delivered_total"));
/// Messages that came as frames and were kept.
pub(crate) static POSTED_AS_FRAMES: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_posted_messages_total", "via" => "socket"));
/// Messages that came over HTTP and were kept.
pub(crate) static POSTED_OVER_HTTP: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_posted_messages_total", "via" => "http"));
/// System calls that wrote to sockets.
pub(crate) static WRITES: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_socket_writes_total"));
/// Packets that those wrote.
pub(crate) static WRITTEN: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_socket_packets_total"));

/// What slow readers did not get, by what it was.
pub(crate) static DROPPED_TYPING: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_slow_dropped_total", "what" => "typing"));
/// See [`DROPPED_TYPING`].
pub(crate) static DROPPED_PRESENCE: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_slow_dropped_total", "what" => "presence"));
/// See [`DROPPED_TYPING`].
pub(crate) static DROPPED_MESSAGES: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_slow_dropped_total", "what" => "message"));
/// Slow readers that were told to resume a room.
pub(crate) static RESETS: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_slow_resets_total"));
/// Readers so slow that they were cut off.
pub(crate) static SLOW_READERS: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_slow_readers_total"));
