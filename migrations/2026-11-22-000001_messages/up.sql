CREATE TABLE messages (
    room_id   TEXT   NOT NULL,
    id        BIGINT NOT NULL,
    prev_id   BIGINT NOT NULL,
    user_id   TEXT   NOT NULL,
    username  TEXT   NOT NULL,
    client_id TEXT   NOT NULL,
    body      TEXT   NOT NULL,
    PRIMARY KEY (room_id, id)
);

COMMENT ON TABLE messages IS 'The archive: every message that was flushed, once.';
COMMENT ON COLUMN messages.room_id IS 'The room''s name.';
COMMENT ON COLUMN messages.id IS 'Microseconds since 1970 by Redis''s clock, raised to be above the room''s last id: the time and the order.';
COMMENT ON COLUMN messages.prev_id IS 'The id before it in the room; 0 for the first, or where it was not known.';
COMMENT ON COLUMN messages.user_id IS 'Who sent it.';
COMMENT ON COLUMN messages.username IS 'The sender''s name when it was sent.';
COMMENT ON COLUMN messages.client_id IS 'The sender''s own id for it, by which a resend is recognised.';
COMMENT ON COLUMN messages.body IS 'The text.';
