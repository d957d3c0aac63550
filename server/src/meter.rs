//! What is counted so often that looking it up by its name each time would show. What each one means,
//! [`common::telemetry::catalog`] says.

use std::sync::LazyLock;

use metrics::{Counter, Histogram, counter, histogram};

/// Copies of messages that were put into an outbox.
pub(crate) static DELIVERED: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_delivered_total"));
/// Messages that came as frames and were kept.
pub(crate) static POSTED_AS_FRAMES: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_posted_messages_total", "via" => "socket"));
/// Messages that came over HTTP and were kept.
pub(crate) static POSTED_OVER_HTTP: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_posted_messages_total", "via" => "http"));
/// Messages that had been kept before.
pub(crate) static RESENDS: LazyLock<Counter> = LazyLock::new(|| counter!("rhubarb_resends_total"));
/// Seconds to the ack of a message that is in the log.
pub(crate) static ACKS: LazyLock<Histogram> =
    LazyLock::new(|| histogram!("rhubarb_ack_seconds", "level" => "redis"));
/// Seconds to the ack of a message that is in the archive.
pub(crate) static ARCHIVE_ACKS: LazyLock<Histogram> =
    LazyLock::new(|| histogram!("rhubarb_ack_seconds", "level" => "db"));
/// Naps of the runtime's threads.
pub(crate) static NAPS: LazyLock<Counter> = LazyLock::new(|| counter!("rhubarb_naps_total"));
/// System calls that wrote to sockets.
pub(crate) static WRITES: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_socket_writes_total"));
/// Frames that those wrote.
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
/// Members that were told to reload a room, for another cause.
pub(crate) static RELOADS: LazyLock<Counter> = LazyLock::new(|| counter!("rhubarb_resets_total"));
/// Readers so slow that they were cut off.
pub(crate) static SLOW_READERS: LazyLock<Counter> =
    LazyLock::new(|| counter!("rhubarb_slow_readers_total"));
