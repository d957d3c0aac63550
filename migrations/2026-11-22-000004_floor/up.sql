-- Only adds: programs of the release before do not see it.
CREATE TABLE schema_floor (
    version TEXT PRIMARY KEY
);

COMMENT ON TABLE schema_floor IS 'Migrations that a program must know to work with this database. One that takes something away adds itself.';
COMMENT ON COLUMN schema_floor.version IS 'The migration''s version; the highest counts.';

INSERT INTO schema_floor (version) VALUES ('20261122000003');
