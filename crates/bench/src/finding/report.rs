//! The report of the measurements of finding.

use super::steps::Step;
use super::targets;
use crate::report::{Block, Cell, Document, Section, Table, number};
use crate::results::{Results, table};
use crate::targets::{Summaries, quotient, rate};

const METHOD: [&str; 7] = [
    "A round measures all cells one after the other, each with a new process of the service with its \
     default settings. Values are medians of the rounds; of peak memory and of the slowest request the \
     maximum. Clients, service and database share the machine; of an answer the clients look at the first \
     and last bytes, and at one answer before as a whole. Without anything else, events/s counts answers.",
    "The entities are cars with documents of about 400 B, loaded by COPY without a log, beside a thousand \
     types of one entity. 10,000 dealers have a car by turns. A title has 3, a description 12 of 1,000 words. \
     -large: the type has the number of entities that --large says. pgbench asks the same with prepared \
     statements, 8 clients.",
    "list: pages of 100 by id, each client from the first on, with the token of the page before; pgbench: \
     those of the same table behind an id. indexed: the first page of 100 of a random dealer, by the declared \
     index; pgbench: by an index of the expression on a copy of the cars. search: two random words, 20 hits by \
     rank, and a facet of ten makes; pgbench: the hits, and their makes grouped, in one statement with an index \
     of tsvectors in the copy.",
    "unindexed: one connection, pages of a filter that no car matches. gets: GETs of random cars, 1,000 a second \
     on 16 connections. writes: 64 connections that make cars as fast as they can, on a copy of the database. \
     gets-scans, writes-scans: beside 20 clients that read pages as unindexed does; one that is refused (503) \
     waits a second. types: one connection.",
    "writes-long: for a minute, through checkpoints. writes-building: the same writers from the moment when an \
     index of the dealer is declared until it is ready, for a minute at most; the seconds of the table say how \
     long that was. The slowest request is the slowest of all rounds.",
    "ingest: 256 connections that make cars on empty tables. ingest-before: the binary of --before on tables of \
     its own. ingest-indexes: indexes of a value that each car has for itself, of one that all have, and of the \
     dealer with createdAt. sqlite: in a file instead.",
    "A fixed piece of work is timed before and after each measurement; slowdown is how many times its \
     best time it took, so 1 is full speed. A measurement waits up to 12 s while the machine is slow.",
];

/// The report of these results.
pub(super) fn document(results: &Results) -> Document {
    let cells = results.summaries();
    let mut sections = vec![
        Section::new("Targets", [Block::Table(targets::table(&cells))]),
        Section::new("All cells", [Block::Table(table::of(Step::all(), &cells))]),
    ];
    sections.extend(rounds(results));
    sections.extend(results.errors());
    sections.push(Section::new("Method", METHOD.map(|text| Block::Text(text.to_owned()))));
    Document {
        title: "Finding entities by producer".to_owned(),
        summary: summary(&cells),
        warnings: Vec::new(), // a high load is among the facts
        facts: results.facts.clone(),
        sections,
    }
}

/// What differs between rounds and is no rate; `None` where nothing was measured.
fn rounds(results: &Results) -> Option<Section> {
    let mut table = Table::new(["cell", "round", "seconds", "slowest request ms", "not sent/s"]);
    for measured in results.measurements.iter().filter(|measured| measured.error.is_none()) {
        let Some(slowest) = measured.slowest_us else { continue };
        let unsent = measured.admission.as_ref().map_or_else(String::new, |admission| {
            number(admission.unsent as f64 / measured.seconds)
        });
        let values =
            [measured.round.to_string(), number(measured.seconds), number(slowest / 1e3), unsent];
        table
            .rows
            .push([measured.cell.clone()].into_iter().chain(values).map(Cell::from).collect());
    }
    (!table.rows.is_empty()).then(|| Section::new("Rounds", [Block::Table(table)]))
}

fn summary(cells: &Summaries<'_>) -> String {
    let (list, pgbench) = (rate(cells, "list"), rate(cells, "pgbench-list"));
    match (list, quotient(list, pgbench)) {
        (Some(list), Some(ratio)) => format!(
            "8 connections read {} pages of 100 a second, {} times as many as pgbench.",
            number(list),
            number(ratio)
        ),
        _ => String::new(),
    }
}
