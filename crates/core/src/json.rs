//! JSON as the contract takes it: one scanner over the raw text, exact numbers, merge patches
//! (RFC 7396) and equality by value. Knows no events and does no I/O.

mod checked;
mod document;
mod equality;
mod lexer;
mod number;
mod object;
mod patch;
mod path;
mod project;
mod scanner;
mod select;
mod text;
mod violation;
mod written;

pub use checked::CheckedJson;
pub use document::{Difference, Document, DocumentError, fold_flat};
pub use equality::same_value;
pub(crate) use lexer::{Lexer, Malformed};
pub(crate) use number::{Decimal, Number, is_whole, whole};
pub use object::{ObjectWriter, write_on_one_line};
pub use patch::Patch;
pub use path::Path;
pub use project::Projection;
pub(crate) use scanner::{HAS_NUL, Kind, MAX_DEPTH, Scanner};
pub(crate) use select::{Named, PathStep, Selection, elements};
pub(crate) use text::{code_unit, decode};
pub use text::{object_of_strings, write_string};
pub use violation::{Location, Step, Violation, Violations};
pub use written::Written;
