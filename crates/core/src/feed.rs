//! The change feed: every committed update, in one order, for any number of readers.
//!
//! A [`Feed`] serves pages and streams. Its tailer, one task for all readers of the process, follows the
//! end of the log and keeps the last changes in memory; a reader that is further behind reads pages of its
//! own.

mod change;
mod item;
mod json;
mod metrics;
mod pages;
mod port;
mod problems;
mod reader;
mod request;
mod ring;
mod service;
mod snapshot;
mod tailer;
mod token;
mod types;
mod verdict;

pub use change::{Change, ChangeData};
pub use item::{Item, Page, write_snapshot_json};
pub use metrics::ReaderKind;
pub use port::{ChangesQuery, FeedStore, LogBounds, LogHead, LogPage, OpenWriter, PAGE_BYTES};
pub use problems::draining;
pub use reader::Reader;
pub use request::{MAX_WAIT, PageRequest, Start, WatchRequest};
pub use service::{ChangeAt, Feed, FeedSettings};
pub use token::{Cursor, SnapshotCursor, Token};
pub use types::{MAX_TYPES_BYTES, Types};
pub use verdict::includes;
