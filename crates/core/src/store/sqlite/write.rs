//! Writing batches.

mod insert;
mod statements;
mod writer;

pub(super) use writer::{SqliteWriter, WriterSettings};
