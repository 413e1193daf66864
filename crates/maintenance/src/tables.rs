//! The statements of maintenance, alike for both databases.

mod entities;
mod indexes;
mod log;
mod page;
mod search;
mod size;
mod transaction;

pub(crate) use entities::{State, Stored, before_all};
pub(crate) use log::{Logged, NewEntry};
pub(crate) use page::{PAGE_BYTES, PAGE_ROWS, page};
pub use size::{Rows, TableSize};
pub(crate) use transaction::Access;
