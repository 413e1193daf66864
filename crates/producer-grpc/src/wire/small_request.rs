//! Requests with repeated fields, which prost decodes into many times their size where they are full of empty
//! ones. Those that are allowed are small, so their limit is too.

use bytes::Bytes;
use producer_core::{Problem, ProblemKind};
use prost::Message;

use super::fields::DecodeError;
use crate::proto::v1::BatchGetEntitiesRequest;

/// Bytes of such a request.
pub(crate) const MAX_SMALL_REQUEST: usize = 256 << 10;

/// An undecoded `BatchGetEntitiesRequest`: other requests of its service may be larger.
#[derive(Debug)]
pub(crate) struct BatchGetMessage(pub(crate) Bytes);

impl BatchGetMessage {
    /// # Errors
    /// `TooLarge`, and `Malformed` for bytes that can't be decoded.
    pub(crate) fn read(self) -> Result<BatchGetEntitiesRequest, Problem> {
        if self.0.len() > MAX_SMALL_REQUEST {
            let detail = format!("the message is larger than {MAX_SMALL_REQUEST} bytes");
            return Err(Problem::new(ProblemKind::TooLarge, detail));
        }
        Ok(BatchGetEntitiesRequest::decode(self.0).map_err(DecodeError::from)?)
    }
}
