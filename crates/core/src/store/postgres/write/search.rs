//! Rows of search.

use std::sync::LazyLock;

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::QueryScalar;

use crate::types::SearchRow;

/// Upserts rows, whose columns are parameters from `$first` on, where a condition holds. Upserted also where
/// there is no word: what another writer has just committed is seen by ON CONFLICT alone.
pub(super) fn upsert(first: usize, condition: &str) -> String {
    let [part, entity, language, text1, text2, text3, text4] =
        std::array::from_fn(|place| first + place);
    format!(
        r"
    INSERT INTO entity_search AS s (part_id, entity_id, words)
    SELECT part_id, entity_id, entity_search_words(part_id, language, text1, text2, text3, text4)
    FROM (SELECT unnest(${part}::int4[]) AS part_id, unnest(${entity}::text[]) AS entity_id,
                 unnest(${language}::text[]) AS language, unnest(${text1}::text[]) AS text1,
                 unnest(${text2}::text[]) AS text2, unnest(${text3}::text[]) AS text3,
                 unnest(${text4}::text[]) AS text4) AS r
    WHERE {condition}
    ON CONFLICT (part_id, entity_id) DO UPDATE SET words = excluded.words"
    )
}

static UPSERT: LazyLock<String> = LazyLock::new(|| upsert(1, "true"));

/// Columns of rows.
#[derive(Default)]
pub(in crate::store::postgres) struct SearchColumns<'a> {
    parts: Vec<i32>,
    entities: Vec<&'a str>,
    languages: Vec<String>,
    texts: [Vec<String>; 4],
}

impl<'a> SearchColumns<'a> {
    pub(in crate::store::postgres) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Adds the row of an entity.
    pub(in crate::store::postgres) fn push(&mut self, entity_id: &'a str, row: SearchRow) {
        self.parts.push(row.part_id);
        self.entities.push(entity_id);
        self.languages.push(row.language.to_string());
        for (column, text) in self.texts.iter_mut().zip(row.text) {
            column.push(text);
        }
    }

    /// Binds the columns to a statement that has [`upsert`].
    pub(super) fn bind<O>(
        self,
        statement: QueryScalar<'a, Postgres, O, PgArguments>,
    ) -> QueryScalar<'a, Postgres, O, PgArguments> {
        let [text1, text2, text3, text4] = self.texts;
        let statement = statement.bind(self.parts).bind(self.entities).bind(self.languages);
        statement.bind(text1).bind(text2).bind(text3).bind(text4)
    }

    /// Writes the rows of entities that the transaction has locked.
    pub(in crate::store::postgres) async fn write(
        self,
        connection: &mut PgConnection,
        caches_statements: bool,
    ) -> Result<(), sqlx::Error> {
        if self.is_empty() {
            return Ok(());
        }
        let statement = self.bind(sqlx::query_scalar::<_, i32>(UPSERT.as_str()));
        statement.persistent(caches_statements).fetch_all(connection).await.map(drop)
    }
}

impl<'a> FromIterator<(&'a str, SearchRow)> for SearchColumns<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, SearchRow)>>(rows: I) -> Self {
        let mut columns = Self::default();
        rows.into_iter().for_each(|(entity_id, row)| columns.push(entity_id, row));
        columns
    }
}

/// Writes rows, with their entities' ids. The transaction has locked the entities.
///
/// # Errors
/// The server's.
pub async fn write_search_rows(
    connection: &mut PgConnection,
    rows: Vec<(&str, SearchRow)>,
) -> Result<(), sqlx::Error> {
    rows.into_iter().collect::<SearchColumns<'_>>().write(connection, false).await
}
