//! The words that are searched on SQLite. Its tables keep no text, so what they have is asked for: the right
//! number of words, and every run of them.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use producer_core::types::{SearchRow, TypeSearch};
use sqlx::SqliteConnection;

use super::fingerprints::Fingerprints;
use super::json::json;
use super::rows::Fault;
use crate::connection::Connection;
use crate::error::MaintenanceError;

/// The words of one phrase.
const RUN: usize = 64;

/// The statements of one of the two tables.
struct Words {
    /// A table as that one, for the expected words.
    create: &'static str,
    clear: &'static str,
    /// Views of the words of both.
    views: [&'static str; 2],
    all: &'static str,
    expected: &'static str,
    insert: &'static str,
    /// The rows whose number of words is not the expected one.
    sizes: &'static str,
    /// Whether a row matches.
    matches: &'static str,
    /// Rows that no entity has, or one whose part has the other language. One page.
    unused: &'static str,
    delete: &'static str,
}

macro_rules! words {
    ($table:literal, $tokenizer:literal, $other:literal) => {
        Words {
            create: concat!(
                "CREATE VIRTUAL TABLE IF NOT EXISTS temp.expected_",
                $table,
                " USING fts5(part, weight1, weight2, weight3, weight4, content = '',
                     contentless_delete = 1, tokenize = \"",
                $tokenizer,
                " remove_diacritics 0 categories 'L* M* N* Co'\")",
            ),
            clear: concat!(
                "INSERT INTO temp.expected_",
                $table,
                " (expected_",
                $table,
                ") VALUES ('delete-all')",
            ),
            views: [
                concat!(
                    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.words_",
                    $table,
                    " USING fts5vocab(main, entity_search_",
                    $table,
                    ", instance)",
                ),
                concat!(
                    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.expected_words_",
                    $table,
                    " USING fts5vocab(temp, expected_",
                    $table,
                    ", instance)",
                ),
            ],
            all: concat!("SELECT doc, col, term, offset FROM temp.words_", $table),
            expected: concat!("SELECT doc, col, term, offset FROM temp.expected_words_", $table),
            insert: concat!(
                "INSERT INTO temp.expected_",
                $table,
                " (rowid, part, weight1, weight2, weight3, weight4)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            ),
            sizes: concat!(
                "SELECT e.id FROM temp.expected_",
                $table,
                "_docsize AS e LEFT JOIN main.entity_search_",
                $table,
                "_docsize AS d ON d.id = e.id WHERE d.sz IS NOT e.sz",
            ),
            matches: concat!(
                "SELECT EXISTS (SELECT 1 FROM entity_search_",
                $table,
                " WHERE entity_search_",
                $table,
                " MATCH $1 AND rowid = $2)",
            ),
            unused: concat!(
                "SELECT d.id FROM entity_search_",
                $table,
                "_docsize AS d LEFT JOIN entity_search AS s ON s.id = d.id
                 LEFT JOIN type_parts AS p ON p.part_id = s.part_id
                 WHERE d.id > $1 AND (s.id IS NULL OR (p.spec ->> '$.language' = 'english') = ",
                $other,
                ") ORDER BY d.id LIMIT 500",
            ),
            delete: concat!(
                "DELETE FROM entity_search_",
                $table,
                " WHERE rowid IN (SELECT value FROM json_each($1))",
            ),
        }
    };
}

static SIMPLE: Words = words!("simple", "unicode61", "1");
static ENGLISH: Words = words!("english", "porter unicode61", "0");

impl Connection {
    /// Of rows of one part with their entities' ids, those that are not what is stored, or not what is `known`
    /// to be stored.
    pub(super) async fn wrong_words_of_sqlite(
        &mut self,
        rows: &[(&str, SearchRow)],
        known: Option<&Fingerprints>,
    ) -> Result<Vec<(String, Fault)>, MaintenanceError> {
        let (Self::Sqlite(c), Some((_, first))) = (self, rows.first()) else {
            return Ok(Vec::new());
        };
        let words = Words::of(first);
        let ids: Vec<&str> = rows.iter().map(|(id, _)| *id).collect();
        let found: Vec<(String, i64)> = sqlx::query_as(
            "SELECT entity_id, id FROM entity_search
             WHERE part_id = $1 AND entity_id IN (SELECT value FROM json_each($2))",
        )
        .bind(first.part_id)
        .bind(json(&ids)?)
        .fetch_all(&mut *c)
        .await?;
        let found: HashMap<String, i64> = found.into_iter().collect();
        let (mut wrong, mut there) = (Vec::new(), Vec::new());
        for (id, row) in rows {
            match (found.get(*id), row.is_empty()) {
                (None, true) => {}
                (None, false) => wrong.push(((*id).to_owned(), Fault::Missing)),
                (Some(_), true) => wrong.push(((*id).to_owned(), Fault::Differs)),
                (Some(rowid), false) => there.push((*rowid, *id, row)),
            }
        }
        let sized_otherwise = words.sized_otherwise(c, &there).await?;
        let expected = match known {
            Some(_) => words.fingerprints(c, words.expected).await?,
            None => Fingerprints::default(),
        };
        for (rowid, id, row) in there {
            let has_words = match known {
                Some(known) => known.of(rowid) == expected.of(rowid),
                None => words.has(c, rowid, row).await?,
            };
            if !has_words || sized_otherwise.contains(&rowid) {
                wrong.push((id.to_owned(), Fault::Differs));
            }
        }
        Ok(wrong)
    }

    /// The expected words are in temporary tables, and need no folder that can be written.
    pub(crate) async fn prepare_words(&mut self) -> Result<(), MaintenanceError> {
        match self {
            Self::Postgres(_) => Ok(()),
            Self::Sqlite(_) => self.run("PRAGMA temp_store = MEMORY").await,
        }
    }

    /// What is stored as the words of a search; `None` where the database compares them itself.
    pub(crate) async fn stored_words(
        &mut self,
        search: &TypeSearch,
    ) -> Result<Option<Fingerprints>, MaintenanceError> {
        let Self::Sqlite(c) = self else { return Ok(None) };
        let words = Words::of(&search.row(None));
        Ok(Some(words.fingerprints(c, words.all).await?))
    }

    /// How many rows of words no entity has; with `write` they are deleted.
    pub(crate) async fn unused_words(&mut self, write: bool) -> Result<u64, MaintenanceError> {
        let mut count = 0;
        for words in [&SIMPLE, &ENGLISH] {
            let mut after = i64::MIN;
            loop {
                let page = self.unused_page(words, after, write).await?;
                let Some(last) = page.last() else { break };
                (after, count) = (*last, count + page.len() as u64);
            }
        }
        Ok(count)
    }

    async fn unused_page(
        &mut self,
        words: &Words,
        after: i64,
        write: bool,
    ) -> Result<Vec<i64>, MaintenanceError> {
        if !matches!(self, Self::Sqlite(_)) {
            return Ok(Vec::new());
        }
        self.run(if write { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
        let mut page = Vec::new();
        if let Self::Sqlite(c) = self {
            page = sqlx::query_scalar(words.unused).bind(after).fetch_all(&mut *c).await?;
            if write && !page.is_empty() {
                sqlx::query(words.delete).bind(json(&page)?).execute(c).await?;
            }
        }
        self.commit().await?;
        Ok(page)
    }
}

impl Words {
    fn of(row: &SearchRow) -> &'static Self {
        if &*row.language == "english" { &ENGLISH } else { &SIMPLE }
    }

    async fn fingerprints(
        &self,
        connection: &mut SqliteConnection,
        query: &'static str,
    ) -> Result<Fingerprints, sqlx::Error> {
        sqlx::query(self.create).execute(&mut *connection).await?;
        for view in self.views {
            sqlx::query(view).execute(&mut *connection).await?;
        }
        let mut fingerprints = Fingerprints::default();
        let mut rows = sqlx::query_as::<_, (i64, String, String, i64)>(query).fetch(connection);
        while let Some((id, column, word, place)) = rows.try_next().await? {
            fingerprints.add(id, &column, &word, place);
        }
        Ok(fingerprints)
    }

    /// The rows that have more or fewer words than expected. How many there are is known when they were
    /// cut by the same tokenizer.
    async fn sized_otherwise(
        &self,
        connection: &mut SqliteConnection,
        rows: &[(i64, &str, &SearchRow)],
    ) -> Result<Vec<i64>, sqlx::Error> {
        sqlx::query(self.create).execute(&mut *connection).await?;
        sqlx::query(self.clear).execute(&mut *connection).await?;
        for (rowid, _, row) in rows {
            let insert = sqlx::query(self.insert).bind(rowid).bind(part_word(row));
            let insert = row.text.iter().fold(insert, |insert, text| insert.bind(text.as_str()));
            insert.execute(&mut *connection).await?;
        }
        sqlx::query_scalar(self.sizes).fetch_all(connection).await
    }

    /// Whether a row has every run of the words, in the columns of their weights, and its part's word.
    async fn has(
        &self,
        connection: &mut SqliteConnection,
        rowid: i64,
        row: &SearchRow,
    ) -> Result<bool, sqlx::Error> {
        for (weight, text) in (1..).zip(&row.text) {
            let words: Vec<&str> = text.split_whitespace().collect();
            for run in words.chunks(RUN) {
                // words are letters and digits alone; what the tokenizer drops of a run matches everything
                let query =
                    format!("part : \"{}\" weight{weight} : \"{}\"", part_word(row), run.join(" "));
                let matches: bool = sqlx::query_scalar(self.matches)
                    .bind(query)
                    .bind(rowid)
                    .fetch_one(&mut *connection)
                    .await?;
                if !matches {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn part_word(row: &SearchRow) -> String {
    format!("p{}", row.part_id)
}
