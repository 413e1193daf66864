-- Current state of every entity. Keys compare bytewise (collation C): cheaper, and the same order
-- in which writers lock rows.
CREATE TABLE entities (
    entity_type text COLLATE "C" NOT NULL,
    entity_id   text COLLATE "C" NOT NULL,
    version     bigint      NOT NULL,
    -- upper bound of the document's bytes as compact UTF-8 with its numbers written out
    size        integer     NOT NULL,
    data        jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
);

CREATE SEQUENCE event_log_position;

-- A row for each entity update, append-only, written with the state in one transaction.
-- Commit order: read rows with txid < pg_snapshot_xmin(pg_current_snapshot()), in windows of txid,
-- each window ordered by position. A position is drawn while the entity's row is locked, so within
-- such a window it orders the updates of every entity.
CREATE TABLE event_log (
    position     bigint      NOT NULL DEFAULT nextval('event_log_position'),
    txid         bigint      NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    event_uuid   uuid        NOT NULL,
    ordinal      smallint    NOT NULL, -- the update's place in its event, from 0
    kind         smallint    NOT NULL DEFAULT 0, -- 0 event, 1 adopted, 2 base (what pruning leaves)
    attempt_id   integer     NOT NULL DEFAULT 0, -- the writer's attempt that stored it
    version      bigint      NOT NULL,
    created_at   timestamptz,          -- createdDate
    saved_at     timestamptz,          -- savedDate; null: committed_at stands for it
    committed_at timestamptz NOT NULL,
    entity_type  text COLLATE "C" NOT NULL,
    entity_id    text COLLATE "C" NOT NULL,
    event_name   text COLLATE "C" NOT NULL,
    event_type   text COLLATE "C",
    patch        json        NOT NULL, -- as sent
    CONSTRAINT event_log_uuid PRIMARY KEY (event_uuid, ordinal),
    CONSTRAINT event_log_version UNIQUE (entity_type, entity_id, version)
);

CREATE INDEX event_log_txid ON event_log USING brin (txid) WITH (pages_per_range = 16);

-- Values of more than some 2 kB are compressed: by LZ4, several times faster than the default, where
-- the server was built with it.
DO $$
BEGIN
    ALTER TABLE entities ALTER COLUMN data SET COMPRESSION lz4;
    ALTER TABLE event_log ALTER COLUMN patch SET COMPRESSION lz4;
EXCEPTION
    WHEN feature_not_supported THEN NULL;
END
$$;

-- Old dashboards and scripts read car_entities; where a relation of that name stands already, it
-- stays until `migrate adopt`, which calls the same function. The view refuses writes: PostgreSQL
-- would hand them on to entities, past the log.
CREATE FUNCTION car_entities_refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'car_entities is a view of producer''s entities: send events instead'
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;

CREATE FUNCTION car_entities_create_view() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE VIEW car_entities AS
    SELECT entity_id AS id, entity_type, created_at, updated_at, data FROM entities;
    CREATE TRIGGER car_entities_refuse_write
        INSTEAD OF INSERT OR UPDATE OR DELETE ON car_entities
        FOR EACH ROW EXECUTE FUNCTION car_entities_refuse_write();
END
$$;

DO $$
BEGIN
    IF to_regclass('car_entities') IS NULL THEN
        PERFORM car_entities_create_view();
    END IF;
END
$$;
