-- Current state of every entity. Times are microseconds since 1970-01-01T00:00:00Z.
CREATE TABLE entities (
    entity_type TEXT    NOT NULL,
    entity_id   TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    -- upper bound of the document's bytes as compact UTF-8 with its numbers written out
    size        INTEGER NOT NULL,
    -- a deleted entity keeps its row, with the document {} and its created_at, so that its version goes
    -- on; pruning deletes the row with the last of its log
    deleted     INTEGER NOT NULL DEFAULT 0,
    data        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
) STRICT;

-- A row for each entity update, append-only, written with the state in one transaction. SQLite has
-- one writer at a time, so position is the order of commits. With AUTOINCREMENT no position is used
-- again after pruning.
CREATE TABLE event_log (
    position     INTEGER PRIMARY KEY AUTOINCREMENT,
    event_uuid   BLOB    NOT NULL,
    ordinal      INTEGER NOT NULL, -- the update's place in its event, from 0
    -- 0 event, 1 adopted, 2 checkpoint, 3 detached update. A checkpoint is what pruning leaves of the
    -- entity's log up to its version: a replace with the document, or a delete of {} where the entity
    -- was deleted; created_at is when the entity was made, created is false.
    kind         INTEGER NOT NULL DEFAULT 0,
    attempt_id   INTEGER NOT NULL DEFAULT 0, -- which attempt of a writer stored the row
    version      INTEGER NOT NULL,
    created_at   INTEGER,          -- createdDate; of kinds 1 and 2 when the entity was made
    saved_at     INTEGER,          -- savedDate; null: committed_at counts as it
    committed_at INTEGER NOT NULL,
    operation    INTEGER NOT NULL DEFAULT 0, -- 0 merge, 1 replace, 2 delete
    created      INTEGER NOT NULL, -- whether the entity did not exist just before
    entity_type  TEXT    NOT NULL,
    entity_id    TEXT    NOT NULL,
    event_name   TEXT    NOT NULL,
    event_type   TEXT,
    event_source TEXT,             -- the system that sent the event
    event_actor  TEXT,             -- who caused it
    patch        TEXT    NOT NULL  -- as sent
) STRICT;

CREATE UNIQUE INDEX event_log_uuid ON event_log (event_uuid, ordinal);
CREATE UNIQUE INDEX event_log_version ON event_log (entity_type, entity_id, version);

-- Marks: everything up to position, which is a row's, was committed before marked_at. Services write
-- one every few seconds, so that a reader can begin at a time without an index on committed_at.
CREATE TABLE event_log_times (
    position  INTEGER PRIMARY KEY,
    marked_at INTEGER NOT NULL
) STRICT;

CREATE INDEX event_log_times_by_time ON event_log_times (marked_at);

-- One row. A position means something only together with the epoch: another file, or one that was
-- restored to an earlier time, has another. Up to floor the log may have been pruned.
CREATE TABLE event_log_epoch (
    only_row INTEGER PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    epoch    BLOB    NOT NULL,
    floor    INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO event_log_epoch (epoch) VALUES (randomblob(16));

-- What is declared about types of entities: which paths have an index, which are searched. The text is
-- JSON; version is the generation that published it.
CREATE TABLE type_definitions (
    entity_type TEXT    NOT NULL PRIMARY KEY,
    version     INTEGER NOT NULL,
    definition  TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

-- Each index of a definition, and its search, is a part. It is built by one process at a time, the one
-- that has the lease. With AUTOINCREMENT no id is used again.
CREATE TABLE type_parts (
    part_id     INTEGER PRIMARY KEY AUTOINCREMENT,
    entity_type TEXT    NOT NULL,
    kind        INTEGER NOT NULL, -- 0 index, 1 search
    spec        TEXT    NOT NULL, -- its part of the definition, as JSON
    state       INTEGER NOT NULL DEFAULT 0, -- 0 building, 1 ready, 2 being dropped
    -- how far its process has come: the last id, how many entities, and of about how many
    place       TEXT    NOT NULL DEFAULT '',
    done        INTEGER NOT NULL DEFAULT 0,
    total       INTEGER,
    lease       BLOB,
    lease_until INTEGER
) STRICT;

CREATE INDEX type_parts_by_type ON type_parts (entity_type);
CREATE INDEX type_parts_of_search ON type_parts (part_id) WHERE kind = 1;
CREATE INDEX type_parts_unfinished ON type_parts (state, part_id) WHERE state <> 1;

-- One row, which rises with every change of the definitions: a writer compares it in its transaction.
CREATE TABLE type_generation (
    only_row   INTEGER PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    generation INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO type_generation (generation) VALUES (0);

-- The values of entities at the paths of an index, as bytes that are ordered as the values are. Written
-- with the entity. No row means the same as no key: a path is absent.
CREATE TABLE entity_index (
    index_id  INTEGER NOT NULL, -- part_id
    entity_id TEXT    NOT NULL,
    key       BLOB,
    PRIMARY KEY (index_id, entity_id)
) STRICT;

CREATE INDEX entity_index_by_key ON entity_index (index_id, key, entity_id) WHERE key IS NOT NULL;

-- Which entities of a part have words, and the rowid of their words in one of the two tables behind it.
-- Written with the entity.
CREATE TABLE entity_search (
    id        INTEGER PRIMARY KEY,
    part_id   INTEGER NOT NULL,
    entity_id TEXT    NOT NULL,
    UNIQUE (part_id, entity_id)
) STRICT;

-- The words of entities by their weights, and p with the part's id, so that one query finds those of one part. The texts are cut into
-- lower-case words already: nothing is left to a tokenizer but the stems. Without the texts themselves.
CREATE VIRTUAL TABLE entity_search_simple USING fts5(
    part, weight1, weight2, weight3, weight4, content = '', contentless_delete = 1,
    tokenize = "unicode61 remove_diacritics 0 categories 'L* M* N* Co'"
);

CREATE VIRTUAL TABLE entity_search_english USING fts5(
    part, weight1, weight2, weight3, weight4, content = '', contentless_delete = 1,
    tokenize = "porter unicode61 remove_diacritics 0 categories 'L* M* N* Co'"
);

-- What `producer-worker` runs: sinks carry changes out, sources bring messages in. A worker runs a connector
-- while it has the lease. lease_epoch rises whenever a lease begins or is given back, and every statement of a
-- worker compares it: what an earlier worker still sends has no effect. It begins with the time at which the
-- connector was made, so that no lease of one of the same name that was deleted is valid again.
CREATE TABLE connectors (
    role        INTEGER NOT NULL, -- 0 sink, 1 source
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    -- of a sink: the token that it goes on from, or the word snapshot, and the position behind which it still
    -- needs the log: pruning stops there
    token       TEXT,
    position    INTEGER,
    paused      INTEGER NOT NULL DEFAULT 0,
    skip        TEXT,             -- the token of the change to give up
    generation  INTEGER NOT NULL DEFAULT 0, -- rises when the position is reset
    letters_generation INTEGER NOT NULL DEFAULT 0, -- rises when dead letters are replayed or deleted
    lease_epoch INTEGER NOT NULL,
    -- who has the lease; of a source that several run at once, who reported last
    worker      TEXT,
    lease_until INTEGER,
    report      TEXT    NOT NULL DEFAULT '{}', -- what its worker said last, as JSON
    reported_at INTEGER,
    PRIMARY KEY (role, name)
) STRICT;

-- What a target refused or a source could not take, and the changes that wait behind one of their entity.
-- With AUTOINCREMENT no id is used again.
CREATE TABLE dead_letters (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    role        INTEGER NOT NULL, -- the connector's
    connector   TEXT    NOT NULL,
    state       INTEGER NOT NULL, -- 0 dead, 1 waiting, 2 to be delivered again
    place       TEXT    NOT NULL, -- which message; of a change its position
    -- null of a message
    position    INTEGER,
    entity_type TEXT,
    entity_id   TEXT,
    version     INTEGER,
    error       TEXT    NOT NULL,
    tries       INTEGER NOT NULL,
    first_at    INTEGER NOT NULL,
    last_at     INTEGER NOT NULL,
    -- as it was refused or came; empty of what waits. The last column: lists pass over it
    message     BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX dead_letters_place ON dead_letters (role, connector, place);
CREATE INDEX dead_letters_by_connector ON dead_letters (role, connector, id);
CREATE INDEX dead_letters_by_position ON dead_letters (role, connector, position)
    WHERE position IS NOT NULL;
CREATE INDEX dead_letters_by_entity
    ON dead_letters (role, connector, entity_type, entity_id, position) WHERE position IS NOT NULL;
CREATE INDEX dead_letters_replaying ON dead_letters (role, connector, id) WHERE state = 2;

-- Old dashboards and scripts read car_entities; a table of that name is kept until `migrate adopt`.
CREATE VIEW IF NOT EXISTS car_entities AS
SELECT entity_id AS id, entity_type,
       strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000000.0, 'unixepoch') AS updated_at,
       data
FROM entities WHERE NOT deleted;
