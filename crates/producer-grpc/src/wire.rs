//! Protobuf as clients send it, read in place: [`fields`] splits a message, [`event`] reads events,
//! [`entity_write`] writes of one entity, [`update`] what both share, [`structs`] reads and writes
//! `google.protobuf.Struct`, [`codec`] hands all of it to tonic. [`small_request`] limits what prost reads.

pub(crate) mod codec;
pub(crate) mod entity_write;
pub(crate) mod event;
pub(crate) mod fields;
pub(crate) mod small_request;
pub(crate) mod structs;
pub(crate) mod update;
