//! Reading: what can be asked, and the port behind it.

mod entity_json;
mod error;
mod fields;
mod fold;
mod history;
mod key_range;
mod list_order;
mod list_port;
mod list_request;
mod list_token;
mod lists;
mod page_token;
mod port;
mod scans;

pub use entity_json::write_entity;
pub(crate) use error::bad_parameter;
pub use error::{HistoryError, ListError, QueryError};
pub use fields::Fields;
pub use history::{Comparison, History, HistoryPage, HistoryQuery, Origin};
pub use key_range::KeyRange;
pub use list_order::{ListOrder, OrderBy};
pub use list_port::{
    CountedPart, CountedType, EntitiesPart, EntitiesQuery, Estimates, IndexPart, IndexQuery,
    IndexedEntity, ListStore,
};
pub use list_request::{
    Count, CountKind, ListPage, ListRequest, TypeEntry, TypesPage, TypesRequest,
};
pub use lists::{Lists, MAX_KEYS};
pub use page_token::PageTokens;
pub use port::{LOG_BYTES, MAX_PAGE_SIZE, PAGE_SIZE, ReadError, ReadStore};
pub use scans::{Scan, Scans};
