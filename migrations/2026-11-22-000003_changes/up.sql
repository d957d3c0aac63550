-- Only adds: programs of the release before do not see it.
ALTER TABLE messages
    ADD COLUMN edits     BIGINT,
    ADD COLUMN deletes   BIGINT,
    ADD COLUMN edited_id BIGINT,
    ADD COLUMN deleted   BOOLEAN NOT NULL DEFAULT false;

COMMENT ON COLUMN messages.edits IS 'If this is an edit: the id of the message that it changes; the body is the new text.';
COMMENT ON COLUMN messages.deletes IS 'If this is a deletion: the id of the message that it deletes.';
COMMENT ON COLUMN messages.edited_id IS 'The id of the edit or deletion that has changed this last; of an edit: that has replaced it.';
COMMENT ON COLUMN messages.deleted IS 'Whether it was deleted; the body is empty then.';

-- Changes of a range of ids: what follows a flush carries them out.
CREATE INDEX messages_changes ON messages (room_id, id) WHERE edits IS NOT NULL OR deletes IS NOT NULL;
-- The edits of a message: a later change takes their text.
CREATE INDEX messages_edits ON messages (room_id, edits) WHERE edits IS NOT NULL;
