//! What an update does with its entity, and what must hold of the entity before it.

/// What an update does with its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Operation {
    /// Merges its attributes into the document (RFC 7396).
    #[default]
    Merge,
    /// Merges its attributes into an empty document: what the document had is gone.
    Replace,
    /// Removes the entity, which must exist.
    Delete,
}

impl Operation {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }

    /// The operation with this name in JSON.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Merge, Self::Replace, Self::Delete].into_iter().find(|it| it.as_str() == name)
    }

    /// The value of the log's column `operation`.
    pub const fn code(self) -> i16 {
        match self {
            Self::Merge => 0,
            Self::Replace => 1,
            Self::Delete => 2,
        }
    }

    /// The operation that the log's column `operation` means.
    ///
    /// # Errors
    /// A value that this release doesn't know, as a sentence for the log.
    pub fn from_code(code: i16) -> Result<Self, String> {
        match code {
            0 => Ok(Self::Merge),
            1 => Ok(Self::Replace),
            2 => Ok(Self::Delete),
            _ => Err(format!(
                "the log has the operation {code}, which this release does not know: use the newer \
                 release that wrote it"
            )),
        }
    }
}

/// What must hold of an entity just before an update, or the whole event is refused. It is no part of
/// the event's content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// It exists.
    Exists,
    /// It does not exist.
    Absent,
    /// It exists with one of these versions; with none of them it never holds.
    Versions(Box<[u64]>),
}

impl Precondition {
    /// Whether it holds of an entity with this version (`None`: one that does not exist).
    pub fn holds(&self, version: Option<u64>) -> bool {
        match self {
            Self::None => true,
            Self::Exists => version.is_some(),
            Self::Absent => version.is_none(),
            Self::Versions(allowed) => version.is_some_and(|version| allowed.contains(&version)),
        }
    }

    /// Bytes that it holds outside of itself.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Versions(allowed) => size_of_val(&**allowed),
            Self::None | Self::Exists | Self::Absent => 0,
        }
    }
}

/// A precondition that did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedPrecondition {
    /// The entity's version at that moment; `None` where it did not exist.
    pub current_version: Option<u64>,
}

impl FailedPrecondition {
    /// What did not hold, as the end of a sentence about the entity: the update's condition, where
    /// `expected` holds.
    pub(crate) fn detail(self, expected: &Precondition) -> String {
        match (self.current_version, expected) {
            (None, Precondition::Versions(allowed)) if !allowed.is_empty() => {
                format!("does not exist; expected version {}", listed(allowed))
            }
            (None, _) => "does not exist".to_owned(),
            (Some(current), expected) if expected.holds(Some(current)) => {
                format!("does not fulfil the condition in version {current}")
            }
            (Some(current), Precondition::Versions(allowed)) if !allowed.is_empty() => {
                format!("has version {current}; expected version {}", listed(allowed))
            }
            (Some(current), Precondition::Versions(_)) => {
                format!("has version {current}, and no version fulfils the conditions")
            }
            (Some(current), _) => format!("exists already, with version {current}"),
        }
    }
}

fn listed(versions: &[u64]) -> String {
    const MOST: usize = 10;
    let shown: Vec<String> = versions.iter().take(MOST).map(u64::to_string).collect();
    let more = if versions.len() > MOST { " or others" } else { "" };
    format!("{}{more}", shown.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_and_a_code_of_its_own() {
        for operation in [Operation::Merge, Operation::Replace, Operation::Delete] {
            assert_eq!(Operation::from_name(operation.as_str()), Some(operation));
            assert_eq!(Operation::from_code(operation.code()), Ok(operation));
        }
        assert_eq!(Operation::from_name("Merge"), None);
        assert!(Operation::from_code(3).is_err());
    }

    #[test]
    fn preconditions_hold_of_what_they_name() {
        let versions = |allowed: &[u64]| Precondition::Versions(allowed.into());
        for (precondition, absent, one, two) in [
            (Precondition::None, true, true, true),
            (Precondition::Exists, false, true, true),
            (Precondition::Absent, true, false, false),
            (versions(&[1]), false, true, false),
            (versions(&[1, 2]), false, true, true),
            (versions(&[]), false, false, false),
        ] {
            let held = [None, Some(1), Some(2)].map(|version| precondition.holds(version));
            assert_eq!(held, [absent, one, two], "{precondition:?}");
        }
    }
}
