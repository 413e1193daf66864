//! Writing batches: the fast path in one statement, and the slow path that every batch can take.

mod apply;
mod columns;
mod connection;
mod fast_path;
mod marks;
mod search;
mod session;
mod slow_path;
mod writer;

pub(super) use columns::IndexColumns;
pub(super) use connection::{ConnectionLifetime, OpenConnection, WriterConnection};
pub(super) use marks::Marks;
pub(super) use search::SearchColumns;
pub use search::write_search_rows;
pub(super) use session::{OpenError, Session, WriterSettings, open};
pub(super) use writer::PgWriter;
