//! Broken rules of a JSON value, and their locations in it.

use std::borrow::Cow;
use std::fmt;

/// Violations that one event lists at most; all are counted.
const LISTED_VIOLATIONS: usize = 100;

/// One step from a JSON value into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Into an object's member.
    Key(Cow<'static, str>),
    /// Into an array's element.
    Index(usize),
}

/// A place in an event, rendered as a JSON Pointer (RFC 6901) by REST and as a proto path by gRPC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location(pub Vec<Step>);

impl Location {
    /// The RFC 6901 JSON Pointer.
    pub fn pointer(&self) -> String {
        let mut out = String::new();
        for step in &self.0 {
            out.push('/');
            match step {
                Step::Key(key) if key.contains(['~', '/']) => {
                    out.push_str(&key.replace('~', "~0").replace('/', "~1"));
                }
                Step::Key(key) => out.push_str(key),
                Step::Index(index) => out.push_str(&index.to_string()),
            }
        }
        out
    }

    /// The same location, from the root of an array that has the event at `index`.
    #[must_use]
    pub fn below_index(mut self, index: usize) -> Self {
        self.0.insert(0, Step::Index(index));
        self
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub location: Location,
    /// What is wrong, as the end of a sentence about the place: `must not be empty`.
    pub detail: Cow<'static, str>,
}

impl Violation {
    /// A sentence about the place, which is called `root` where it is the whole value.
    pub(crate) fn sentence(&self, root: &str) -> String {
        let pointer = self.location.pointer();
        let place = if pointer.is_empty() { root } else { &pointer };
        format!("{place} {}", self.detail)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence("the value"))
    }
}

/// The broken rules of one event in document order: the first 100, and how many
/// there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    listed: Vec<Violation>,
    count: usize,
}

impl Violations {
    /// Counts one more, and lists it up to the limit. `location` is only called then.
    pub fn add(
        &mut self,
        location: impl FnOnce() -> Location,
        detail: impl Into<Cow<'static, str>>,
    ) {
        self.count += 1;
        if self.listed.len() < LISTED_VIOLATIONS {
            self.listed.push(Violation { location: location(), detail: detail.into() });
        }
    }

    /// One violation alone.
    pub fn one(location: Location, detail: impl Into<Cow<'static, str>>) -> Self {
        let mut violations = Self::default();
        violations.add(|| location, detail);
        violations
    }

    /// Appends later violations of the same event, up to the limit.
    pub fn append(&mut self, later: Self) {
        self.append_up_to(later, LISTED_VIOLATIONS);
    }

    /// Appends those of a later event, as far as no more than `limit` are listed.
    pub fn append_up_to(&mut self, later: Self, limit: usize) {
        self.count += later.count;
        let room = limit.saturating_sub(self.listed.len());
        self.listed.extend(later.listed.into_iter().take(room));
    }

    /// The same, from the root of a value that has theirs at `place`.
    #[must_use]
    pub fn below(mut self, place: &Location) -> Self {
        for violation in &mut self.listed {
            violation.location.0.splice(..0, place.0.iter().cloned());
        }
        self
    }

    /// The same, from the root of an array that has the event at `index`.
    #[must_use]
    pub fn below_index(mut self, index: usize) -> Self {
        for violation in &mut self.listed {
            violation.location = std::mem::take(&mut violation.location).below_index(index);
        }
        self
    }

    /// The same, where the value at `prefix` is the root; other locations stay.
    #[must_use]
    pub fn without_prefix(mut self, prefix: &[Step]) -> Self {
        for Violation { location, .. } in &mut self.listed {
            if location.0.starts_with(prefix) {
                location.0.drain(..prefix.len());
            }
        }
        self
    }

    /// The same, each at the place that `place` gives for its own.
    #[must_use]
    pub fn relocated(mut self, place: impl Fn(&Location) -> Location) -> Self {
        for Violation { location, .. } in &mut self.listed {
            *location = place(location);
        }
        self
    }

    /// Drops what is listed beyond `limit`; the count stays.
    pub(crate) fn list_at_most(&mut self, limit: usize) {
        self.listed.truncate(limit);
        self.listed.shrink_to_fit();
    }

    /// All that are listed.
    pub fn listed(&self) -> &[Violation] {
        &self.listed
    }

    /// How many there are, listed or not.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first that is listed.
    pub fn first(&self) -> Option<&Violation> {
        self.listed.first()
    }
}
