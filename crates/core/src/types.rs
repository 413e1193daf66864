//! What is declared about a type of entities: which paths have an index, which are searched.
//!
//! [`Definition`] is what a client declares. [`index_key`] turns the values at an index's paths into bytes
//! whose order is the order of the values, alike on both databases.

mod definition;
pub mod index_key;
mod index_path;
mod parse;

pub use definition::{Definition, IndexDefinition, SearchDefinition};
pub use index_path::IndexPath;
