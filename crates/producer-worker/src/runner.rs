//! Running connectors: what all kinds need.

mod lanes;
mod retry;
mod window;
