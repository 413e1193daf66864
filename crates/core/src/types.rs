//! What is declared about a type of entities: which paths have an index, which are searched.
//!
//! [`Definition`] is what a client declares. Each index of it, and its search, is a [`Part`]. [`index_key`]
//! turns the values at an index's paths into bytes whose order is the order of the values, alike on both
//! databases; [`KeptParts`] says which of these rows a write changes.
//!
//! **The fence.** Definitions have a generation, which rises with every change. A statement that writes
//! entities compares it and, where its writer knows another one, writes nothing; the writer then reads the
//! definitions again. So every transaction that begins after a part was published keeps it up. Its
//! [`Builder`] waits until those that began before have ended, and then walks the entities that are there:
//! none can slip past.

mod builder;
mod definition;
pub mod index_key;
mod index_path;
mod kept;
mod kept_search;
mod parse;
mod part;
mod port;
pub mod search_text;
mod service;
pub(crate) mod words;

pub use builder::{Builder, BuilderSettings};
pub use definition::{Definition, IndexDefinition, SearchDefinition};
pub use index_path::IndexPath;
pub use kept::{IndexEffect, IndexRow, KeptParts, TimelessRow, TypeIndexes};
pub use kept_search::{SearchEffect, SearchRow, TypeSearch};
pub use part::{Part, PartKind, PartState, PartStatus};
pub use port::{ChangeOutcome, Job, StepOutcome, StoredType, Task, TypeChange, TypeStore};
pub use service::Types;
