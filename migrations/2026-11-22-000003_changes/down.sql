ALTER TABLE messages
    DROP COLUMN edits,
    DROP COLUMN deletes,
    DROP COLUMN edited_id,
    DROP COLUMN deleted;
