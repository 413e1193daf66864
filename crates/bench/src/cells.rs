//! What is measured: a cell is a system under one load. From the base cell (new keys, 400 B,
//! 64 connections) one factor varies at a time.

use std::fmt;

use clap::ValueEnum;

use crate::events::{Keys, Size};
use crate::service::Api;

#[cfg(test)]
mod tests;

/// A system under one load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cell {
    /// How events are sent.
    pub(crate) interface: Interface,
    /// Where they are stored.
    pub(crate) store: Store,
    /// Connections (pgbench: clients; gRPC: concurrent calls or streams).
    pub(crate) connections: usize,
    /// Which entities are updated.
    pub(crate) keys: Keys,
    /// How large an event is.
    pub(crate) size: Size,
    /// Whether the table has ten million entities beforehand.
    pub(crate) grown: bool,
    /// Whether a reader of the change feed gets all events meanwhile.
    pub(crate) reader: bool,
    /// Events per second of an open loop, which sends whether responses come or not. `None`: a closed
    /// loop, in which a client sends the next request when it has its response.
    pub(crate) rate: Option<f64>,
    /// Whether `run --quick` measures it.
    pub(crate) quick: bool,
}

/// How events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    /// The same work in SQL: one statement and one commit per event.
    Pgbench,
    /// The same rows by COPY over one connection into tables without an index.
    Copy,
    /// REST, one event per request.
    Single,
    /// REST, an array of this many events per request.
    Bulk(usize),
    /// REST, this many lines per request.
    Ndjson(usize),
    /// gRPC, one event per call.
    Unary,
    /// gRPC, streams with at most this many events in flight.
    Stream(usize),
    /// REST, the routes of single entities, one request after the other.
    Entity(Requests),
}

/// What the clients of [`Interface::Entity`] send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    /// GET of an existing entity.
    Get,
    /// PUT of a flat document that replaces an existing entity.
    Put,
    /// PATCH of an existing entity with flat attributes.
    Patch,
    /// DELETE of an existing entity; each is deleted once.
    Delete,
    /// Of 20 requests: 10 GET, 5 PATCH, 3 PUT, 1 DELETE and 1 event.
    Mixed,
    /// Of 20 requests: 19 events, and 1 PATCH with `If-Match` and a version from an earlier answer.
    Match,
}

/// Where events are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// In PostgreSQL.
    Postgres,
    /// In an SQLite file.
    Sqlite,
    /// Nowhere: the ceiling of the transport.
    #[value(skip)]
    Null,
    /// Nowhere, and without our routes: the ceiling of hyper.
    #[value(skip)]
    Hyper,
}

impl Interface {
    /// The service that it needs, if any.
    pub(crate) fn api(self) -> Option<Api> {
        match self {
            Self::Pgbench | Self::Copy => None,
            Self::Single | Self::Bulk(_) | Self::Ndjson(_) | Self::Entity(_) => Some(Api::Rest),
            Self::Unary | Self::Stream(_) => Some(Api::Grpc),
        }
    }
}

impl fmt::Display for Cell {
    /// The name on the command line and in the results.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.store {
            Store::Postgres => "",
            Store::Sqlite => "sqlite-",
            Store::Null => "ceiling-",
            Store::Hyper => "hyper-",
        })?;
        let connections = self.connections;
        match self.interface {
            Interface::Pgbench => write!(f, "pgbench-{connections}"),
            Interface::Copy => write!(f, "copy"),
            Interface::Single => write!(f, "rest-{connections}"),
            Interface::Bulk(items) => write!(f, "bulk-{connections}x{items}"),
            Interface::Ndjson(lines) => write!(f, "ndjson-{connections}x{lines}"),
            Interface::Unary => write!(f, "unary-{connections}"),
            Interface::Stream(open) => write!(f, "stream-{connections}x{open}"),
            Interface::Entity(Requests::Get) => write!(f, "get-{connections}"),
            Interface::Entity(Requests::Put) => write!(f, "put-{connections}"),
            Interface::Entity(Requests::Patch) => write!(f, "patch-{connections}"),
            Interface::Entity(Requests::Delete) => write!(f, "delete-{connections}"),
            Interface::Entity(Requests::Mixed) => write!(f, "mixed-{connections}"),
            Interface::Entity(Requests::Match) => write!(f, "rest-{connections}-match"),
        }?;
        f.write_str(match (self.interface, self.keys) {
            // the requests say which entities they meet
            (Interface::Entity(_), _) | (_, Keys::New) => "",
            (_, Keys::Set) => "-set",
            (_, Keys::Hot) => "-hot",
            (_, Keys::Once) => "-once",
        })?;
        f.write_str(match self.size {
            Size::Base => "",
            Size::Medium => "-4k",
            Size::Large => "-64k",
            Size::Deep => "-deep",
        })?;
        f.write_str(if self.grown { "-grown" } else { "" })?;
        f.write_str(if self.reader { "-read" } else { "" })
    }
}

/// A cell with the base cell's factors.
pub(crate) const fn cell(interface: Interface, connections: usize) -> Cell {
    Cell {
        interface,
        store: Store::Postgres,
        connections,
        keys: Keys::New,
        size: Size::Base,
        grown: false,
        reader: false,
        rate: None,
        quick: false,
    }
}

/// A cell of the routes of single entities, with the entities that its requests meet.
const fn entity(requests: Requests, connections: usize) -> Cell {
    let keys = match requests {
        Requests::Get | Requests::Put | Requests::Patch | Requests::Mixed => Keys::Set,
        Requests::Delete => Keys::Once,
        Requests::Match => Keys::New,
    };
    cell(Interface::Entity(requests), connections).keys(keys)
}

impl Cell {
    const fn keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    const fn size(self, size: Size) -> Self {
        Self { size, ..self }
    }

    const fn store(self, store: Store) -> Self {
        Self { store, ..self }
    }

    const fn grown(self) -> Self {
        Self { grown: true, ..self }
    }

    /// The cell with a reader of the change feed.
    pub(crate) const fn with_reader(self) -> Self {
        Self { reader: true, ..self }
    }

    const fn quick(self) -> Self {
        Self { quick: true, ..self }
    }
}

/// Every cell, in the order of a round: what is compared is measured close together.
pub(crate) fn all() -> Vec<Cell> {
    use Interface::{Bulk, Copy, Ndjson, Pgbench, Single, Stream, Unary};
    let postgres = [
        cell(Pgbench, 1).quick(),
        cell(Single, 1).quick(),
        cell(Pgbench, 8).quick(),
        cell(Pgbench, 32).quick(),
        cell(Single, 64).quick(),
        entity(Requests::Put, 64),
        entity(Requests::Patch, 64),
        entity(Requests::Delete, 64),
        entity(Requests::Get, 64),
        entity(Requests::Mixed, 64),
        cell(Single, 64).grown(),
        cell(Single, 256).quick(),
        cell(Single, 256).with_reader(),
        entity(Requests::Match, 256),
        cell(Unary, 256).quick(),
        cell(Stream(256), 4).quick(),
        cell(Single, 256).size(Size::Deep).quick(),
        cell(Copy, 1).quick(),
        cell(Bulk(1000), 8).quick(),
        cell(Bulk(1000), 1),
        cell(Ndjson(1000), 8),
        cell(Ndjson(1000), 1),
        cell(Bulk(100), 8).quick(),
        cell(Bulk(100), 1),
        cell(Pgbench, 8).keys(Keys::Set),
        cell(Pgbench, 32).keys(Keys::Set),
        cell(Single, 64).keys(Keys::Set),
        cell(Single, 256).keys(Keys::Set),
        cell(Pgbench, 8).keys(Keys::Hot).quick(),
        cell(Pgbench, 32).keys(Keys::Hot),
        cell(Single, 64).keys(Keys::Hot),
        cell(Single, 256).keys(Keys::Hot).quick(),
        cell(Single, 16),
        cell(Single, 1024),
        cell(Unary, 64),
        cell(Single, 64).size(Size::Medium),
        cell(Single, 64).size(Size::Large),
    ];
    let sqlite = [
        cell(Single, 64).quick(),
        cell(Single, 1),
        cell(Single, 256),
        cell(Single, 256).keys(Keys::Set),
        cell(Single, 256).keys(Keys::Hot),
        cell(Single, 256).size(Size::Deep),
        cell(Bulk(100), 8),
        cell(Bulk(1000), 8),
        cell(Unary, 256),
        cell(Stream(256), 4),
    ];
    let ceiling = [
        cell(Single, 64),
        cell(Single, 256),
        cell(Bulk(100), 8),
        cell(Unary, 256),
        cell(Stream(256), 4),
    ];
    let sqlite = sqlite.map(|cell| cell.store(Store::Sqlite));
    let ceiling = ceiling.map(|cell| cell.store(Store::Null));
    let hyper = [cell(Single, 64), cell(Single, 256)].map(|cell| cell.store(Store::Hyper));
    postgres.into_iter().chain(sqlite).chain(ceiling).chain(hyper).collect()
}

/// Which cells a run measures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// Only the quick ones.
    pub(crate) quick: bool,
    /// Only these, by name; overrides the others.
    pub(crate) only: Vec<String>,
    /// Only those with this store.
    pub(crate) store: Option<Store>,
}

impl Selection {
    /// The cells, in their order.
    ///
    /// # Errors
    /// An unknown name.
    pub(crate) fn cells(&self) -> Result<Vec<Cell>, String> {
        let all = all();
        let names: Vec<String> = all.iter().map(Cell::to_string).collect();
        if let Some(unknown) = self.only.iter().find(|name| !names.contains(name)) {
            return Err(format!("unknown cell {unknown:?}; known are: {}", names.join(" ")));
        }
        let wanted = |cell: &Cell| {
            if self.only.is_empty() {
                (cell.quick || !self.quick) && self.store.is_none_or(|store| cell.store == store)
            } else {
                self.only.contains(&cell.to_string())
            }
        };
        Ok(all.into_iter().filter(wanted).collect())
    }
}
