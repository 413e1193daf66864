//! Statements that write many rows at once. Rows as parameters cost a third of what they cost as one
//! JSON document, which SQLite parses again for every column.

/// Rows that one statement takes at most; SQLite allows 32,766 parameters.
pub(super) const MOST: usize = 512;

/// One INSERT for each number of rows that is a power of two up to [`MOST`], so that few statements are
/// prepared. Parameters that aren't bound are NULL, and a row that begins with NULL is left out.
pub(super) struct Inserts {
    lengths: Vec<String>,
}

impl Inserts {
    /// `into` and what it selects of `columns` columns, which are `column1` and so on.
    pub(super) fn new(into: &str, columns: usize, on_conflict: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let of_length = |rows| {
            let rows = vec![row.as_str(); rows].join(",");
            format!("{into} FROM (VALUES {rows}) WHERE column1 IS NOT NULL {on_conflict}")
        };
        let lengths = (0..=MOST.ilog2()).map(|power| of_length(1 << power)).collect();
        Self { lengths }
    }

    /// The shortest statement that takes `rows` rows, of which there are [`MOST`] at most.
    pub(super) fn taking(&self, rows: usize) -> &str {
        &self.lengths[length_for(rows).ilog2() as usize]
    }

    /// In each length this, then `next` in the same length, then `last`, as one text.
    pub(super) fn then(&self, next: &Self, last: &str) -> Self {
        let both = self.lengths.iter().zip(&next.lengths);
        Self { lengths: both.map(|(first, next)| format!("{first};{next};{last}")).collect() }
    }
}

/// The length of the statement that takes `rows` rows.
pub(super) fn length_for(rows: usize) -> usize {
    rows.next_power_of_two().min(MOST)
}
