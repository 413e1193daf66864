//! What unary rpcs share: the parts of a call, and errors that any of them may have.

use std::borrow::Cow;

use producer_core::filter::{Filter, Scope};
use producer_core::query::{MAX_PAGE_SIZE, PAGE_SIZE, QueryError, ReadError};
use producer_core::{EntityKey, Location, Problem, ProblemKind, Step, Violations};
use producer_telemetry::request;
use producer_telemetry::stopwatch::Part;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status};

use crate::body::BufferLease;
use crate::request_id::RequestId;

/// The parts of a unary call.
pub(crate) struct Call<T> {
    pub(crate) id: RequestId,
    /// The message's bytes in the shared budget. To be dropped when the message is queued.
    pub(crate) lease: Option<BufferLease>,
    pub(crate) metadata: MetadataMap,
    pub(crate) message: T,
}

impl<T> Call<T> {
    pub(crate) fn new(request: Request<T>) -> Result<Self, Status> {
        request::enter(Part::Rest);
        let (metadata, mut extensions, message) = request.into_parts();
        let lease = extensions.remove::<BufferLease>();
        Ok(Self { id: request_id(&extensions)?, lease, metadata, message })
    }
}

/// The id that the admission gave to the call.
pub(crate) fn request_id(extensions: &Extensions) -> Result<RequestId, Status> {
    extensions.get().cloned().ok_or_else(|| Status::internal("the call bypassed the admission"))
}

/// The place of a field in a request, by its name in JSON.
pub(crate) fn place(name: &'static str) -> Location {
    Location(vec![Step::Key(name.into())])
}

/// The place of an item of a repeated field.
pub(crate) fn item(name: &'static str, index: usize) -> Location {
    Location(vec![Step::Key(name.into()), Step::Index(index)])
}

/// A field of a read request breaks a rule: `must …`.
pub(crate) fn broken(name: &'static str, detail: impl Into<Cow<'static, str>>) -> Problem {
    malformed(Violations::one(place(name), detail))
}

/// The type of entities, without an id, in the field `name`.
pub(crate) fn check_type(name: &'static str, entity_type: &str) -> Result<(), Problem> {
    type_violation(name, entity_type).map_err(malformed)
}

/// As [`check_type`], of a request in which other fields may break rules too.
pub(crate) fn type_violation(name: &'static str, entity_type: &str) -> Result<(), Violations> {
    let any_id = "-";
    let key = EntityKey::new(entity_type, any_id);
    key.map(drop).map_err(|found| {
        let rule = found.first().map(|broken| broken.detail.clone());
        Violations::one(place(name), rule.unwrap_or_default())
    })
}

/// The filter of a read request, by the field `filter`; empty: none.
pub(crate) fn filter(text: &str, scope: Scope) -> Result<Option<Filter>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let filter = Filter::parse(text, scope).map(Some);
    filter.map_err(|error| broken("filter", format!("is no filter: {error}")))
}

/// The size of a page, by the field `page_size`: 0 means the default, and more than the most mean that.
pub(crate) fn page_size(asked: u64) -> u32 {
    size(asked, PAGE_SIZE, MAX_PAGE_SIZE)
}

/// How many are asked for: 0 means `default`, and more than `most` mean that.
pub(crate) fn size(asked: u64, default: u32, most: u32) -> u32 {
    match asked {
        0 => default,
        asked => u32::try_from(asked).map_or(most, |asked| asked.min(most)),
    }
}

/// Fields of a read request break rules.
pub(crate) fn malformed(violations: Violations) -> Problem {
    Problem { kind: ProblemKind::Malformed, ..Problem::validation(violations) }
}

/// A list or a read of the history failed.
pub(crate) fn unread(error: QueryError) -> Problem {
    match error {
        QueryError::Read(error) => unreachable(&error),
        QueryError::Refused(problem) => problem,
    }
}

/// A read failed because the database is unavailable.
pub(crate) fn unreachable(error: &ReadError) -> Problem {
    tracing::warn!(%error, "a read failed");
    Problem::new(ProblemKind::Unavailable, error.kind.detail())
}
