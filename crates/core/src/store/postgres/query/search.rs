//! Full-text search.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{FromRow, PgConnection, Postgres};
use tokio::time::Instant;

use crate::search::{Leaf, MatchQuery, Matched, Needed, SearchPart, Stems, StemsQuery, Terms};
use crate::store::postgres::read_pool::{ReadConnection, ReadPool};
use crate::store::postgres::time::from_pg;
use crate::store::search::{MatchRow, PARTS, PartRow, StateRow, is_of_absence};

/// A cursor's name and columns belong together, so that its statements may stay prepared.
struct Cursor {
    fetch: &'static str,
    fetch_few: &'static str,
}

const OF_IDS: Cursor = Cursor {
    fetch: "FETCH FORWARD 1000 FROM found_ids",
    fetch_few: "FETCH FORWARD 50 FROM found_ids",
};
const OF_STATES: Cursor = Cursor {
    fetch: "FETCH FORWARD 1000 FROM found_states",
    fetch_few: "FETCH FORWARD 50 FROM found_states",
};
/// Rows that are fetched at once, and those of the first time and of large documents.
const ROWS: usize = 1000;
const FEW_ROWS: usize = 50;
/// Bytes of documents that one fetch should have at most.
const FETCH_BYTES: usize = 8 << 20;

/// What the words of leaves are in a language, in the syntax of tsquery; empty where it passes over them.
/// Words are letters and digits, so they need no quotes. `phraseto_tsquery` keeps the distances of
/// what it passes over. A prefix that it passes over, or knows as several words, is taken literally.
///
/// The statements that follow must end by the deadline. The settings come first: they are made before the words
/// are looked at, so that there are no notices about what is passed over.
const PHRASES: &str = r"
SELECT set_config('client_min_messages', 'warning', true), set_config('statement_timeout', $1, true), ARRAY(
    SELECT CASE WHEN NOT begins THEN phrase
                WHEN phrase LIKE '%''' THEN phrase || ':*'
                ELSE to_tsquery('pg_catalog.simple', '''' || words || ''':*')::text END
    FROM (SELECT phraseto_tsquery($2::text::regconfig, words)::text AS phrase, words, begins, number
          FROM unnest($3::text[], $4::bool[]) WITH ORDINALITY AS l (words, begins, number)) AS p
    ORDER BY number)";

/// For [`STEMS`]: without the notices of `phraseto_tsquery` about what it passes over.
const QUIET: &str = "SET LOCAL client_min_messages = warning";

/// A weight counts as its number, and a word of a long text less.
macro_rules! score {
    () => {
        "ts_rank('{0.25, 0.5, 0.75, 1}', s.words, $1::text::tsquery, 1)::float8 AS score"
    };
}

/// The state, with this of the document.
macro_rules! state {
    ($data:expr) => {
        concat!(", e.version, e.created_at, e.updated_at, ", $data, "::text AS data")
    };
}

/// The members of the document that a parameter names. Reading them out costs less than the text of the whole,
/// and the larger documents are, the less.
macro_rules! members {
    ($names:literal) => {
        concat!(
            "(SELECT jsonb_object_agg(name, e.data -> name) FROM unnest(",
            $names,
            "::text[]) AS name)"
        )
    };
}

const MATCHES: &str = concat!(
    "DECLARE found_ids NO SCROLL CURSOR FOR SELECT s.entity_id, ",
    score!(),
    " FROM entity_search s WHERE s.words @@ $1::text::tsquery",
);

macro_rules! matches_with_states {
    ($columns:expr) => {
        concat!(
            "DECLARE found_states NO SCROLL CURSOR FOR SELECT s.entity_id, ",
            score!(),
            $columns,
            " FROM entity_search s JOIN entities e
                ON e.entity_type = $2 AND e.entity_id = s.entity_id AND NOT e.deleted
              WHERE s.words @@ $1::text::tsquery",
        )
    };
}

const MATCHES_WITH_STATES: &str = matches_with_states!(state!("e.data"));
const MATCHES_WITH_MEMBERS: &str = matches_with_states!(state!(members!("$3")));

/// Entities without words, and those whose words fulfil $3 all the same. The subquery is evaluated for each
/// entity: as a join, it would be planned by statistics that know nothing of what is absent.
macro_rules! absence {
    ($cursor:literal, $columns:expr) => {
        concat!(
            "DECLARE ",
            $cursor,
            " NO SCROLL CURSOR FOR SELECT e.entity_id, 0::float8 AS score",
            $columns,
            " FROM entities e WHERE e.entity_type = $1 AND NOT e.deleted AND ($3::text IS NULL OR coalesce(
                (SELECT s.words FROM entity_search s
                 WHERE s.part_id = $2 AND s.entity_id = e.entity_id), '') @@ $3::text::tsquery)
              ORDER BY e.entity_id",
        )
    };
}

const ABSENCE: &str = absence!("found_ids", "");
const ABSENCE_WITH_STATES: &str = absence!("found_states", state!("e.data"));
const ABSENCE_WITH_MEMBERS: &str = absence!("found_states", state!(members!("$4")));

/// Which words have stems that are these, and which terms have none.
const STEMS: &str = r"
WITH terms AS MATERIALIZED (
    SELECT number, CASE WHEN NOT begins THEN phrase
                        WHEN phrase LIKE '%''' THEN phrase || ':*'
                        ELSE to_tsquery('pg_catalog.simple', word || ':*')::text END AS term
    FROM (SELECT number, begins, word, phraseto_tsquery($1::text::regconfig, word)::text AS phrase
          FROM unnest($3::text[], $4::bool[]) WITH ORDINALITY AS t (word, begins, number)) AS t
), words AS MATERIALIZED (
    SELECT number, to_tsvector($1::text::regconfig, word) AS stems
    FROM unnest($2::text[]) WITH ORDINALITY AS w (word, number)
)
SELECT w.number, t.number FROM terms t JOIN words w ON w.stems @@ t.term::tsquery WHERE t.term <> ''
UNION ALL SELECT NULL, number FROM terms WHERE term = ''";

/// The parts that are searched.
pub(in crate::store::postgres) async fn search_parts(
    read_pool: &ReadPool,
) -> Result<Vec<SearchPart>, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    let rows: Vec<PartRow> = sqlx::query_as(PARTS)
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    rows.into_iter().map(PartRow::into_part).collect()
}

/// A search that has begun, in a transaction of its own.
pub(in crate::store::postgres) struct OpenSearch {
    connection: ReadConnection,
    found: FoundBy,
    caches_statements: bool,
}

/// How entities are found.
enum FoundBy {
    /// By no word: no entity is.
    Nothing,
    /// Their words fulfil this tsquery.
    Words(String),
    /// They have no words, or fulfil this tsquery with those that they have; `None` for every entity.
    Absence(Option<String>),
}

/// Begins a search: nothing is found yet, so it may be repeated.
pub(in crate::store::postgres) async fn open_search(
    read_pool: &ReadPool,
    query: MatchQuery<'_>,
) -> Result<OpenSearch, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    connection.begin(read_pool).await?;
    let groups = match query.terms {
        Terms::Groups(groups) => groups.as_slice(),
        Terms::All | Terms::Nothing => &[],
    };
    let leaves = || groups.iter().flatten();
    let words: Vec<String> = leaves().map(|leaf| leaf.words.join(" ")).collect();
    let begins: Vec<bool> = leaves().map(|leaf| leaf.begins).collect();
    let caches_statements = read_pool.caches_statements();
    let left = query.deadline.saturating_duration_since(Instant::now());
    let (_, _, phrases): (String, String, Vec<String>) = sqlx::query_as(PHRASES)
        .bind(format!("{}ms", left.as_millis().max(1)))
        .bind(&query.part.definition.language)
        .bind(words)
        .bind(begins)
        .persistent(caches_statements)
        .fetch_one(&mut *connection.connection)
        .await?;
    let found = match query.terms {
        Terms::All => FoundBy::Absence(None),
        Terms::Nothing => FoundBy::Nothing,
        Terms::Groups(groups) => {
            let of_part = phrases.into_iter().map(|phrase| of_part(query.part.id, &phrase));
            found_by(groups, of_part)
        }
    };
    Ok(OpenSearch { connection, found, caches_statements })
}

/// The words of a tsquery as a part has them, as `entity_search_words` makes them.
fn of_part(part_id: i32, phrase: &str) -> String {
    format!(" {phrase}").replace(" '", &format!(" '{part_id}:")).trim_start().to_owned()
}

/// The groups as a tsquery, without the leaves that the language passes over.
fn found_by(groups: &[Vec<Leaf>], mut phrases: impl Iterator<Item = String>) -> FoundBy {
    let (mut all, mut are_of_absence) = (Vec::new(), true);
    for group in groups {
        let of_group = group.iter().zip(phrases.by_ref()).filter(|(_, phrase)| !phrase.is_empty());
        let of_group: Vec<_> = of_group.collect();
        if of_group.is_empty() {
            continue;
        }
        are_of_absence &= is_of_absence(of_group.iter().map(|(leaf, _)| *leaf));
        let leaf = |(leaf, phrase): &(&Leaf, String)| {
            format!("{}({phrase})", if leaf.negated { "!" } else { "" })
        };
        all.push(format!("({})", of_group.iter().map(leaf).collect::<Vec<_>>().join(" | ")));
    }
    match all.join(" & ") {
        none if none.is_empty() => FoundBy::Nothing,
        tsquery if are_of_absence => FoundBy::Absence(Some(tsquery)),
        tsquery => FoundBy::Words(tsquery),
    }
}

impl OpenSearch {
    /// Calls `each` with what is found. Returns whether that was all.
    pub(in crate::store::postgres) async fn run(
        mut self,
        query: MatchQuery<'_>,
        each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> Result<bool, sqlx::Error> {
        let is_complete = match self.find(query, each).await {
            Err(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| code == CANCELED) =>
            {
                false
            }
            found => found?,
        };
        // a transaction that failed is rolled back by this too
        self.connection.release().await?;
        Ok(is_complete)
    }

    async fn find(
        &mut self,
        query: MatchQuery<'_>,
        each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
    ) -> Result<bool, sqlx::Error> {
        let connection = &mut *self.connection.connection;
        let (entity_type, part_id) = (&query.part.entity_type, query.part.id);
        let declare = match &self.found {
            FoundBy::Nothing => return Ok(true),
            FoundBy::Words(words) => match query.needed {
                Needed::Nothing => sqlx::query(MATCHES).bind(words),
                Needed::State => sqlx::query(MATCHES_WITH_STATES).bind(words).bind(entity_type),
                Needed::Members(names) => {
                    sqlx::query(MATCHES_WITH_MEMBERS).bind(words).bind(entity_type).bind(names)
                }
            },
            FoundBy::Absence(words) => {
                let of_type =
                    |statement| sqlx::query(statement).bind(entity_type).bind(part_id).bind(words);
                match query.needed {
                    Needed::Nothing => of_type(ABSENCE),
                    Needed::State => of_type(ABSENCE_WITH_STATES),
                    Needed::Members(names) => of_type(ABSENCE_WITH_MEMBERS).bind(names),
                }
            }
        };
        declare.persistent(self.caches_statements).execute(&mut *connection).await?;
        let cursor = if query.needed == Needed::Nothing { OF_IDS } else { OF_STATES };
        let (mut rows, mut statement) = (FEW_ROWS, cursor.fetch_few);
        loop {
            let fetch_rows = sqlx::query(statement).persistent(self.caches_statements);
            let fetched = fetch(connection, fetch_rows, query, each).await?;
            match fetched {
                Fetched::Stopped => return Ok(false),
                Fetched::Rows { count, .. } if count < rows => return Ok(true),
                Fetched::Rows { count, bytes } => {
                    let is_small = bytes / count.max(1) * ROWS <= FETCH_BYTES;
                    (rows, statement) =
                        if is_small { (ROWS, cursor.fetch) } else { (FEW_ROWS, cursor.fetch_few) };
                }
            }
        }
    }
}

/// `query_canceled`: the time is over.
const CANCELED: &str = "57014";

enum Fetched {
    /// By `each`, or the time is over.
    Stopped,
    /// So many rows, and bytes of documents.
    Rows { count: usize, bytes: usize },
}

/// Rows are judged as they come, so that documents do not gather in memory. What comes behind a stop is read
/// and dropped.
async fn fetch(
    connection: &mut PgConnection,
    fetch: Query<'_, Postgres, PgArguments>,
    query: MatchQuery<'_>,
    each: &mut (dyn FnMut(Matched) -> ControlFlow<()> + Send),
) -> Result<Fetched, sqlx::Error> {
    let mut rows = fetch.fetch(connection);
    let (mut count, mut bytes, mut is_stopped) = (0, 0, false);
    while let Some(row) = rows.try_next().await? {
        if is_stopped {
            continue;
        }
        let matched = matched(&row, query.needed != Needed::Nothing)?;
        count += 1;
        bytes += matched.state.as_ref().map_or(0, |state| state.data.len());
        is_stopped = each(matched).is_break() || Instant::now() > query.deadline;
    }
    Ok(if is_stopped { Fetched::Stopped } else { Fetched::Rows { count, bytes } })
}

fn matched(row: &PgRow, with_states: bool) -> Result<Matched, sqlx::Error> {
    Ok(if with_states {
        StateRow::<DateTime<Utc>>::from_row(row)?.into_matched(from_pg)
    } else {
        MatchRow::from_row(row)?.into()
    })
}

/// Which words have a stem that a term means.
pub(in crate::store::postgres) async fn stems(
    read_pool: &ReadPool,
    query: StemsQuery<'_>,
) -> Result<Stems, sqlx::Error> {
    let mut connection = read_pool.acquire().await?;
    connection.begin(read_pool).await?;
    sqlx::raw_sql(QUIET).execute(&mut *connection.connection).await?;
    let terms: Vec<&str> = query.terms.iter().map(|term| term.word.as_str()).collect();
    let begins: Vec<bool> = query.terms.iter().map(|term| term.begins).collect();
    let rows: Vec<(Option<i64>, i64)> = sqlx::query_as(STEMS)
        .bind(query.language)
        .bind(query.words)
        .bind(terms)
        .bind(begins)
        .persistent(read_pool.caches_statements())
        .fetch_all(&mut *connection.connection)
        .await?;
    connection.release().await?;
    let mut stems = Stems::default();
    // numbers begin with 1
    let place = |number: i64| usize::try_from(number - 1).unwrap_or(usize::MAX);
    for (word, term) in rows {
        match word {
            Some(word) => stems.meant.push((place(word), place(term))),
            None => stems.passed_over.push(place(term)),
        }
    }
    Ok(stems)
}
