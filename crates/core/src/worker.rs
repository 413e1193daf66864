//! What `producer-worker` keeps in the database, and how it is seen and steered: connectors (sinks carry
//! changes out, sources bring messages in), their positions and leases, and dead letters.
//!
//! The worker itself is a crate of its own. Everything here lives in the database, so that any process can
//! answer for all workers.

mod body;
mod connector;
mod dead_letter;
mod port;
mod report;
mod service;
mod state;

pub use body::read_only_text;
pub use connector::{Connector, Role, SinkLag, check_connector_name};
pub use dead_letter::{
    DeadLetter, DeadLetterPlace, DeadLetterQuery, DeadLetterState, MAX_DEAD_LETTERS, NewDeadLetter,
};
pub use port::{Control, Deleted, Lease, Registered, WorkerStore};
pub use report::{Breaker, Current, LastError, Report};
pub use service::{
    Connectors, DEAD_LETTERS_AT_ONCE, DeadLettersPage, DeadLettersRequest,
    MAX_DEAD_LETTERS_AT_ONCE, SeenDeadLetter,
};
pub use state::ConnectorState;
