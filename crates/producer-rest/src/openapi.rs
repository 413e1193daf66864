//! The OpenAPI 3.1 document, generated from the routes, and its page.

pub(crate) mod document;
pub(crate) mod examples;
pub(crate) mod feed;
pub(crate) mod lists;
pub(crate) mod page;
pub(crate) mod problems;
pub(crate) mod schemas;
pub(crate) mod search;
pub(crate) mod types;
pub(crate) mod worker;
