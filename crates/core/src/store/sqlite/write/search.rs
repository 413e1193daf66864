//! Rows of search.

use std::sync::LazyLock;

use sqlx::sqlite::SqliteConnection;

use super::insert::{self, Inserts};
use crate::types::SearchRow;

const ENGLISH: &str = "english";

static IDS: LazyLock<Inserts> = LazyLock::new(|| {
    let into = "INSERT INTO entity_search (part_id, entity_id) SELECT *";
    Inserts::new(into, 2, "ON CONFLICT DO NOTHING")
});

/// The words of entities that have an id.
fn words(table: &str) -> Inserts {
    let into = format!(
        r"
INSERT OR REPLACE INTO {table} (rowid, part, weight1, weight2, weight3, weight4)
SELECT (SELECT id FROM entity_search WHERE part_id = column1 AND entity_id = column2),
       'p' || column1, column3, column4, column5, column6"
    );
    Inserts::new(&into, 6, "")
}

static SIMPLE: LazyLock<Inserts> = LazyLock::new(|| words("entity_search_simple"));
static ENGLISH_WORDS: LazyLock<Inserts> = LazyLock::new(|| words("entity_search_english"));

const ID: &str = "SELECT id FROM entity_search WHERE part_id = $1 AND entity_id = $2";
const DELETE_ID: &str = "DELETE FROM entity_search WHERE id = $1";
const DELETE_SIMPLE: &str = "DELETE FROM entity_search_simple WHERE rowid = $1";
const DELETE_ENGLISH: &str = "DELETE FROM entity_search_english WHERE rowid = $1";

/// The first rows of a part.
macro_rules! of_step {
    () => {
        "(SELECT id FROM entity_search WHERE part_id = $1 ORDER BY entity_id LIMIT $2)"
    };
}
const DROP_IDS: &str = concat!("DELETE FROM entity_search WHERE id IN ", of_step!());
const DROP_SIMPLE: &str = concat!("DELETE FROM entity_search_simple WHERE rowid IN ", of_step!());
const DROP_ENGLISH: &str = concat!("DELETE FROM entity_search_english WHERE rowid IN ", of_step!());

/// Rows whose texts have so many bytes together are written at once.
const BYTES: usize = 4 << 20;

/// Writes rows, with their entities' ids. What has no words has no row.
///
/// # Errors
/// SQLite's.
pub async fn write_search_rows(
    connection: &mut SqliteConnection,
    rows: Vec<(&str, SearchRow)>,
) -> Result<(), sqlx::Error> {
    let (empty, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, row)| row.is_empty());
    for (id, row) in empty {
        delete(connection, id, &row).await?;
    }
    let (english, simple): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(_, row)| &*row.language == ENGLISH);
    for (words, rows) in [(&SIMPLE, simple), (&ENGLISH_WORDS, english)] {
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest));
            write(connection, words, now).await?;
            rest = later;
        }
    }
    Ok(())
}

/// How many rows are written at once.
fn fitting(rows: &[(&str, SearchRow)]) -> usize {
    let mut bytes = 0;
    let fits = |(_, row): &&(&str, SearchRow)| {
        bytes += row.text.iter().map(String::len).sum::<usize>();
        bytes <= BYTES
    };
    rows.iter().take(insert::MOST).take_while(fits).count().max(1)
}

async fn write(
    connection: &mut SqliteConnection,
    words: &'static Inserts,
    rows: &[(&str, SearchRow)],
) -> Result<(), sqlx::Error> {
    let ids = rows.iter().fold(sqlx::query(IDS.taking(rows.len())), |insert, (id, row)| {
        insert.bind(row.part_id).bind(*id)
    });
    ids.execute(&mut *connection).await?;
    let words = rows.iter().fold(sqlx::query(words.taking(rows.len())), |insert, (id, row)| {
        let insert = insert.bind(row.part_id).bind(*id);
        row.text.iter().fold(insert, |insert, text| insert.bind(text.as_str()))
    });
    words.execute(connection).await.map(drop)
}

async fn delete(
    connection: &mut SqliteConnection,
    entity_id: &str,
    row: &SearchRow,
) -> Result<(), sqlx::Error> {
    let id: Option<i64> = sqlx::query_scalar(ID)
        .bind(row.part_id)
        .bind(entity_id)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(id) = id {
        let words = if &*row.language == ENGLISH { DELETE_ENGLISH } else { DELETE_SIMPLE };
        for statement in [words, DELETE_ID] {
            sqlx::query(statement).bind(id).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Deletes up to `most` rows of a part; returns how many.
pub(in crate::store::sqlite) async fn drop_search_rows(
    connection: &mut SqliteConnection,
    part_id: i32,
    language: &str,
    most: i64,
) -> Result<u64, sqlx::Error> {
    let words = if language == ENGLISH { DROP_ENGLISH } else { DROP_SIMPLE };
    sqlx::query(words).bind(part_id).bind(most).execute(&mut *connection).await?;
    let dropped = sqlx::query(DROP_IDS).bind(part_id).bind(most).execute(connection).await?;
    Ok(dropped.rows_affected())
}
