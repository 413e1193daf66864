//! From bytes to [`crate::Event`]s: one scanner over the raw JSON that finds every breach of the
//! contract with its place, in one pass, without recursion.
//!
//! Planned API:
//! - `event(body: &[u8], clock: &Clock) -> Result<Event, Problem>`
//! - `events(body: &[u8], clock: &Clock) -> Result<Vec<Result<Event, Problem>>, Problem>`
