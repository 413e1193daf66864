//! Protobuf as clients send it, read in place: [`fields`] splits a message, [`event`] reads events,
//! [`structs`] reads and writes `google.protobuf.Struct`, [`codec`] hands all of it to tonic.

pub(crate) mod codec;
pub(crate) mod event;
pub(crate) mod fields;
pub(crate) mod structs;
