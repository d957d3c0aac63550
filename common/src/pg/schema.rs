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
    }
}
