//! How far a partition is settled.

use std::collections::VecDeque;

/// A partition's messages that are not settled up to the first one that is not. Offsets may have gaps:
/// of compaction, and of transactions.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// In the order of offsets. Those of the buffer are the last ones.
    pending: VecDeque<Pending>,
    /// How many of `pending` the runner has, or had: not those in the buffer.
    handed: usize,
    /// What is to be committed: behind the last message before which all are settled.
    position: Option<i64>,
    /// What the group has.
    committed: Option<i64>,
}

#[derive(Debug)]
struct Pending {
    offset: i64,
    /// Milliseconds since 1970, as the message has it.
    timestamp: Option<i64>,
    is_settled: bool,
}

impl Progress {
    /// A partition of which the group has committed this.
    pub(super) fn new(committed: Option<i64>) -> Self {
        Self { position: committed, committed, ..Self::default() }
    }

    /// A message was read into the buffer.
    pub(super) fn read(&mut self, offset: i64, timestamp: Option<i64>) {
        self.pending.push_back(Pending { offset, timestamp, is_settled: false });
    }

    /// The first message of the buffer went to the runner.
    pub(super) fn hand_out(&mut self) {
        self.handed += 1;
    }

    /// A message is settled. One that is unknown was one of an earlier assignment, or is settled already.
    pub(super) fn settle(&mut self, offset: i64) {
        let Ok(at) = self.pending.binary_search_by_key(&offset, |pending| pending.offset) else {
            return;
        };
        self.pending[at].is_settled = true;
        while let Some(first) = self.pending.front()
            && first.is_settled
        {
            self.position = Some(first.offset + 1);
            self.handed = self.handed.saturating_sub(1);
            self.pending.pop_front();
        }
    }

    /// What is in the buffer is dropped: it will be read again.
    pub(super) fn drop_buffered(&mut self) {
        self.pending.truncate(self.handed);
    }

    /// Whether the runner has nothing of it.
    pub(super) fn is_idle(&self) -> bool {
        self.handed == 0
    }

    /// What is to be committed, where the group has something else.
    pub(super) fn uncommitted(&self) -> Option<i64> {
        self.position.filter(|position| self.committed != Some(*position))
    }

    /// The group has this now.
    pub(super) fn committed(&mut self, offset: i64) {
        self.committed = Some(offset);
    }

    /// Where the first message that is not settled is, or will be; `None`: at the beginning.
    pub(super) fn position(&self) -> Option<i64> {
        self.pending.front().map(|first| first.offset).or(self.position)
    }

    /// When the first message that is not settled was sent.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.pending.front().and_then(|first| first.timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(offsets: &[i64]) -> Progress {
        let mut progress = Progress::new(Some(10));
        for offset in offsets {
            progress.read(*offset, Some(1000 + offset));
            progress.hand_out();
        }
        progress
    }

    #[test]
    fn what_is_contiguous_is_committed() {
        let mut progress = read(&[10, 11, 12]);
        assert_eq!(progress.uncommitted(), None);
        progress.settle(11);
        assert_eq!((progress.uncommitted(), progress.position()), (None, Some(10)));
        progress.settle(10);
        assert_eq!((progress.uncommitted(), progress.position()), (Some(12), Some(12)));
        progress.committed(12);
        assert_eq!((progress.uncommitted(), progress.oldest()), (None, Some(1012)));
        progress.settle(12);
        assert_eq!((progress.uncommitted(), progress.is_idle()), (Some(13), true));
    }

    #[test]
    fn gaps_between_offsets_do_not_hold_it_back() {
        let mut progress = read(&[10, 14, 20]);
        progress.settle(10);
        assert_eq!(progress.uncommitted(), Some(11));
        progress.settle(14);
        assert_eq!(progress.uncommitted(), Some(15));
    }

    #[test]
    fn what_is_settled_twice_or_unknown_changes_nothing() {
        let mut progress = read(&[10, 11]);
        for offset in [10, 10, 9, 15] {
            progress.settle(offset);
        }
        assert_eq!(progress.uncommitted(), Some(11));
        assert!(!progress.is_idle());
    }

    #[test]
    fn what_is_in_the_buffer_is_dropped_and_read_again() {
        let mut progress = read(&[10, 11]);
        progress.read(12, None);
        progress.settle(11);
        progress.drop_buffered();
        assert!(!progress.is_idle(), "10 is with the runner");
        progress.settle(10);
        assert_eq!((progress.uncommitted(), progress.is_idle()), (Some(12), true));
        progress.read(12, None);
        progress.settle(12);
        assert_eq!(progress.uncommitted(), Some(13));
    }
}
