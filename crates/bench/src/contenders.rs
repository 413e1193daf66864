//! PostgreSQL used directly, without `producer`.

pub(crate) mod copy;
pub(crate) mod pgbench;

/// The tables that a team would make by hand: the state, and a log that knows every uuid. The uuid
/// is the log's only index, where `producer` keeps the entity's history and the commit order too.
pub(crate) const TABLES: &str = r#"
CREATE TABLE entities (
    entity_type text COLLATE "C" NOT NULL,
    entity_id   text COLLATE "C" NOT NULL,
    version     bigint      NOT NULL,
    data        jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE TABLE event_log (
    event_uuid   uuid        NOT NULL,
    event_name   text        NOT NULL,
    event_type   text,
    created_at   timestamptz,
    committed_at timestamptz NOT NULL DEFAULT now(),
    entity_type  text        NOT NULL,
    entity_id    text        NOT NULL,
    patch        json        NOT NULL
);
"#;

/// What makes them safe to write to at once; COPY goes without.
pub(crate) const KEYS: &str = "
ALTER TABLE entities ADD PRIMARY KEY (entity_type, entity_id);
ALTER TABLE event_log ADD PRIMARY KEY (event_uuid);
";
