//! Why a request failed.

use std::time::Duration;

use serde::Deserialize;

/// Characters of a server's reason that are shown.
const MAX_REASON: usize = 500;

/// Why a request failed, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no answer: it can't be reached, or does not answer in time.
    #[error("{0}")]
    NoAnswer(String),
    /// It answered with an error.
    #[error("{cause} (status {status})")]
    Status {
        /// The HTTP status.
        status: u16,
        /// What it says about it.
        cause: Cause,
        /// It wants to be left alone for so long.
        retry_after: Option<Duration>,
    },
    /// It answered something else than OpenSearch and Elasticsearch do.
    #[error("the answer is none of OpenSearch or Elasticsearch: {0}")]
    Unreadable(String),
}

impl Error {
    /// The HTTP status, where there is an answer.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::NoAnswer(_) | Self::Unreadable(_) => None,
        }
    }

    /// Whether the server names this type of error.
    pub fn is(&self, kind: &str) -> bool {
        matches!(self, Self::Status { cause, .. } if cause.kind == kind)
    }

    pub(crate) fn unreadable(error: impl std::fmt::Display) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// An error as the server describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// Such as `mapper_parsing_exception`.
    pub kind: String,
    /// A sentence.
    pub reason: String,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.kind.as_str(), self.reason.as_str()) {
            ("", "") => f.write_str("it refuses the request"),
            (kind, "") => f.write_str(kind),
            ("", reason) => f.write_str(reason),
            (kind, reason) => write!(f, "{kind}: {reason}"),
        }
    }
}

/// `error` of an answer: an object, or a text where a proxy answers.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum ErrorBody {
    Object {
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        reason: Option<String>,
        #[serde(default)]
        caused_by: Option<Box<ErrorBody>>,
    },
    Text(String),
}

impl ErrorBody {
    pub(crate) fn into_cause(self) -> Cause {
        match self {
            Self::Text(reason) => Cause { kind: String::new(), reason: shortened(&reason) },
            Self::Object { kind, reason, caused_by } => {
                let mut reason = reason.unwrap_or_default();
                if let Some(deeper) = caused_by.map(|deeper| deeper.into_cause().reason)
                    && !deeper.is_empty()
                    && !reason.contains(&deeper)
                {
                    reason = format!("{reason}: {deeper}");
                }
                Cause { kind: kind.unwrap_or_default(), reason: shortened(&reason) }
            }
        }
    }
}

/// On one line, and not too long.
fn shortened(text: &str) -> String {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    line.chars().take(MAX_REASON).collect()
}
