CREATE TABLE outbox (
    id      BIGSERIAL   PRIMARY KEY,
    mark    TEXT        NOT NULL DEFAULT gen_random_uuid()::text,
    queue   TEXT        NOT NULL CHECK (queue IN ('high', 'default', 'low')),
    due     BIGINT,
    body    TEXT        NOT NULL CHECK (body LIKE '{"%}'),
    made_at TIMESTAMPTZ NOT NULL DEFAULT now()
);

COMMENT ON TABLE outbox IS 'Jobs that a transaction asked for, until a relay has handed them to the queue.';
COMMENT ON COLUMN outbox.id IS 'The order in which they are handed over.';
COMMENT ON COLUMN outbox.mark IS 'With the id, what Redis knows the row by, so that it makes one job of it; random, since ids begin anew in a new database.';
COMMENT ON COLUMN outbox.queue IS 'The queue.';
COMMENT ON COLUMN outbox.due IS 'From when on it may run, ms since 1970; null for at once.';
COMMENT ON COLUMN outbox.body IS 'The job''s body as the queue keeps it: JSON with task and args.';
COMMENT ON COLUMN outbox.made_at IS 'When the transaction that asked for it began.';

-- Tells the relays, when the transaction commits. They look each second all the same.
CREATE FUNCTION outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY outbox;
    RETURN NULL;
END
$$;

CREATE TRIGGER outbox_notify AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_notify();
