//! The lowest cost of durable rows: the same rows with COPY on one connection.

use std::time::Instant;

use sqlx::{Connection, PgConnection};

use crate::Result;
use crate::cells::Cell;
use crate::events::{self, Template};
use crate::meter::Meter;
use crate::postgres::Database;

/// Rows per COPY, and so per commit.
const ROWS: usize = 10_000;

/// Copies rows into the log and the states alternately, without keys, until it is dropped or fails.
/// Counts rows.
pub(crate) async fn copy(database: &Database, cell: &Cell, meter: Meter) -> Result<()> {
    let mut connection = PgConnection::connect(&database.url).await?;
    let (key, patch) = (events::key_placeholder(cell.keys), events::attributes(cell.size));
    let (uuid, name, created) = (events::UUID, events::NAME, events::CREATED);
    let entity_type = events::ENTITY_TYPE;
    let log =
        format!("{uuid}\t{name}\t{name}\t{created}\t{created}\t{entity_type}\t{key}\t{patch}\n");
    let state = format!("{entity_type}\t{key}\t1\t{patch}\t{created}\t{created}\n");
    let rows = |row: &str| row.repeat(ROWS).into_bytes();
    let mut tables = [
        ("COPY event_log FROM STDIN", Template::new(rows(&log), cell.keys, crate::next_seed())),
        ("COPY entities FROM STDIN", Template::new(rows(&state), cell.keys, crate::next_seed())),
    ];
    loop {
        for (sql, template) in &mut tables {
            let sent = Instant::now();
            let mut copy = connection.copy_in_raw(sql).await?;
            copy.send(template.next()).await?;
            copy.finish().await?;
            meter.success(sent, ROWS);
        }
    }
}
