//! The gRPC API over real sockets and real databases. The files mirror the services.

mod app;
mod bulk;
mod cases;
mod change_filters;
mod changes;
mod entities;
mod entity_conditions;
mod entity_writes;
mod events;
mod faults;
mod health;
mod history;
mod history_lists;
mod lists;
mod memory;
mod metrics;
mod raw;
mod search;
mod stream;
mod types;
mod wire;
mod worker;
