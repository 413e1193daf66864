//! How a message of a source becomes an event: what `map` in `worker.toml` says.

mod apply;
mod find;
mod parse;
mod pointer;
mod rules;
mod time;

pub use parse::{Expand, MapError};
pub use rules::Map;
