//! What can fail for a client, once for both APIs: [`ProblemKind`] owns the REST and the gRPC
//! status, so the two can't disagree. The numbers are plain, core knows neither transport.

use std::borrow::Cow;
use std::time::Duration;

use producer_telemetry::refusal::Refusal;
use uuid::Uuid;

use super::operation::FailedPrecondition;
use crate::json::{Step, Violations};

/// Broken rules that the answer to one call lists at most, over all its events.
pub const CALL_VIOLATIONS: usize = 1000;

/// The kinds of problem, one for each `urn:producer:problem:` word of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// Not JSON, not UTF-8, truncated, a bad query parameter or path value.
    Malformed,
    /// The request comes from a page of another origin, which may only read and send events.
    Forbidden,
    /// No such route, entity or event.
    NotFound,
    /// The route exists, the method doesn't.
    Method,
    /// The client accepts no type that the route can answer.
    NotAcceptable,
    /// The body came slower than its deadline.
    Timeout,
    /// The uuid is already used with other content.
    Conflict,
    /// A worker runs the connector, or another dead letter comes first.
    InUse,
    /// Pruning has deleted that part of the log.
    Gone,
    /// A condition on an entity does not hold.
    PreconditionFailed,
    /// The body is over `MAX_BODY_BYTES`.
    TooLarge,
    /// A content type or encoding that isn't taken.
    MediaType,
    /// JSON that breaks a rule of the contract.
    Validation,
    /// A read would look at more than it may.
    TooExpensive,
    /// A defect of ours.
    Internal,
    /// The queue is full or the entry grew too old; nothing was stored.
    Overloaded,
    /// Draining, or the database is out of reach; nothing was stored.
    Unavailable,
    /// It may or may not be stored.
    OutcomeUnknown,
}

impl ProblemKind {
    /// Every kind, in the order of their HTTP status.
    pub const ALL: [Self; 18] = [
        Self::Malformed,
        Self::Forbidden,
        Self::NotFound,
        Self::Method,
        Self::NotAcceptable,
        Self::Timeout,
        Self::Conflict,
        Self::InUse,
        Self::Gone,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::MediaType,
        Self::Validation,
        Self::TooExpensive,
        Self::Internal,
        Self::Overloaded,
        Self::Unavailable,
        Self::OutcomeUnknown,
    ];

    const fn row(self) -> (&'static str, &'static str, u16, u8) {
        // word, title, HTTP status (RFC 9110), gRPC code (google.rpc.Code)
        match self {
            Self::Malformed => ("malformed", "Malformed request", 400, 3),
            Self::Forbidden => ("forbidden", "Forbidden", 403, 7),
            Self::NotFound => ("not-found", "Not found", 404, 5),
            Self::Method => ("method", "Method not allowed", 405, 12),
            Self::NotAcceptable => ("not-acceptable", "Not acceptable", 406, 3),
            Self::Timeout => ("timeout", "Request body too slow", 408, 14),
            Self::Conflict => ("conflict", "Event id reused with other content", 409, 6),
            Self::InUse => ("in-use", "In use", 409, 9),
            Self::Gone => ("gone", "No longer kept", 410, 11),
            Self::PreconditionFailed => ("precondition-failed", "Precondition failed", 412, 10),
            Self::TooLarge => ("too-large", "Content too large", 413, 11),
            Self::MediaType => ("media-type", "Unsupported media type", 415, 3),
            Self::Validation => ("validation", "Validation failed", 422, 3),
            Self::TooExpensive => ("too-expensive", "Too expensive", 422, 9),
            Self::Internal => ("internal", "Internal error", 500, 13),
            Self::Overloaded => ("overloaded", "Overloaded", 503, 14),
            Self::Unavailable => ("unavailable", "Unavailable", 503, 14),
            Self::OutcomeUnknown => ("outcome-unknown", "Outcome unknown", 504, 4),
        }
    }

    /// The word behind `urn:producer:problem:`.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// A short human-readable summary that is the same for every occurrence (RFC 9457, 3.1.3).
    pub const fn title(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status code.
    pub const fn http_status(self) -> u16 {
        self.row().2
    }

    /// The gRPC status code (`google.rpc.Code`).
    pub const fn grpc_code(self) -> u8 {
        self.row().3
    }

    /// Whether the same request may succeed when it is sent again.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Timeout | Self::Overloaded | Self::Unavailable | Self::OutcomeUnknown)
    }
}

/// One answerable failure: what kind, one sentence, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// What kind of failure.
    pub kind: ProblemKind,
    /// One sentence for a human; never SQL, a path or a stack.
    pub detail: Cow<'static, str>,
    /// The broken rules, where there are any.
    pub violations: Violations,
    /// The event's uuid, where it is known.
    pub event_id: Option<Uuid>,
    /// The entity's state that did not fulfil a condition; of several, the first.
    pub precondition: Option<FailedPrecondition>,
}

impl Problem {
    /// A problem without violations.
    pub fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            violations: Violations::default(),
            event_id: None,
            precondition: None,
        }
    }

    /// A broken contract; the first violation makes the sentence.
    pub fn validation(violations: Violations) -> Self {
        Self::from_violations(ProblemKind::Validation, violations)
    }

    /// Conditions that did not hold; the first makes the sentence, and is the one that failed with
    /// `state`.
    pub fn precondition_failed(violations: Violations, state: FailedPrecondition) -> Self {
        let problem = Self::from_violations(ProblemKind::PreconditionFailed, violations);
        Self { precondition: Some(state), ..problem }
    }

    fn from_violations(kind: ProblemKind, violations: Violations) -> Self {
        let is_of_entity = kind == ProblemKind::PreconditionFailed;
        let root = if is_of_entity { "the entity" } else { "the value" };
        let detail = match (violations.first(), violations.count()) {
            (None, _) => Cow::Borrowed("a rule of the contract is broken"),
            (Some(only), 1) => Cow::Owned(only.sentence(root)),
            (Some(first), n) => {
                Cow::Owned(format!("{} (and {} more)", first.sentence(root), n - 1))
            }
        };
        Self { violations, ..Self::new(kind, detail) }
    }

    /// The same problem with other violations, whose first makes the sentence if one did before.
    #[must_use]
    pub fn map_violations(self, map: impl FnOnce(Violations) -> Violations) -> Self {
        if self.violations.is_empty() {
            return self;
        }
        let Self { kind, violations, event_id, precondition, .. } = self;
        let problem = Self::from_violations(kind, map(violations));
        Self { event_id, precondition, ..problem }
    }

    /// The same problem with at most `allowance` broken rules listed, which are subtracted from it:
    /// locations can be large, so the answer to a call lists a limited number. All stay counted.
    #[must_use]
    pub fn list_at_most(mut self, allowance: &mut usize) -> Self {
        self.violations.list_at_most(*allowance);
        *allowance -= self.violations.listed().len();
        self
    }

    /// The same problem of an item of NDJSON. Its sentence names the line of the body, from 1.
    #[must_use]
    pub fn in_line(mut self, number: usize) -> Self {
        self.detail = Cow::Owned(format!("line {number} of the body: {}", self.detail));
        self
    }

    /// The same problem, with the event it is about.
    #[must_use]
    pub fn with_event_id(mut self, uuid: Uuid) -> Self {
        self.event_id = Some(uuid);
        self
    }

    /// What the log says about a request that is refused with it; `None` where the client did nothing
    /// wrong, and for what isn't there and conditions that don't hold, which are usual answers.
    pub fn refusal(&self) -> Option<Refusal> {
        let is_refusal = (400..500).contains(&self.kind.http_status());
        let is_usual = matches!(
            self.kind,
            ProblemKind::NotFound | ProblemKind::Gone | ProblemKind::PreconditionFailed
        );
        if !is_refusal || is_usual {
            return None;
        }
        let name = self.kind.as_str();
        let Some(first) = self.violations.first() else {
            return Some(Refusal::new(name, &self.detail));
        };
        let mut location = first.location.clone();
        let ours = location.0.iter().position(|step| !is_of_contract(step));
        location.0.truncate(ours.unwrap_or(location.0.len()));
        Some(Refusal::new(name, format!("{} {}", location.pointer(), first.detail).trim_start()))
    }

    /// How long a client should wait before it tries again, for the kinds that are worth it.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            ProblemKind::Overloaded | ProblemKind::Unavailable | ProblemKind::Timeout => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }
}

/// Whether a step of a location is an index or a member that the contract names. Any other is of the
/// payload, which the log must not show.
fn is_of_contract(step: &Step) -> bool {
    const MEMBERS: &[&str] = &[
        "eventHeader",
        "uuid",
        "eventName",
        "eventType",
        "createdDate",
        "savedDate",
        "source",
        "actor",
        "eventBody",
        "entities",
        "entityType",
        "entityId",
        "operation",
        "expectedVersion",
        "exists",
        "condition",
        "updatedAttributes",
        "events",
        "atomic",
        "version",
        "at",
        "orderBy",
        "pageToken",
        "filter",
        "path",
        "from",
        "to",
        "types",
        "wait",
        "until",
        "indexes",
        "search",
        "paths",
        "language",
        "definition",
        "type",
        "entityIds",
        "fields",
        "count",
        "query",
        "facet",
        "fuzzy",
        "facets",
        "name",
        "token",
        "sink",
        "id",
    ];
    match step {
        Step::Index(_) => true,
        Step::Key(key) => MEMBERS.contains(&&**key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Location;

    #[test]
    fn the_log_shows_no_key_of_the_payload() {
        let keys = ["eventBody", "entities", "updatedAttributes", "secret"];
        let location = Location(keys.map(|key| Step::Key(key.into())).to_vec());
        let problem = Problem::validation(Violations::one(location, "must not be"));
        let detail = problem.refusal().map(|refusal| refusal.detail);
        assert_eq!(detail.as_deref(), Some("/eventBody/entities/updatedAttributes must not be"));
    }

    /// Definitions, calls and parameters break rules too.
    #[test]
    fn only_a_conflict_is_always_about_an_event() {
        for kind in ProblemKind::ALL {
            let names_event = kind.title().to_lowercase().contains("event");
            assert_eq!(names_event, kind == ProblemKind::Conflict, "{}", kind.title());
        }
        assert!(!Problem::validation(Violations::default()).detail.contains("event"));
    }

    #[test]
    fn a_condition_without_a_place_is_about_the_entity() {
        let state = FailedPrecondition { current_version: None };
        let failed = |steps: &[Step], count| {
            let mut unmet = Violations::default();
            for _ in 0..count {
                unmet.add(|| Location(steps.to_vec()), "does not exist");
            }
            Problem::precondition_failed(unmet, state).detail
        };
        assert_eq!(failed(&[], 1), "the entity does not exist");
        let item = [Step::Key("entities".into()), Step::Index(1)];
        assert_eq!(failed(&item, 1), "/entities/1 does not exist");
        assert_eq!(failed(&item, 3), "/entities/1 does not exist (and 2 more)");
    }
}
