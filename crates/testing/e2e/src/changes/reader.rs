//! An open reader.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::item::{ChangeItem, ReaderError};
use super::{grpc, rest};
use crate::Binary;

/// How a reader gets its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Pages over REST, each waiting so long for its first change.
    Pages(Duration),
    /// Server-sent events.
    Sse,
    /// Lines of JSON.
    Ndjson,
    /// `ListChanges`, each call waiting so long for its first change.
    Calls(Duration),
    /// `WatchChanges`
    Stream,
}

impl Form {
    /// The service that has it.
    pub fn binary(self) -> Binary {
        match self {
            Self::Pages(_) | Self::Sse | Self::Ndjson => Binary::Rest,
            Self::Calls(_) | Self::Stream => Binary::Grpc,
        }
    }

    /// Whether it is one response without end, which has bookmarks.
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Sse | Self::Ndjson | Self::Stream)
    }
}

/// What a reader asks for.
#[derive(Debug, Clone, Default)]
pub struct ChangesRequest {
    /// `start`, `snapshot`, a time or a token.
    pub from: String,
    /// The token of the last item, to go on with: it takes the place of `from`, except that server-sent
    /// events send both, as browsers do.
    pub last: Option<String>,
    /// `type`
    pub types: Vec<String>,
    /// `include=data`
    pub include_data: bool,
}

impl ChangesRequest {
    /// Where it begins, for all forms but server-sent events.
    pub(super) fn place(&self) -> &str {
        self.last.as_deref().unwrap_or(&self.from)
    }
}

/// Items of the feed, without end. Pages are read one after the other, and each ends with a bookmark.
/// Dropping it closes its connection.
pub struct ChangesReader {
    items: BoxStream<'static, Result<ChangeItem, ReaderError>>,
}

impl ChangesReader {
    /// Opens a reader at a service.
    ///
    /// # Errors
    /// What the service answers instead. Pages are asked for by [`ChangesReader::next`] only.
    pub async fn open(
        address: SocketAddr,
        form: Form,
        request: ChangesRequest,
    ) -> Result<Self, ReaderError> {
        let items = match form {
            Form::Pages(wait) => rest::pages(address, request, wait),
            Form::Sse => rest::events(address, &request).await?,
            Form::Ndjson => rest::lines(address, &request).await?,
            Form::Calls(wait) => grpc::pages(address, request, wait),
            Form::Stream => grpc::stream(address, request).await?,
        };
        Ok(Self { items })
    }

    /// The next item. May be dropped at any moment without a loss.
    ///
    /// # Errors
    /// Why there will be no more.
    pub async fn next(&mut self) -> Result<ChangeItem, ReaderError> {
        let ended = || Err(ReaderError::Unexpected("it ended without a problem".into()));
        self.items.next().await.unwrap_or_else(ended)
    }
}
