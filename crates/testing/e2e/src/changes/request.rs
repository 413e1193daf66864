//! What a reader asks for, and how it gets it.

use std::time::Duration;

use crate::Binary;

/// The pause between two pages of a reader that has caught up and does not wait.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(100);

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
    /// `filter`
    pub filter: Option<&'static str>,
    /// `include=data`
    pub include_data: bool,
}

impl ChangesRequest {
    /// Where it begins, for all forms but server-sent events.
    pub(super) fn place(&self) -> &str {
        self.last.as_deref().unwrap_or(&self.from)
    }
}
