//! prost's codec with another error: bytes that can't be decoded are an error of the client,
//! `INVALID_ARGUMENT`, where `tonic_prost::ProstCodec` returns `INTERNAL`. Messages with attributes,
//! and those with a limit of their own, are passed on undecoded.

use std::marker::PhantomData;

use bytes::{Buf, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::entity_write::EntityWriteMessage;
use super::event::{EventMessage, EventsMessage};
use super::fields::DecodeError;
use super::small_request::BatchGetMessage;

/// A message as a service receives it.
pub(crate) trait RequestMessage: Sized {
    /// Consumes all of `bytes`.
    fn decode(bytes: &mut DecodeBuf<'_>) -> Result<Self, DecodeError>;
}

impl<M: Message + Default> RequestMessage for M {
    fn decode(bytes: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        Ok(<M as Message>::decode(bytes)?)
    }
}

impl RequestMessage for EventMessage {
    fn decode(bytes: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        Ok(Self(undecoded(bytes)))
    }
}

impl RequestMessage for EventsMessage {
    fn decode(bytes: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        Ok(Self(undecoded(bytes)))
    }
}

impl RequestMessage for BatchGetMessage {
    fn decode(bytes: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        Ok(Self(undecoded(bytes)))
    }
}

impl RequestMessage for EntityWriteMessage {
    fn decode(bytes: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        Ok(Self(undecoded(bytes)))
    }
}

fn undecoded(bytes: &mut DecodeBuf<'_>) -> Bytes {
    bytes.copy_to_bytes(bytes.remaining())
}

/// Encodes `T`, decodes `U`.
#[derive(Debug)]
pub(crate) struct StrictCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for StrictCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for StrictCodec<T, U>
where
    T: Message + Send + 'static,
    U: RequestMessage + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = StrictEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> StrictEncoder<T> {
        StrictEncoder(PhantomData)
    }

    fn decoder(&mut self) -> StrictDecoder<U> {
        StrictDecoder(PhantomData)
    }
}

/// Encodes answers.
#[derive(Debug)]
pub(crate) struct StrictEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for StrictEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buf).map_err(|_| Status::internal("an answer could not be encoded"))
    }
}

/// Decodes requests.
#[derive(Debug)]
pub(crate) struct StrictDecoder<T>(PhantomData<T>);

impl<T: RequestMessage> Decoder for StrictDecoder<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::decode(buf).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
