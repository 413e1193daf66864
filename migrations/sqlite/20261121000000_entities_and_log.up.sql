-- Current state of every entity. Times are microseconds since 1970-01-01T00:00:00Z.
CREATE TABLE entities (
    entity_type TEXT    NOT NULL,
    entity_id   TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    -- bytes of the document as compact UTF-8 with its numbers written out
    size        INTEGER NOT NULL,
    data        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
) STRICT;

-- A row for each entity update, append-only, written with the state in one transaction. SQLite has
-- one writer at a time, so position is commit order.
CREATE TABLE event_log (
    position     INTEGER PRIMARY KEY,
    event_uuid   BLOB    NOT NULL,
    ordinal      INTEGER NOT NULL, -- the update's place in its event, from 0
    kind         INTEGER NOT NULL DEFAULT 0, -- 0 event, 1 adopted, 2 base (what pruning leaves)
    attempt_id   INTEGER NOT NULL DEFAULT 0, -- the writer's attempt that stored it
    version      INTEGER NOT NULL,
    created_at   INTEGER,          -- createdDate
    saved_at     INTEGER,          -- savedDate; null: committed_at stands for it
    committed_at INTEGER NOT NULL,
    entity_type  TEXT    NOT NULL,
    entity_id    TEXT    NOT NULL,
    event_name   TEXT    NOT NULL,
    event_type   TEXT,
    patch        TEXT    NOT NULL  -- as sent
) STRICT;

CREATE UNIQUE INDEX event_log_uuid ON event_log (event_uuid, ordinal);
CREATE UNIQUE INDEX event_log_version ON event_log (entity_type, entity_id, version);

-- Old dashboards and scripts read car_entities; a table of that name stays until `migrate adopt`.
CREATE VIEW IF NOT EXISTS car_entities AS
SELECT entity_id AS id, entity_type,
       strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000000.0, 'unixepoch') AS updated_at,
       data
FROM entities;
