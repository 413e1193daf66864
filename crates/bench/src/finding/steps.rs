//! What is measured of finding, in the order of a round: what is compared is measured one after the other.

use std::fmt;

/// One measurement of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Requests that ask the same, one after the other.
    Ask(Question, Amount),
    /// The same in SQL by pgbench.
    Pgbench(Question, Amount),
    /// GETs of single entities at a constant rate, beside scans or not.
    Gets { scans: bool },
    /// Events as fast as they are taken, of a type that has many entities.
    Writes(Beside),
    /// The same on empty tables.
    Ingest(Ingest),
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// A page of a list, by id.
    List,
    /// The first page of those that an index finds.
    Indexed,
    /// A page of a list with a filter that nothing matches and no index helps.
    Unindexed,
    /// All types.
    Types,
    /// Full-text search.
    Search,
}

/// How many entities the type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amount {
    /// `--entities`
    Base,
    /// `--large`
    Large,
}

/// A database that is filled beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Filled {
    /// Cars, and no definition.
    Plain,
    /// Cars that are found by their dealer and by words, and the baseline's copy of them.
    Found,
    /// The large amount of cars, which are found by their dealer.
    Large,
}

/// What goes on while events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Nothing,
    /// For as long as an index is being built, through checkpoints of the database.
    NothingForLong,
    /// Clients scan the type.
    Scans,
    /// An index of the type is being built.
    Building,
}

/// Into what events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ingest {
    /// A type without a definition.
    Plain,
    /// The same by the binary of `--before`.
    Before,
    /// A type with three indexes.
    Indexes,
    /// As `Plain`, on SQLite.
    Sqlite,
    /// As `Indexes`, on SQLite.
    SqliteIndexes,
}

impl Step {
    /// All of them.
    pub(super) fn all() -> Vec<Self> {
        use Amount::{Base, Large};
        use Question::{Indexed, List, Search, Types, Unindexed};
        vec![
            Self::Pgbench(List, Base),
            Self::Ask(List, Base),
            Self::Pgbench(List, Large),
            Self::Ask(List, Large),
            Self::Pgbench(Indexed, Base),
            Self::Ask(Indexed, Base),
            Self::Ask(Indexed, Large),
            Self::Ask(Unindexed, Base),
            Self::Gets { scans: false },
            Self::Gets { scans: true },
            Self::Ask(Types, Base),
            Self::Ask(Types, Large),
            Self::Pgbench(Search, Base),
            Self::Ask(Search, Base),
            Self::Writes(Beside::Scans),
            Self::Writes(Beside::Nothing),
            Self::Writes(Beside::NothingForLong),
            Self::Writes(Beside::Building),
            Self::Ingest(Ingest::Before),
            Self::Ingest(Ingest::Plain),
            Self::Ingest(Ingest::Indexes),
            Self::Ingest(Ingest::Sqlite),
            Self::Ingest(Ingest::SqliteIndexes),
        ]
    }

    /// The database that it reads, or copies.
    pub(super) fn filled(self) -> Option<Filled> {
        match self {
            Self::Ask(question, amount) | Self::Pgbench(question, amount) => {
                Some(question.filled(amount))
            }
            Self::Gets { .. } | Self::Writes(_) => Some(Filled::Plain),
            Self::Ingest(_) => None,
        }
    }

    /// Whether it needs the number of `--large`.
    pub(super) fn is_large(self) -> bool {
        matches!(self, Self::Ask(_, Amount::Large) | Self::Pgbench(_, Amount::Large))
    }

    /// Whether it needs the folder of `--before`.
    pub(super) fn is_before(self) -> bool {
        self == Self::Ingest(Ingest::Before)
    }
}

impl Question {
    /// The database about which it is asked.
    pub(super) fn filled(self, amount: Amount) -> Filled {
        match (self, amount) {
            (_, Amount::Large) => Filled::Large,
            (Self::List | Self::Unindexed | Self::Types, Amount::Base) => Filled::Plain,
            (Self::Indexed | Self::Search, Amount::Base) => Filled::Found,
        }
    }

    /// Connections that ask at the same time.
    pub(super) const fn clients(self) -> usize {
        match self {
            Self::List | Self::Indexed | Self::Search => 8,
            // how long one takes
            Self::Unindexed | Self::Types => 1,
        }
    }
}

impl fmt::Display for Step {
    /// The name on the command line and in the results.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask(question, amount) => write!(f, "{question}{amount}"),
            Self::Pgbench(question, amount) => write!(f, "pgbench-{question}{amount}"),
            Self::Gets { scans } => f.write_str(if *scans { "gets-scans" } else { "gets" }),
            Self::Writes(beside) => f.write_str(match beside {
                Beside::Nothing => "writes",
                Beside::Scans => "writes-scans",
                Beside::NothingForLong => "writes-long",
                Beside::Building => "writes-building",
            }),
            Self::Ingest(ingest) => f.write_str(match ingest {
                Ingest::Plain => "ingest",
                Ingest::Before => "ingest-before",
                Ingest::Indexes => "ingest-indexes",
                Ingest::Sqlite => "sqlite-ingest",
                Ingest::SqliteIndexes => "sqlite-ingest-indexes",
            }),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::Indexed => "indexed",
            Self::Unindexed => "unindexed",
            Self::Types => "types",
            Self::Search => "search",
        })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "",
            Self::Large => "-large",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_name_of_its_own() {
        let mut names: Vec<String> = Step::all().iter().map(Step::to_string).collect();
        for name in ["pgbench-list-large", "indexed-large", "writes-building", "gets-scans"] {
            assert!(names.contains(&name.to_owned()), "{names:?}");
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
