//! Compares the rows of indexes and of search with the documents of their entities, and repairs them. They
//! follow from the documents alone, so each that differs can be repaired. What looks wrong is compared again
//! in a transaction.

use producer_core::EntityKey;

use crate::connection::Connection;
use crate::error::MaintenanceError;
use crate::progress::Progress;
use crate::tables::{Access, Fault, PART_TABLES, Stored, TypeParts, WrongRow, before_all};

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSummary {
    /// Rows that are missing, that differ, or that are left of entities or definitions that are gone.
    pub differing: u64,
    /// Those of them that were repaired.
    pub repaired: u64,
}

/// How many entities [`compare`] walks.
pub(super) async fn entities_to_compare(
    connection: &mut Connection,
) -> Result<u64, MaintenanceError> {
    let query = "SELECT count(*) FROM entities WHERE entity_type IN (
                     SELECT entity_type FROM type_parts WHERE state <> 2)";
    connection.count(query).await
}

/// Compares all rows; with `write` it repairs them. `done` entities were compared with their log.
pub(super) async fn compare(
    connection: &mut Connection,
    write: bool,
    done: u64,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<RowSummary, MaintenanceError> {
    connection.prepare_words().await?;
    let summary = RowSummary::default();
    let mut rows = Rows { connection, write, progress, summary, done };
    for entity_type in rows.connection.types_with_parts().await? {
        rows.of_entities(&entity_type).await?;
        rows.of_gone_entities(&entity_type).await?;
    }
    rows.of_dropped_parts().await?;
    rows.unused_words().await?;
    Ok(rows.summary)
}

struct Rows<'r> {
    connection: &'r mut Connection,
    write: bool,
    progress: &'r mut (dyn FnMut(Progress) + Send),
    summary: RowSummary,
    done: u64,
}

impl Rows<'_> {
    async fn parts(&mut self, entity_type: &str) -> Result<Option<TypeParts>, MaintenanceError> {
        let mut types = self.connection.parts_of_types(&[entity_type]).await?;
        Ok(types.remove(entity_type))
    }

    async fn of_entities(&mut self, entity_type: &str) -> Result<(), MaintenanceError> {
        let Some(parts) = self.parts(entity_type).await? else { return Ok(()) };
        let known = match &parts.search {
            Some(search) => self.connection.stored_words(search).await?,
            None => None,
        };
        let mut read = EntityKey::new_unchecked(entity_type, before_all().entity_id());
        loop {
            let mut page = self.connection.entities_after(&read).await?;
            page.retain(|entity| entity.key.entity_type() == entity_type);
            let Some(last) = page.last() else { return Ok(()) };
            read = last.key.clone();
            let entities: Vec<(&str, Option<&Stored>)> =
                page.iter().map(|entity| (entity.key.entity_id(), Some(entity))).collect();
            let wrong = self.connection.wrong_rows(&parts, &entities, known.as_ref()).await?;
            self.compare_again(entity_type, wrong.into_iter().map(|row| row.entity_id)).await?;
            self.done += page.len() as u64;
            (self.progress)(Progress::Done(self.done));
        }
    }

    async fn of_gone_entities(&mut self, entity_type: &str) -> Result<(), MaintenanceError> {
        let Some(parts) = self.parts(entity_type).await? else { return Ok(()) };
        for part_id in parts.ids() {
            let mut after = String::new();
            loop {
                let gone = self.connection.gone_entities(part_id, entity_type, &after).await?;
                let Some(last) = gone.last() else { break };
                after.clone_from(last);
                self.compare_again(entity_type, gone.into_iter()).await?;
            }
        }
        Ok(())
    }

    /// Compares what looked wrong, entity by entity.
    async fn compare_again(
        &mut self,
        entity_type: &str,
        ids: impl Iterator<Item = String>,
    ) -> Result<(), MaintenanceError> {
        let mut ids: Vec<String> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            let key = EntityKey::new_unchecked(entity_type, id);
            while !self.compare_in_transaction(&key).await? {}
        }
        Ok(())
    }

    /// False if the entity came into being meanwhile, and everything is to be compared again.
    async fn compare_in_transaction(&mut self, key: &EntityKey) -> Result<bool, MaintenanceError> {
        let access = if self.write { Access::Write } else { Access::Snapshot };
        self.connection.begin(access).await?;
        if self.write {
            self.connection.write_entities().await?;
        }
        let Some(parts) = self.parts(key.entity_type()).await? else {
            return self.connection.rollback().await.map(|()| true);
        };
        let entity = self.connection.entity(key, access).await?;
        if entity.is_none() && self.write && !self.connection.hold_key(key).await? {
            return self.connection.rollback().await.map(|()| false);
        }
        let entities = [(key.entity_id(), entity.as_ref())];
        let wrong = self.connection.wrong_rows(&parts, &entities, None).await?;
        if self.write && !wrong.is_empty() {
            repair(self.connection, &parts, key, entity.as_ref()).await?;
            self.connection.commit().await?;
        } else {
            self.connection.rollback().await?;
        }
        for row in &wrong {
            let line = describe(row, &parts, key, entity.as_ref());
            self.count(1, line);
        }
        Ok(true)
    }

    async fn of_dropped_parts(&mut self) -> Result<(), MaintenanceError> {
        for table in &PART_TABLES {
            for (part_id, rows) in self.connection.dropped_parts(table).await? {
                if self.write {
                    self.connection.delete_dropped_part(table, part_id).await?;
                }
                let rows = rows.unsigned_abs();
                self.count(
                    rows,
                    format!("{rows} rows of part {part_id}, which is declared no more"),
                );
            }
        }
        Ok(())
    }

    async fn unused_words(&mut self) -> Result<(), MaintenanceError> {
        let rows = self.connection.unused_words(self.write).await?;
        if rows > 0 {
            self.count(rows, format!("{rows} rows of words that no entity has"));
        }
        Ok(())
    }

    fn count(&mut self, rows: u64, line: String) {
        self.summary.differing += rows;
        if self.write {
            self.summary.repaired += rows;
            (self.progress)(Progress::Line(format!("{line}; repaired")));
        } else {
            (self.progress)(Progress::Line(line));
        }
    }
}

/// Writes all rows of an entity, or deletes them where it is gone.
async fn repair(
    connection: &mut Connection,
    parts: &TypeParts,
    key: &EntityKey,
    entity: Option<&Stored>,
) -> Result<(), MaintenanceError> {
    if let Some(search) = &parts.search {
        connection.write_search_row(key, search.row(entity.and_then(Stored::document))).await?;
    }
    match (entity, &parts.indexes) {
        (None, _) => {
            connection.delete_index_rows(&[key]).await?;
            connection.release_key(key).await
        }
        (Some(entity), Some(indexes)) => {
            connection.upsert_index_rows(key, indexes.rows(entity.facts())).await
        }
        (Some(_), None) => Ok(()),
    }
}

fn describe(row: &WrongRow, parts: &TypeParts, key: &EntityKey, entity: Option<&Stored>) -> String {
    let what = match row.fault {
        Fault::Missing => "is missing",
        Fault::Differs if entity.is_none_or(|entity| entity.deleted) => {
            "is left, though it does not exist"
        }
        Fault::Differs => "differs from its document",
    };
    let (entity_type, id, part) = (key.entity_type(), key.entity_id(), parts.name(row.part_id));
    format!("{entity_type} {id}: its row of {part} {what}")
}
