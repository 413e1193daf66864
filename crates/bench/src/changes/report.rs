//! The report of the change feed's measurements.

use super::steps::Step;
use super::targets;
use crate::report::{Block, Cell, Document, Section, Table, number};
use crate::results::{Results, table};
use crate::targets::{Summaries, quotient, rate};

const METHOD: [&str; 6] = [
    "A round measures all cells one after the other, each with a new process of the service with its \
     default settings. Values are medians of the rounds; of peak memory the maximum. Readers, writers, \
     service and database share the machine; the readers look only at the first bytes of a change.",
    "copy, backlog: the log of a tenth of the large one's rows (400 B as events, ten versions of each \
     entity, filled by SQL) by COPY of the columns that a change has, in the order of positions, and by \
     GET /api/v1/changes?from=start&until=now as NDJSON. One reader each; the time begins with the \
     request. backlog-small, backlog-large: as many changes from the beginning of a log as the small one \
     has.",
    "delivery: latencies are from when an event was sent to when a reader of server-sent events has its \
     change, so that they include the write itself; events/s counts deliveries. Events are due at half of \
     the rate that 64 connections reached just before, or for delivery-small, delivery-large and fan-out \
     at 1,000 a second; fan-out has 200 readers, the others one. A cell fails if a reader does not have \
     every acknowledged event 5 s after the last one. An event that finds no free connection within 100 ms \
     of when it was due is not sent.",
    "rest-256, rest-256-read: the cells of `run`, 256 connections that write as fast as they can, without \
     and with a reader of server-sent events, which must have all of them in the end.",
    "idle: a service without load, and with that many readers of server-sent events that have caught up. \
     history: by turns the first and the last 100 updates of an entity which has all of a small log; \
     events/s counts requests.",
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
    sections.extend(rates(results));
    sections.extend(results.errors());
    sections.push(Section::new("Method", METHOD.map(|text| Block::Text(text.to_owned()))));
    Document {
        title: "producer's change feed".to_owned(),
        summary: summary(&cells),
        warnings: Vec::new(), // a high load is among the facts
        facts: results.facts.clone(),
        sections,
    }
}

/// Whether events were sent as often as they should be; `None` where no cell has a rate.
fn rates(results: &Results) -> Option<Section> {
    let mut table = Table::new(["cell", "round", "events due/s", "not sent/s"]);
    for measured in &results.measurements {
        let Some((rate, admission)) = measured.offered_per_second.zip(measured.admission.as_ref())
        else {
            continue;
        };
        let unsent = admission.unsent as f64 / measured.seconds;
        let cells = [measured.round.to_string(), number(rate), number(unsent)];
        table.rows.push([measured.cell.clone()].into_iter().chain(cells).map(Cell::from).collect());
    }
    (!table.rows.is_empty()).then(|| Section::new("Constant rates", [Block::Table(table)]))
}

fn summary(cells: &Summaries<'_>) -> String {
    let (backlog, copy) = (rate(cells, "backlog"), rate(cells, "copy"));
    match (backlog, quotient(backlog, copy)) {
        (Some(backlog), Some(ratio)) => format!(
            "A reader of a backlog gets {} changes/s, {} times the rows of COPY.",
            number(backlog),
            number(ratio)
        ),
        _ => String::new(),
    }
}
