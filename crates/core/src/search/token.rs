//! Page tokens of searches.

use crate::query::PageTokens;
use crate::time::Timestamp;

/// The last hit that can be reached.
pub(super) const LAST_HIT: usize = 1000;

/// A position has room for so many hits; the time of the first page, in milliseconds, is above it.
const HITS: u64 = 1024;
const MILLI: i64 = 1000;

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// Hits before it.
    pub(super) hits: usize,
    /// The time of the first page, which `now` of the filter is.
    pub(super) now: Timestamp,
}

impl Start {
    /// Of a first page. Its time is cut to what tokens hold, so that it is the same for all pages.
    pub(super) fn first(now: Timestamp) -> Self {
        Self { hits: 0, now: Timestamp::from_micros(now.micros() / MILLI * MILLI) }
    }

    pub(super) fn write(self, tokens: PageTokens) -> String {
        let millis = u64::try_from(self.now.micros() / MILLI).unwrap_or(0);
        tokens.write(millis * HITS + self.hits as u64)
    }

    /// # Errors
    /// As [`PageTokens::read`].
    pub(super) fn read(tokens: PageTokens, token: &str) -> Result<Self, &'static str> {
        let position = tokens.read(token)?;
        let millis = i64::try_from(position / HITS).unwrap_or(0);
        let hits = usize::try_from(position % HITS).unwrap_or(0);
        Ok(Self { hits, now: Timestamp::from_micros(millis.saturating_mul(MILLI)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_what_it_was_written_with() {
        let tokens = PageTokens::of_search(["a"]);
        for (hits, micros) in
            [(0, 0), (20, 1_800_000_000_123_456), (LAST_HIT, 253_402_300_799_999_999)]
        {
            let first = Start::first(Timestamp::from_micros(micros));
            let start = Start { hits, ..first };
            assert_eq!(Start::read(tokens, &start.write(tokens)), Ok(start));
        }
        let token = Start::first(Timestamp::from_micros(7)).write(tokens);
        assert!(Start::read(PageTokens::of_search(["a", "b"]), &token).is_err());
    }
}
