//! Reading: what can be asked, and the port behind it.

mod port;

pub use port::{ReadError, ReadStore};
