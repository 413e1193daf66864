//! prost's codec, but for what it says of bytes that are no message: that is the client's fault,
//! `INVALID_ARGUMENT`, where `tonic_prost::ProstCodec` answers `INTERNAL`. Messages with events are
//! handed on as they came.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::message::{EventMessage, EventsMessage};
use crate::wire::DecodeError;

/// What a message is read into.
pub(crate) trait Incoming: Sized {
    /// Takes all of `message`.
    fn read(message: &mut DecodeBuf<'_>) -> Result<Self, DecodeError>;
}

impl<M: Message + Default> Incoming for M {
    fn read(message: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        Ok(M::decode(message)?)
    }
}

impl Incoming for EventMessage {
    fn read(message: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        Ok(Self(message.copy_to_bytes(message.remaining())))
    }
}

impl Incoming for EventsMessage {
    fn read(message: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        Ok(Self(message.copy_to_bytes(message.remaining())))
    }
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
    U: Incoming + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Half<T>;
    type Decoder = Half<U>;

    fn encoder(&mut self) -> Half<T> {
        Half(PhantomData)
    }

    fn decoder(&mut self) -> Half<U> {
        Half(PhantomData)
    }
}

/// One direction of a [`StrictCodec`].
#[derive(Debug)]
pub(crate) struct Half<T>(PhantomData<T>);

impl<T: Message> Encoder for Half<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buf).map_err(|_| Status::internal("an answer could not be encoded"))
    }
}

impl<T: Incoming> Decoder for Half<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::read(buf).map(Some).map_err(|error| Status::invalid_argument(error.to_string()))
    }
}
