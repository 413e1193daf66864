//! Full-text search.

use std::ops::ControlFlow;

use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Sqlite};
use tokio::time::Instant;

use super::error::unavailable;
use crate::model::Timestamp;
use crate::query::ReadError;
use crate::search::{
    Leaf, MatchQuery, Matched, Needed, SearchPart, Stems, StemsQuery, Term, Terms,
};
use crate::store::pool::MeasuredPool;
use crate::store::search::{MatchRow, PARTS, PartRow, StateRow, is_of_absence};

const ENGLISH: &str = "english";

/// The part's column counts nothing. bm25 is below 0, and less is better.
macro_rules! matches {
    ($table:literal, $columns:expr, $join:expr) => {
        concat!(
            "SELECT s.entity_id, -bm25(",
            $table,
            ", 0.0, 1.0, 2.0, 3.0, 4.0) AS score",
            $columns,
            " FROM ",
            $table,
            " CROSS JOIN entity_search AS s ON s.id = ",
            $table,
            ".rowid",
            $join,
            " WHERE ",
            $table,
            " MATCH $1",
        )
    };
}

/// Entities but those whose words fulfil $3, which is null where there are no such.
macro_rules! without {
    ($table:literal, $columns:expr) => {
        concat!(
            "SELECT e.entity_id, 0.0 AS score",
            $columns,
            " FROM entities AS e WHERE e.entity_type = $1 AND NOT e.deleted AND e.entity_id NOT IN (
                SELECT s.entity_id FROM ",
            $table,
            " CROSS JOIN entity_search AS s ON s.id = ",
            $table,
            ".rowid WHERE $2 IS NOT NULL AND ",
            $table,
            " MATCH $2) ORDER BY e.entity_id",
        )
    };
}

macro_rules! state {
    () => {
        ", e.version, e.created_at, e.updated_at, e.data"
    };
}

macro_rules! state_join {
    () => {
        " CROSS JOIN entities AS e
            ON e.entity_type = $2 AND e.entity_id = s.entity_id AND NOT e.deleted"
    };
}

/// The statements of one language.
struct Statements {
    matches: &'static str,
    matches_with_states: &'static str,
    without: &'static str,
    without_with_states: &'static str,
}

macro_rules! statements {
    ($table:literal) => {
        Statements {
            matches: matches!($table, "", ""),
            matches_with_states: matches!($table, state!(), state_join!()),
            without: without!($table, ""),
            without_with_states: without!($table, state!()),
        }
    };
}

static OF_SIMPLE: Statements = statements!("entity_search_simple");
static OF_ENGLISH: Statements = statements!("entity_search_english");

/// Words of hits with their stems, for one connection alone.
const TEMPORARY: &str = r#"
CREATE VIRTUAL TABLE IF NOT EXISTS temp.search_words USING fts5(
    word, content = '', tokenize = "porter unicode61 remove_diacritics 0 categories 'L* M* N* Co'")"#;
const EMPTY: &str = "INSERT INTO temp.search_words (search_words) VALUES ('delete-all')";
const FILL: &str = r"
INSERT INTO temp.search_words (rowid, word) SELECT key, value FROM json_each($1)";
const MEANT: &str = "SELECT rowid FROM temp.search_words WHERE search_words MATCH $1";

/// The parts that are searched.
pub(in crate::store::sqlite) async fn search_parts(
    pool: &MeasuredPool<Sqlite>,
) -> Result<Vec<SearchPart>, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    let rows: Vec<PartRow> =
        sqlx::query_as(PARTS).fetch_all(&mut *connection).await.map_err(unavailable)?;
    rows.into_iter().map(|row| row.into_part().map_err(unavailable)).collect()
}

/// Calls `each` with what is found. Returns whether that was all.
pub(in crate::store::sqlite) async fn matches(
    pool: &MeasuredPool<Sqlite>,
    query: MatchQuery<'_>,
    each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
) -> Result<bool, ReadError> {
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    find(&mut connection, query, each).await.map_err(unavailable)
}

async fn find(
    connection: &mut SqliteConnection,
    query: MatchQuery<'_>,
    each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
) -> Result<bool, sqlx::Error> {
    let SearchPart { id, entity_type, definition, .. } = query.part;
    let statements = if definition.language == ENGLISH { &OF_ENGLISH } else { &OF_SIMPLE };
    let of_part =
        |words: &str| format!("part : p{id} AND {{weight1 weight2 weight3 weight4}} : ({words})");
    let found = match query.terms {
        Terms::Nothing => return Ok(true),
        Terms::All => Expression::Absent(None),
        Terms::Groups(groups) => expression(groups),
    };
    // members cost as much as the document: both are read from the same pages, by the same process
    let with_states = query.needed != Needed::Nothing;
    let statement = match (&found, with_states) {
        (Expression::Present(_), false) => statements.matches,
        (Expression::Present(_), true) => statements.matches_with_states,
        (Expression::Absent(_), false) => statements.without,
        (Expression::Absent(_), true) => statements.without_with_states,
    };
    let statement = match &found {
        Expression::Present(words) => sqlx::query(statement).bind(of_part(words)).bind(entity_type),
        Expression::Absent(words) => {
            sqlx::query(statement).bind(entity_type).bind(words.as_deref().map(of_part))
        }
    };
    let mut rows = statement.fetch(connection);
    while let Some(row) = rows.try_next().await? {
        if each(matched(&row, with_states)?).is_break() || Instant::now() > query.deadline {
            return Ok(false);
        }
    }
    Ok(true)
}

fn matched(row: &SqliteRow, with_states: bool) -> Result<Matched, sqlx::Error> {
    Ok(if with_states {
        StateRow::<i64>::from_row(row)?.into_matched(Timestamp::from_micros)
    } else {
        MatchRow::from_row(row)?.into()
    })
}

/// FTS5 knows no other NOT than `a NOT b`, so an expression says what must be there, or what must not.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expression {
    Present(String),
    /// `None`: nothing must be absent.
    Absent(Option<String>),
}

/// Words are letters and digits; in quotes they are no operators.
fn expression(groups: &[Vec<Leaf>]) -> Expression {
    let (mut present, mut absent) = (Vec::new(), Vec::new());
    for group in groups {
        let (negated, wanted): (Vec<_>, Vec<_>) = group.iter().partition(|leaf| leaf.negated);
        let (negated, wanted) = (joined(&negated, " AND "), joined(&wanted, " OR "));
        if !is_of_absence(group) {
            present.push(wanted);
        } else if wanted.is_empty() {
            absent.push(negated);
        } else {
            // neither one that is wanted, nor is one of the others missing
            absent.push(format!("({negated} NOT {wanted})"));
        }
    }
    let absent = (!absent.is_empty()).then(|| format!("({})", absent.join(" OR ")));
    match (present.is_empty(), absent) {
        (true, absent) => Expression::Absent(absent),
        (false, None) => Expression::Present(present.join(" AND ")),
        (false, Some(absent)) => {
            Expression::Present(format!("({}) NOT {absent}", present.join(" AND ")))
        }
    }
}

/// Leaves in parentheses; empty where there are none.
fn joined(leaves: &[&Leaf], operator: &str) -> String {
    let leaf = |leaf: &&Leaf| phrase(&leaf.words.join(" "), leaf.begins);
    let all = leaves.iter().map(leaf).collect::<Vec<_>>().join(operator);
    if all.is_empty() { all } else { format!("({all})") }
}

fn phrase(words: &str, begins: bool) -> String {
    format!("\"{words}\"{}", if begins { " *" } else { "" })
}

/// Which words have a stem that a term means. FTS5 returns no stems, so it is asked which words match.
pub(in crate::store::sqlite) async fn stems(
    pool: &MeasuredPool<Sqlite>,
    query: StemsQuery<'_>,
) -> Result<Stems, ReadError> {
    let words = serde_json::to_string(query.words);
    let words = words.map_err(|error| unavailable(sqlx::Error::Encode(error.into())))?;
    let mut connection = pool.acquire().await.map_err(unavailable)?;
    meant(&mut connection, words, query.terms).await.map_err(unavailable)
}

async fn meant(
    connection: &mut SqliteConnection,
    words: String,
    terms: &[Term],
) -> Result<Stems, sqlx::Error> {
    for statement in [TEMPORARY, EMPTY] {
        sqlx::query(statement).execute(&mut *connection).await?;
    }
    sqlx::query(FILL).bind(words).execute(&mut *connection).await?;
    let mut stems = Stems::default();
    for (place, term) in terms.iter().enumerate() {
        let found: Vec<i64> = sqlx::query_scalar(MEANT)
            .bind(phrase(&term.word, term.begins))
            .fetch_all(&mut *connection)
            .await?;
        let word = |word| usize::try_from(word).unwrap_or(usize::MAX);
        stems.meant.extend(found.into_iter().map(|found| (word(found), place)));
    }
    sqlx::query(EMPTY).execute(connection).await?;
    Ok(stems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Query;

    #[test]
    fn not_is_turned_into_what_fts5_knows() {
        let of = |text: &str| {
            let Terms::Groups(groups) = Query::parse(text).expect(text).terms("simple") else {
                panic!("{text} has words")
            };
            match expression(&groups) {
                Expression::Present(words) => words,
                Expression::Absent(words) => format!("but {}", words.unwrap_or_default()),
            }
        };
        for (text, expected) in [
            ("a b*", r#"("a") AND ("b" *)"#),
            ("a OR \"b c\"", r#"("a" OR "b c")"#),
            ("a -b -c", r#"(("a")) NOT (("b") OR ("c"))"#),
            ("-a", r#"but (("a"))"#),
            ("-a OR -b", r#"but (("a" AND "b"))"#),
            ("a OR -b", r#"but ((("b") NOT ("a")))"#),
            ("c a OR -b", r#"(("c")) NOT ((("b") NOT ("a")))"#),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}
