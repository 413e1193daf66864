//! Reading a log in chunks, since entries may be small or large.

use crate::model::LogEntry;
use crate::query::LOG_BYTES;

/// Entries of the first chunk: what is known of their size is only their limit.
const FIRST: u32 = 8;

/// How many entries to read next. All of a chunk are sent by the database, whether they are used or not, so
/// a chunk is about as large as what is still wanted.
pub(crate) struct Chunks {
    wanted: u32,
    read: u32,
    bytes: usize,
    is_complete: bool,
}

impl Chunks {
    /// At most `wanted` entries, of about [`LOG_BYTES`].
    pub(crate) fn new(wanted: u32) -> Self {
        Self { wanted, read: 0, bytes: 0, is_complete: false }
    }

    /// The size of the next chunk; `None` where enough is read, or all that there is.
    pub(crate) fn next(&self) -> Option<u32> {
        let wanted = self.wanted.saturating_sub(self.read);
        if wanted == 0 || self.is_complete || self.bytes >= LOG_BYTES {
            return None;
        }
        let fitting = match (self.bytes / self.read.max(1) as usize).max(1) {
            _ if self.read == 0 => FIRST,
            average => u32::try_from((LOG_BYTES - self.bytes) / average + 1).unwrap_or(u32::MAX),
        };
        Some(wanted.min(fitting))
    }

    /// Notes what was read where `asked` entries were wanted.
    pub(crate) fn note(&mut self, asked: u32, chunk: &[LogEntry]) {
        let bytes = chunk.iter().map(|entry| entry.patch.len()).sum();
        self.add(asked, u32::try_from(chunk.len()).unwrap_or(u32::MAX), bytes);
    }

    fn add(&mut self, asked: u32, entries: u32, bytes: usize) {
        self.read += entries;
        self.bytes += bytes;
        self.is_complete = entries < asked;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_entries_take_two_chunks_and_large_ones_stay_within_the_limit() {
        let mut small = Chunks::new(1000);
        assert_eq!(small.next(), Some(8));
        small.add(8, 8, 8 * 300);
        assert_eq!(small.next(), Some(992));
        small.add(992, 992, 992 * 300);
        assert_eq!(small.next(), None);

        let mut large = Chunks::new(1000);
        large.add(8, 8, 8 << 19);
        assert_eq!(large.next(), Some(9));
        large.add(9, 9, 9 << 19);
        assert_eq!(large.next(), None);

        let mut few = Chunks::new(1000);
        few.add(8, 3, 900);
        assert_eq!(few.next(), None);
        assert_eq!(Chunks::new(2).next(), Some(2));
    }
}
