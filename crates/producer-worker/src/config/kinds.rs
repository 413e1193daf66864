//! Kinds of connectors: their names, the options that only they have, and how those are read.

use super::table::{Table, must_be_one_of};

/// A kind that the file may name.
pub(super) struct Kind<T: 'static> {
    /// Its word in the file.
    pub(super) name: &'static str,
    /// What not every kind has.
    pub(super) options: &'static [&'static str],
    /// Reads these; `None` where something is wrong, which is noted.
    pub(super) read: fn(&Table<'_>) -> Option<T>,
}

/// Reads the kind of a connector with its options, and all that is left in its table.
pub(super) fn read<T>(kinds: &'static [Kind<T>], table: &Table<'_>) -> Option<T> {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let kind = table.require("kind", table.text("kind"));
    let kind = kind.and_then(|word| {
        let kind = kinds.iter().find(|kind| kind.name == word.as_str());
        if kind.is_none() {
            table.wrong("kind", must_be_one_of(&names, &word));
        }
        kind
    });
    let Some(kind) = kind else {
        // which options there may be is not known
        kinds.iter().flat_map(|kind| kind.options).for_each(|option| table.pass_over(option));
        return None;
    };
    for option in kinds.iter().flat_map(|kind| kind.options) {
        if table.has(option) && !kind.options.contains(option) {
            table.pass_over(option);
            let others = kinds.iter().filter(|kind| kind.options.contains(option));
            let others: Vec<&str> = others.map(|kind| kind.name).collect();
            table.wrong(
                option,
                format_args!("is an option of {}, not of {}", others.join(", "), kind.name),
            );
        }
    }
    (kind.read)(table)
}
