//! The statements of maintenance, alike for both databases.

mod dropped;
mod entities;
mod fingerprints;
mod indexes;
mod json;
mod log;
mod page;
mod parts;
mod rows;
mod search;
mod size;
mod transaction;
mod words;

pub(crate) use dropped::PART_TABLES;
pub(crate) use entities::{State, Stored, before_all};
pub(crate) use log::{Logged, NewEntry};
pub(crate) use page::{PAGE_BYTES, PAGE_ROWS, page};
pub(crate) use parts::TypeParts;
pub(crate) use rows::{Fault, WrongRow};
pub use size::{Rows, TableSize};
pub(crate) use transaction::Access;
