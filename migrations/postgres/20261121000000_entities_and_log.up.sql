-- Each statement ends with a semicolon before an empty line: it is sent by itself.

-- Current state of every entity. Keys compare bytewise (collation C): cheaper, and the same order
-- in which writers lock rows. Every unique key holds the entity's key, so that the table can be
-- sharded by it.
CREATE TABLE entities (
    entity_type text COLLATE "C" NOT NULL,
    entity_id   text COLLATE "C" NOT NULL,
    version     bigint      NOT NULL,
    -- upper bound of the document's bytes as compact UTF-8 with its numbers written out; of a
    -- deleted entity 2147483647, so that the fast path's size condition leaves the row out
    size        integer     NOT NULL,
    -- a deleted entity keeps its row, with the document {} and its created_at, so that its version goes
    -- on; pruning deletes the row with the last of its log
    deleted     boolean     NOT NULL DEFAULT false,
    data        jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
);

-- Positions must rise in the order in which they are drawn: no cache.
CREATE SEQUENCE event_log_position CACHE 1;

-- A row for each entity update, append-only, written with the state in one transaction.
-- Order of commits: position. It is drawn while the entity's row is locked, so it is also the order
-- of versions. A reader takes the sequence's last value, waits until the transactions that then
-- hold RowExclusiveLock on this table (pg_locks) have ended, and reads up to that value: every
-- position up to it is committed by then, or never will be.
CREATE TABLE event_log (
    position     bigint      NOT NULL DEFAULT nextval('event_log_position'),
    event_uuid   uuid        NOT NULL,
    ordinal      smallint    NOT NULL, -- the update's place in its event, from 0
    -- 0 event, 1 adopted, 2 checkpoint, 3 detached update. A checkpoint is what pruning leaves of the
    -- entity's log up to its version: a replace with the document, or a delete of {} where the entity
    -- was deleted; created_at is when the entity was made, created is false.
    kind         smallint    NOT NULL DEFAULT 0,
    attempt_id   integer     NOT NULL DEFAULT 0, -- which attempt of a writer stored the row
    version      bigint      NOT NULL,
    created_at   timestamptz,          -- createdDate; of kinds 1 and 2 when the entity was made
    saved_at     timestamptz,          -- savedDate; null: committed_at counts as it
    committed_at timestamptz NOT NULL,
    operation    smallint    NOT NULL DEFAULT 0, -- 0 merge, 1 replace, 2 delete
    created      boolean     NOT NULL, -- whether the entity did not exist just before
    entity_type  text COLLATE "C" NOT NULL,
    entity_id    text COLLATE "C" NOT NULL,
    event_name   text COLLATE "C" NOT NULL,
    event_type   text COLLATE "C",
    event_source text COLLATE "C",     -- the system that sent the event
    event_actor  text COLLATE "C",     -- who caused it
    patch        json        NOT NULL, -- as sent
    CONSTRAINT event_log_uuid PRIMARY KEY (event_uuid, ordinal),
    CONSTRAINT event_log_version UNIQUE (entity_type, entity_id, version)
);

CREATE INDEX event_log_by_position ON event_log (position);

-- Marks: everything up to position, which is a row's, was committed before marked_at or never will be.
-- Services write one every few seconds, so that a reader can begin at a time without an index on
-- committed_at.
CREATE TABLE event_log_times (
    position  bigint      PRIMARY KEY,
    marked_at timestamptz NOT NULL
);

CREATE INDEX event_log_times_by_time ON event_log_times (marked_at, position);

-- One row. A position means something only together with the epoch: another database, or one that
-- was restored to an earlier time, has another. Up to floor the log may have been pruned.
CREATE TABLE event_log_epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch    uuid    NOT NULL DEFAULT gen_random_uuid(),
    floor    bigint  NOT NULL DEFAULT 0
);

INSERT INTO event_log_epoch DEFAULT VALUES;

-- What is declared about types of entities: which paths have an index, which are searched. The text is
-- JSON; version is the generation that published it.
CREATE TABLE type_definitions (
    entity_type text COLLATE "C" PRIMARY KEY,
    version     bigint      NOT NULL,
    definition  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- Each index of a definition, and its search, is a part. It is built by one process at a time, the one
-- that has the lease. Ids are never used again.
CREATE TABLE type_parts (
    part_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity_type text COLLATE "C" NOT NULL,
    kind        smallint    NOT NULL, -- 0 index, 1 search
    spec        text        NOT NULL, -- its part of the definition, as JSON
    state       smallint    NOT NULL DEFAULT 0, -- 0 building, 1 ready, 2 being dropped
    -- how far its process has come: the last id, how many entities, and of about how many
    place       text COLLATE "C" NOT NULL DEFAULT '',
    done        bigint      NOT NULL DEFAULT 0,
    total       bigint,
    lease       uuid,
    lease_until timestamptz
);

CREATE INDEX type_parts_by_type ON type_parts (entity_type);

CREATE INDEX type_parts_of_search ON type_parts (part_id) WHERE kind = 1;

CREATE INDEX type_parts_unfinished ON type_parts (state, part_id) WHERE state <> 1;

-- One row, which rises with every change of the definitions. A statement that writes entities compares
-- it and, where it is not the one whose definitions its writer knows, writes nothing. Who builds a part
-- waits until the transactions have ended that held RowExclusiveLock on entities when the part was
-- published (pg_locks): they may not have known it.
CREATE TABLE type_generation (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    generation bigint NOT NULL DEFAULT 0
);

INSERT INTO type_generation DEFAULT VALUES;

-- The values of entities at the paths of an index, as bytes that are ordered as the values are. A table
-- of its own: an index on entities that reads data would end HOT updates of all types. Written with the
-- entity, while its row is locked. No row means the same as no key: a path is absent.
CREATE TABLE entity_index (
    index_id  integer NOT NULL, -- part_id
    entity_id text COLLATE "C" NOT NULL,
    key       bytea,
    PRIMARY KEY (index_id, entity_id)
);

CREATE INDEX entity_index_by_key ON entity_index (index_id, key, entity_id) WHERE key IS NOT NULL;

-- The words of entities at the paths that their type searches. Each begins with the part's id and a colon,
-- so that a word's list in the index has the entities of one part alone. (A word of its own for the part
-- would have a list of all of them, which a search for two rare words reads nearly as a whole.) Written
-- with the entity, while its row is locked. No row means the same as no words. fastupdate is off: words
-- that wait in a list are searched one by one.
CREATE TABLE entity_search (
    part_id   integer NOT NULL,
    entity_id text COLLATE "C" NOT NULL,
    words     tsvector NOT NULL,
    PRIMARY KEY (part_id, entity_id)
);

CREATE INDEX entity_search_by_words ON entity_search USING gin (words) WITH (fastupdate = off);

-- Texts by their weights, 4 is the most. Never fails for what a client sent: where the configuration of
-- text search is gone, or cannot take the texts, their words stay as they are.
CREATE FUNCTION entity_search_words(
    part_id integer, language text, text1 text, text2 text, text3 text, text4 text
) RETURNS tsvector LANGUAGE plpgsql STABLE AS $$
DECLARE
    config regconfig;
    words tsvector;
BEGIN
    IF text1 = '' AND text2 = '' AND text3 = '' AND text4 = '' THEN
        RETURN '';
    END IF;
    config := language;
    words := setweight(to_tsvector(config, text4), 'A') || setweight(to_tsvector(config, text3), 'B')
        || setweight(to_tsvector(config, text2), 'C') || setweight(to_tsvector(config, text1), 'D');
    -- as text, words are in quotes, with a space before each but the first
    RETURN replace(' ' || words::text, ' ''', ' ''' || part_id || ':')::tsvector;
EXCEPTION WHEN OTHERS THEN
    IF language = 'pg_catalog.simple' THEN
        RETURN '';
    END IF;
    RETURN entity_search_words(part_id, 'pg_catalog.simple', text1, text2, text3, text4);
END
$$;

-- What `producer-worker` runs: sinks carry changes out, sources bring messages in. A worker runs a connector
-- while it has the lease. lease_epoch rises whenever a lease begins or is given back, and every statement of a
-- worker compares it: what an earlier worker still sends has no effect. It begins with the time at which the
-- connector was made, so that no lease of one of the same name that was deleted is valid again.
CREATE TABLE connectors (
    role        smallint NOT NULL, -- 0 sink, 1 source
    name        text COLLATE "C" NOT NULL,
    kind        text     NOT NULL,
    -- of a sink: the token that it goes on from, or the word snapshot, and the position behind which it still
    -- needs the log: pruning stops there
    token       text,
    position    bigint,
    paused      boolean  NOT NULL DEFAULT false,
    skip        text,              -- the token of the change to give up
    generation  bigint   NOT NULL DEFAULT 0, -- rises when the position is reset
    letters_generation bigint NOT NULL DEFAULT 0, -- rises when dead letters are replayed or deleted
    lease_epoch bigint   NOT NULL,
    -- who has the lease; of a source that several run at once, who reported last
    worker      text,
    lease_until timestamptz,
    report      text     NOT NULL DEFAULT '{}', -- what its worker said last, as JSON
    reported_at timestamptz,
    PRIMARY KEY (role, name)
);

-- What a target refused or a source could not take, and the changes that wait behind one of their entity.
CREATE TABLE dead_letters (
    id          bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    role        smallint NOT NULL, -- the connector's
    connector   text COLLATE "C" NOT NULL,
    state       smallint NOT NULL, -- 0 dead, 1 waiting, 2 to be delivered again
    place       text COLLATE "C" NOT NULL, -- which message; of a change its position
    -- null of a message
    position    bigint,
    entity_type text COLLATE "C",
    entity_id   text COLLATE "C",
    version     bigint,
    message     bytea    NOT NULL, -- as it was refused or came; empty of what waits
    error       text     NOT NULL,
    tries       bigint   NOT NULL,
    first_at    timestamptz NOT NULL,
    last_at     timestamptz NOT NULL,
    CONSTRAINT dead_letters_place UNIQUE (role, connector, place)
);

CREATE INDEX dead_letters_by_connector ON dead_letters (role, connector, id);

CREATE INDEX dead_letters_by_position ON dead_letters (role, connector, position) WHERE position IS NOT NULL;

CREATE INDEX dead_letters_by_entity ON dead_letters (role, connector, entity_type, entity_id, position)
    WHERE position IS NOT NULL;

CREATE INDEX dead_letters_replaying ON dead_letters (role, connector, id) WHERE state = 2;

-- Values of more than about 2 kB are compressed: by LZ4, several times faster than the default,
-- where the server was built with it.
DO $$
BEGIN
    ALTER TABLE entities ALTER COLUMN data SET COMPRESSION lz4;
    ALTER TABLE event_log ALTER COLUMN patch SET COMPRESSION lz4;
EXCEPTION
    WHEN feature_not_supported THEN NULL;
END
$$;

-- Old dashboards and scripts read car_entities. Where a relation of that name exists already, it
-- is kept until `migrate adopt`, which calls the same function. The view refuses writes: PostgreSQL
-- would apply them to entities, past the log.
CREATE FUNCTION car_entities_refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'car_entities is a view of producer''s entities: send events instead'
        USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;

CREATE FUNCTION car_entities_create_view() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    CREATE VIEW car_entities AS
    SELECT entity_id AS id, entity_type, created_at, updated_at, data
    FROM entities WHERE NOT deleted;
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
