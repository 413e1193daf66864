//! The results with which a run begins.

use std::path::Path;

use crate::Result;
use crate::machine::{self, LoadAverage};
use crate::postgres::Postgres;
use crate::results::Results;

/// None yet, with the facts about the machine; or, where a run measures `only` some cells, the existing
/// results of the others. `what` says when and how the run measures.
pub(crate) async fn results(
    path: &Path,
    cells: &[String],
    only: bool,
    what: String,
    postgres: Option<&Postgres>,
) -> Result<Results> {
    let mut results =
        if only { Results::read(&path.with_extension("json")) } else { Results::default() };
    if results.measurements.is_empty() {
        results.facts = machine::facts(postgres, LoadAverage::now()).await?;
        results.facts.insert(0, ("run".to_owned(), what));
    } else {
        results.facts.push(("measured again".to_owned(), format!("{}: {what}", cells.join(" "))));
    }
    for cell in cells {
        results.remove(cell);
    }
    Ok(results)
}
