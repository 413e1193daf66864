//! The same questions in SQL, for pgbench.

use super::cars::{self, Cars, DEALERS, WORDS};
use super::steps::Question;
use crate::Result;
use crate::baselines::pgbench::Script;

/// Page after page, from the first on; each client walks by itself.
const LIST: &str = r"
SELECT entity_type, entity_id, version, created_at, updated_at, data::text
FROM entities
WHERE entity_type = :type AND entity_id > 'car-' || :number::bigint AND NOT deleted
ORDER BY entity_id LIMIT 100;
\set page (:page + 1) % :pages
\set number :first + :page * 100 * :distance
";

const INDEXED: &str = r"
\set number random(0, :dealers - 1)
SELECT entity_id, version, created_at, updated_at, data::text
FROM cars WHERE data ->> 'dealer' = 'dealer-' || :number::int ORDER BY entity_id LIMIT 100;
";

/// The best hits, and how many of all hits each make has.
const SEARCH: &str = r"
\set one random(0, :words - 1)
\set other random(0, :words - 1)
WITH query AS (SELECT to_tsquery('simple', 'term' || :one::int || ' & term' || :other::int) AS query),
found AS MATERIALIZED (
    SELECT entity_id, version, created_at, updated_at, data, ts_rank(words, query, 1) AS score
    FROM query, cars WHERE words @@ query
)
(SELECT entity_id, version, created_at, updated_at, data::text, score, NULL::bigint AS count
 FROM found ORDER BY score DESC, entity_id LIMIT 20)
UNION ALL
SELECT data ->> 'make', NULL, NULL, NULL, NULL, NULL, count(*) FROM found GROUP BY 1;
";

/// What pgbench's clients repeat.
///
/// # Errors
/// The question is not compared with pgbench.
pub(super) fn script(question: Question, cars: Cars, clients: usize) -> Result<Script> {
    let (sql, variables) = match question {
        Question::List => (
            LIST,
            vec![
                ("type", cars::TYPE.to_owned()),
                ("page", "0".to_owned()),
                ("pages", (cars.count / 100).max(1).to_string()),
                ("number", cars.number(0).to_string()),
                ("first", cars.number(0).to_string()),
                ("distance", cars.distance().to_string()),
            ],
        ),
        Question::Indexed => (INDEXED, vec![("dealers", DEALERS.to_string())]),
        Question::Search => (SEARCH, vec![("words", WORDS.to_string())]),
        Question::Unindexed | Question::Types => {
            return Err(format!("{question} is not compared with pgbench").into());
        }
    };
    Ok(Script { sql: sql.to_owned(), variables, clients })
}
