//! The tables as diesel sees them. Keep in step with `migrations/`; a test compares the two.

diesel::table! {
    /// The archive: every message that was flushed, once.
    messages (room_id, id) {
        /// The room's name.
        room_id -> Text,
        /// Microseconds since 1970 by Redis's clock, raised to be above the room's last id.
        id -> BigInt,
        /// The id before it in the room; 0 for the first, or where it was not known.
        prev_id -> BigInt,
        /// Who sent it.
        user_id -> Text,
        /// The sender's name when it was sent.
        username -> Text,
        /// The sender's own id for it, by which a resend is recognised.
        client_id -> Text,
        /// The text.
        body -> Text,
        /// If this is an edit: the message that it changes.
        edits -> Nullable<BigInt>,
        /// If this is a deletion: the message that it deletes.
        deletes -> Nullable<BigInt>,
        /// The edit or deletion that has changed this last; of an edit: that has replaced it.
        edited_id -> Nullable<BigInt>,
        /// Whether it was deleted.
        deleted -> Bool,
    }
}

diesel::table! {
    /// Jobs that a transaction asked for, until a relay has handed them to the queue.
    outbox (id) {
        /// The order in which they are handed over.
        id -> BigInt,
        /// With the id, what Redis knows the row by.
        mark -> Text,
        /// The queue.
        queue -> Text,
        /// From when on it may run, ms since 1970; null for at once.
        due -> Nullable<BigInt>,
        /// The job's body as the queue keeps it.
        body -> Text,
        /// When the transaction that asked for it began.
        made_at -> Timestamptz,
    }
}

diesel::table! {
    /// Migrations that a program must know to work with this database. One that takes something away adds itself.
    schema_floor (version) {
        /// The migration's version; the highest counts.
        version -> Text,
    }
}
