//! Filters: conditions over entities and changes, in a subset of the syntax of CEL (<https://cel.dev>).
//!
//! Every expression is true or false and never an error: a comparison with a path that is missing, or
//! of values of different kinds, is false. Numbers compare by their exact values. What a filter says depends on
//! nothing but its text and the [`Facts`]: not on the database, not on an index.

mod condition;
mod error;
mod evaluate;
mod exclusion;
mod expression;
mod hints;
mod judging;
mod limits;
mod names;
mod narrow;
mod operands;
mod parser;
mod slot;
mod token;
mod value;

pub use condition::Filter;
pub use error::FilterError;
pub use evaluate::{ChangeFacts, Facts, State};
pub use judging::JudgingTime;
pub use names::{Field, Scope};
pub use narrow::{Constraint, Scalar};
