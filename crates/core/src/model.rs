//! The types of the domain. Values are valid once they exist.

mod entity;
mod event;
mod key;
mod log_entry;
mod logged;
mod operation;
mod problem;
mod receipt;
mod unavailable;

pub use entity::Entity;
pub use event::{EntityUpdate, Event};
pub use key::EntityKey;
pub(crate) use key::{check_id, check_name};
pub use log_entry::{AsOf, EntryKind, LogEntry, LogPoint, LogRange};
pub use logged::{AttemptId, LoggedEvent, LoggedUpdate};
pub use operation::{FailedPrecondition, Operation, Precondition};
pub use problem::{CALL_VIOLATIONS, Problem, ProblemKind};
pub use receipt::{EntityVersion, NewVersion, Outcome, Receipt};
pub use unavailable::UnavailableKind;

pub use crate::time::{Clock, Timestamp};
