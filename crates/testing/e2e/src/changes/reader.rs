//! An open reader.

use std::net::SocketAddr;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::item::{ChangeItem, ReaderError};
use super::request::{ChangesRequest, Form};
use super::{grpc, rest};

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
