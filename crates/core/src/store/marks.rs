//! Marks: which positions of the log were decided before which time. What both adapters share.

use crate::model::Timestamp;

/// Marks are this far apart, in microseconds.
pub(crate) const MARK_EVERY: i64 = 5_000_000;

/// Marks the last row up to position $1 with the time $2, unless it is marked already or the last mark is
/// later than $3. Times of marks never fall, whatever clocks do: a later time is true as well. A mark of
/// the future, which a clock that was ahead has left, keeps nobody from writing one.
///
/// The position is a row's and not just one that was drawn, since readers get tokens of it: a position
/// that no row has may be drawn again after a crash.
pub(crate) const MARK: &str = r"
INSERT INTO event_log_times (position, marked_at)
SELECT log.position, CASE WHEN last.marked_at > $2 THEN last.marked_at ELSE $2 END
FROM (SELECT position FROM event_log WHERE position <= $1 ORDER BY position DESC LIMIT 1) AS log
LEFT JOIN (SELECT position, marked_at FROM event_log_times ORDER BY position DESC LIMIT 1) AS last
    ON true
WHERE last.position IS NULL
    OR (last.position < log.position AND (last.marked_at <= $3 OR last.marked_at > $2))
ON CONFLICT (position) DO NOTHING";

/// What [`MARK`] binds as $3 for the time `now`.
pub(crate) fn latest_before(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.micros().saturating_sub(MARK_EVERY))
}

/// Whether `pause` microseconds have passed since `last`, by a clock that may also go back.
pub(crate) fn has_passed(pause: i64, last: Option<Timestamp>, now: Timestamp) -> bool {
    let passed = last.map(|last| now.micros().saturating_sub(last.micros()));
    passed.is_none_or(|passed| passed < 0 || passed >= pause)
}
