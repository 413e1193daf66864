//! Whether the rows of parts are what their entities say. No row means the same as a row without a key, or
//! without words.

use std::collections::HashMap;

use producer_core::types::{SearchRow, TypeIndexes, TypeSearch};
use producer_core::{EntityKey, Timestamp};

use super::entities::{State, Stored};
use super::fingerprints::Fingerprints;
use super::json::json;
use super::parts::TypeParts;
use crate::connection::Connection;
use crate::error::MaintenanceError;

/// A row that is not what its entity says.
#[derive(Debug)]
pub(crate) struct WrongRow {
    pub(crate) entity_id: String,
    pub(crate) part_id: i32,
    pub(crate) fault: Fault,
}

/// What is wrong about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not there.
    Missing,
    /// It is there, and another one.
    Differs,
}

/// Keys by entity and index.
type IndexKeys = HashMap<String, HashMap<i32, Option<Vec<u8>>>>;

impl Connection {
    /// The wrong rows of these entities of one type, given by id; `None` is one that is gone. Words that are
    /// `known` are not looked up.
    pub(crate) async fn wrong_rows(
        &mut self,
        parts: &TypeParts,
        entities: &[(&str, Option<&Stored>)],
        known: Option<&Fingerprints>,
    ) -> Result<Vec<WrongRow>, MaintenanceError> {
        let mut wrong = Vec::new();
        if let Some(indexes) = &parts.indexes {
            wrong.extend(self.wrong_index_rows(indexes, entities).await?);
        }
        if let Some(search) = &parts.search {
            wrong.extend(self.wrong_search_rows(search, entities, known).await?);
        }
        // the builder has not come to it yet
        wrong.retain(|row| row.fault != Fault::Missing || parts.is_ready(row.part_id));
        Ok(wrong)
    }

    async fn wrong_index_rows(
        &mut self,
        indexes: &TypeIndexes,
        entities: &[(&str, Option<&Stored>)],
    ) -> Result<Vec<WrongRow>, MaintenanceError> {
        let ids: Vec<&str> = entities.iter().map(|(id, _)| *id).collect();
        let index_ids: Vec<i32> = indexes.rows(None).iter().map(|row| row.index_id).collect();
        let stored = self.index_keys(&index_ids, &ids).await?;
        let mut wrong = Vec::new();
        for (id, entity) in entities {
            let keys = stored.get(*id);
            for row in indexes.rows(entity.and_then(Stored::facts)) {
                let key = keys.and_then(|keys| keys.get(&row.index_id));
                let fault = match key {
                    Some(key) if *key != row.key => Fault::Differs,
                    None if row.key.is_some() => Fault::Missing,
                    Some(_) | None => continue,
                };
                let entity_id = (*id).to_owned();
                wrong.push(WrongRow { entity_id, part_id: row.index_id, fault });
            }
        }
        Ok(wrong)
    }

    async fn wrong_search_rows(
        &mut self,
        search: &TypeSearch,
        entities: &[(&str, Option<&Stored>)],
        known: Option<&Fingerprints>,
    ) -> Result<Vec<WrongRow>, MaintenanceError> {
        let row = |entity: &Option<&Stored>| search.row(entity.and_then(Stored::document));
        let rows: Vec<(&str, SearchRow)> =
            entities.iter().map(|(id, entity)| (*id, row(entity))).collect();
        let part_id = search.row(None).part_id;
        let wrong = match self {
            Self::Postgres(_) => self.wrong_words_of_postgres(&rows).await?,
            Self::Sqlite(_) => self.wrong_words_of_sqlite(&rows, known).await?,
        };
        let wrong = wrong.into_iter();
        Ok(wrong.map(|(entity_id, fault)| WrongRow { entity_id, part_id, fault }).collect())
    }

    async fn index_keys(
        &mut self,
        index_ids: &[i32],
        ids: &[&str],
    ) -> Result<IndexKeys, MaintenanceError> {
        let rows: Vec<(String, i32, Option<Vec<u8>>)> = match self {
            Self::Postgres(c) => {
                let query = sqlx::query_as(
                    "SELECT entity_id, index_id, key FROM entity_index
                     WHERE index_id = ANY($1) AND entity_id = ANY($2)",
                );
                query.bind(index_ids).bind(ids).fetch_all(c).await?
            }
            Self::Sqlite(c) => {
                let query = sqlx::query_as(
                    "SELECT entity_id, index_id, key FROM entity_index
                     WHERE index_id IN (SELECT value FROM json_each($1))
                         AND entity_id IN (SELECT value FROM json_each($2))",
                );
                query.bind(json(&index_ids)?).bind(json(&ids)?).fetch_all(c).await?
            }
        };
        let mut keys = IndexKeys::new();
        for (id, index_id, key) in rows {
            keys.entry(id).or_default().insert(index_id, key);
        }
        Ok(keys)
    }

    /// The words are compared as the database makes them of the text.
    async fn wrong_words_of_postgres(
        &mut self,
        rows: &[(&str, SearchRow)],
    ) -> Result<Vec<(String, Fault)>, MaintenanceError> {
        let Self::Postgres(c) = self else { return Ok(Vec::new()) };
        let text = |weight: usize| -> Vec<&str> {
            rows.iter().map(|(_, row)| row.text[weight].as_str()).collect()
        };
        let query = sqlx::query_as::<_, (String, bool)>(
            "SELECT r.entity_id, s.entity_id IS NULL
             FROM (SELECT part_id, entity_id,
                          entity_search_words(part_id, language, text1, text2, text3, text4) AS words
                   FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                               $7::text[])
                       AS t (part_id, entity_id, language, text1, text2, text3, text4)) AS r
             LEFT JOIN entity_search s ON s.part_id = r.part_id AND s.entity_id = r.entity_id
             WHERE coalesce(s.words, '') <> r.words",
        );
        let found = query
            .bind(rows.iter().map(|(_, row)| row.part_id).collect::<Vec<_>>())
            .bind(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>())
            .bind(rows.iter().map(|(_, row)| &*row.language).collect::<Vec<_>>())
            .bind(text(0))
            .bind(text(1))
            .bind(text(2))
            .bind(text(3))
            .fetch_all(c)
            .await?;
        let fault = |is_missing| if is_missing { Fault::Missing } else { Fault::Differs };
        Ok(found.into_iter().map(|(id, is_missing)| (id, fault(is_missing))).collect())
    }

    /// From here to the transaction's end it counts as one that writes entities: who builds or drops a part
    /// that it does not know waits for it.
    pub(crate) async fn write_entities(&mut self) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(_) => self.run("LOCK TABLE entities IN ROW EXCLUSIVE MODE").await,
            Self::Sqlite(_) => Ok(()),
        }
    }

    /// Makes whoever creates this entity wait until the transaction ends, by a row that
    /// [`Connection::release_key`] deletes; false if the entity is there by now.
    pub(crate) async fn hold_key(&mut self, key: &EntityKey) -> Result<bool, MaintenanceError> {
        if matches!(self, Self::Sqlite(_)) {
            return Ok(true); // nobody else writes
        }
        let time = Timestamp::from_micros(0);
        let (version, deleted, size, data) = (1, true, 2, "{}");
        let state = State { version, deleted, size, data, created_at: time, updated_at: time };
        self.insert_entity(key, &state).await
    }

    /// Deletes the row that [`Connection::hold_key`] inserted.
    pub(crate) async fn release_key(&mut self, key: &EntityKey) -> Result<(), MaintenanceError> {
        let Self::Postgres(c) = self else { return Ok(()) };
        sqlx::query("DELETE FROM entities WHERE entity_type = $1 AND entity_id = $2")
            .bind(key.entity_type())
            .bind(key.entity_id())
            .execute(c)
            .await?;
        Ok(())
    }

    /// The ids behind `after` that have rows in a part and no entity: one page.
    pub(crate) async fn gone_entities(
        &mut self,
        part_id: i32,
        entity_type: &str,
        after: &str,
    ) -> Result<Vec<String>, MaintenanceError> {
        const INDEX: &str = "SELECT i.entity_id FROM entity_index i
             WHERE i.index_id = $1 AND i.entity_id > $2 AND i.key IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM entities e WHERE e.entity_type = $3 AND e.entity_id = i.entity_id)
             ORDER BY i.entity_id LIMIT 500";
        const SEARCH: &str = "SELECT s.entity_id FROM entity_search s
             WHERE s.part_id = $1 AND s.entity_id > $2 AND NOT EXISTS (
                 SELECT 1 FROM entities e WHERE e.entity_type = $3 AND e.entity_id = s.entity_id)
             ORDER BY s.entity_id LIMIT 500";
        let mut gone: Vec<String> = Vec::new();
        for query in [INDEX, SEARCH] {
            gone.extend(match self {
                Self::Postgres(c) => {
                    let query = sqlx::query_scalar::<_, String>(query).bind(part_id).bind(after);
                    query.bind(entity_type).fetch_all(&mut *c).await?
                }
                Self::Sqlite(c) => {
                    let query = sqlx::query_scalar::<_, String>(query).bind(part_id).bind(after);
                    query.bind(entity_type).fetch_all(&mut *c).await?
                }
            });
        }
        Ok(gone)
    }
}
