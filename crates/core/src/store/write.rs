//! What both adapters share of writing a batch.

mod conditions;
pub(crate) mod plan;
pub(crate) mod slices;
