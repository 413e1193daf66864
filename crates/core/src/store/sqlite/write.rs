//! Writing batches.

mod indexes;
mod insert;
mod statements;
mod writer;

pub(super) use indexes::write_index_rows;
pub(super) use writer::{SqliteWriter, WriterSettings};
