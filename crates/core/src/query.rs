//! Reading: what can be asked, and the port behind it.

mod fold;
mod history;
mod page_token;
mod port;

pub use history::{Comparison, History, HistoryError, HistoryPage, HistoryQuery, Origin};
pub use page_token::PageTokens;
pub use port::{LOG_BYTES, MAX_PAGE_SIZE, PAGE_SIZE, ReadError, ReadStore};
