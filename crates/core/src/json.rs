//! JSON as the contract takes it: one scanner over the raw text, exact numbers, merge patches
//! (RFC 7396) and equality by value. Knows no events and does no I/O.

mod document;
mod equality;
mod lexer;
mod number;
mod patch;
mod path;
mod path_tree;
mod scanner;
mod text;
mod violation;
mod written;

pub use document::{Difference, Document, DocumentError, fold_flat};
pub use equality::same_value;
pub(crate) use lexer::Malformed;
pub(crate) use number::{Decimal, is_whole, whole};
pub use patch::Patch;
pub use path::Path;
pub(crate) use path_tree::PathTree;
pub(crate) use scanner::{HAS_NUL, Kind, Scanner};
pub(crate) use text::decode;
pub use text::{object_of_strings, write_string};
pub use violation::{Location, Step, Violation, Violations};
pub use written::Written;
