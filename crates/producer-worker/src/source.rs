//! The port of sources. A kind only reads messages and acknowledges them; the runner turns them into events,
//! commits those, and stores dead letters.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::sink::Failure;

/// Where messages come from. One task calls it, one call at a time.
pub trait Source: Send + 'static {
    /// The next messages, as soon as there are some, up to `most`; none after about a second without. May be
    /// dropped at any moment: what it had read comes again later, from this or another worker.
    ///
    /// # Errors
    /// It is to be called again later.
    fn receive(&mut self, most: usize) -> BoxFuture<'_, Result<Vec<Message>, Failure>>;

    /// These messages are settled: their events are committed, or they are dead letters. A kind acknowledges
    /// what is contiguous. Messages are settled in any order, each once.
    ///
    /// # Errors
    /// They are not acknowledged and may come again; it is to be called again with the same ones.
    fn acknowledge<'a>(&'a mut self, places: &'a [Place]) -> BoxFuture<'a, Result<(), Failure>>;

    /// How many messages wait, and for how long the first of them does, as far as the kind can tell.
    fn lag(&mut self) -> BoxFuture<'_, Option<SourceLag>>;

    /// Connects, and looks at the stream or topic: for `producer-worker check`.
    ///
    /// # Errors
    /// Why it can't be reached or used, in one sentence.
    fn check(&mut self) -> BoxFuture<'_, Result<(), Failure>>;

    /// Acknowledges what is settled and leaves, so that another worker can go on at once.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which one.
    pub place: Place,
    /// What it says.
    pub body: Body,
    /// How often it has come, as far as the kind can tell; at least 1.
    pub deliveries: u32,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// One text, normally JSON.
    Bytes(Vec<u8>),
    /// Named fields, in their order. Of Redis.
    Fields(Vec<(String, Vec<u8>)>),
    /// It was trimmed before it could be read.
    Gone,
}

/// Which message it is; no two messages of a source have the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The stream, or topic and partition (`orders/3`).
    pub stream: String,
    /// Its id or offset there.
    pub id: String,
}

/// What waits in a source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceLag {
    /// Messages that are not settled.
    pub messages: u64,
    /// How long ago the first of them was sent.
    pub age: Option<Duration>,
}

impl Body {
    /// Bytes of what it says.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Fields(fields) => {
                fields.iter().map(|(name, value)| name.len() + value.len()).sum()
            }
            Self::Gone => 0,
        }
    }
}
