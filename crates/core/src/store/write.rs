//! What both adapters share of writing a batch.

pub(crate) mod indexes;
pub(crate) mod plan;
pub(crate) mod slices;
