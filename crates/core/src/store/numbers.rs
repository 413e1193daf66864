//! Counts as databases have them: signed.

/// A count for a bigint column.
pub fn to_bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A version, count or size out of a column that never holds a negative number.
pub fn from_bigint(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}
