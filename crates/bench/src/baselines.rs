//! PostgreSQL used directly, without `producer`: the baselines of the comparison.

pub(crate) mod copy;
pub(crate) mod pgbench;

/// The tables that a team would create itself: the state, and a log with every uuid. The uuid is the
/// log's only index; `producer`'s log also has the entity's history and the commit order.
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

/// The keys that make concurrent writes safe. COPY writes into tables without them.
pub(crate) const KEYS: &str = "
ALTER TABLE entities ADD PRIMARY KEY (entity_type, entity_id);
ALTER TABLE event_log ADD PRIMARY KEY (event_uuid);
";
