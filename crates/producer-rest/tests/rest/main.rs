//! The REST API over real sockets and real databases. The files mirror the routes.

mod app;
mod bodies;
mod bulk;
mod cases;
mod docs;
mod entities;
mod errors;
mod events;
mod health;
mod ndjson;
