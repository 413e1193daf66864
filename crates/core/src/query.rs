//! Reading: what can be asked, and the port behind it.

mod fold;
mod history;
mod port;

pub use history::{Comparison, History, HistoryError, HistoryPage, HistoryQuery, Origin};
pub use port::{ReadError, ReadStore};
