//! The statements of maintenance, alike for both databases.

mod entities;
mod log;
mod page;
mod transaction;

pub(crate) use entities::{State, Stored, before_all};
pub(crate) use log::{Kind, Logged, NewEntry};
pub(crate) use page::{PAGE_BYTES, PAGE_ROWS, page};
pub(crate) use transaction::Access;
