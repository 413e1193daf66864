//! Writing batches.

mod indexes;
mod insert;
mod search;
mod statements;
mod writer;

pub(super) use indexes::write_index_rows;
pub(super) use search::drop_search_rows;
pub use search::write_search_rows;
pub(super) use writer::{SqliteWriter, WriterSettings};
