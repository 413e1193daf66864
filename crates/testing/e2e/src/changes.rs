//! A client of the change feed, of all its forms with one interface: open a reader, get items.

mod grpc;
mod item;
mod reader;
mod request;
mod rest;

pub use item::{ChangeItem, EntityChange, EntityKey, EntitySnapshot, ReaderError};
pub use reader::ChangesReader;
pub use request::{ChangesRequest, Form};
