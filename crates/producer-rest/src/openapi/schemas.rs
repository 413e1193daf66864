//! The schemas of what core's scanner and the router read; those of answers are derived from the types
//! that are written.

use utoipa::openapi::schema::{
    AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::{IntoParams, ToSchema};

use super::examples;
use crate::bulk_report::ResultsFilter;

/// A change of one or more entities. Unknown members are ignored.
#[derive(Debug, ToSchema)]
#[schema(as = Event, rename_all = "camelCase", example = examples::event)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
pub(crate) struct EventDoc {
    /// Identifies and describes the event
    event_header: EventHeaderDoc,
    /// What it changes
    event_body: EventBodyDoc,
}

#[derive(Debug, ToSchema)]
#[schema(as = EventHeader, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core's scanner reads")]
struct EventHeaderDoc {
    /// The idempotency key: the same event sent again with it changes nothing. If it is absent, the
    /// service makes one and returns it
    uuid: Option<uuid::Uuid>,
    /// What happened
    #[schema(min_length = 1, max_length = 255, example = "LoanPaymentSubmitted")]
    event_name: String,
    /// Kept and returned, without further meaning
    #[schema(max_length = 255, example = "LoanPaymentSubmitted")]
    event_type: Option<String>,
    #[schema(schema_with = created_date, required = false)]
    created_date: (),
    #[schema(schema_with = saved_date, required = false)]
    saved_date: (),
    /// Which system the event comes from. Kept and returned
    #[schema(max_length = 255, example = "billing")]
    source: Option<String>,
    /// Who caused it. Kept and returned
    #[schema(max_length = 255, example = "ada@example.com")]
    actor: Option<String>,
}

fn created_date() -> Schema {
    date(
        "When it happened: RFC 3339, or Unix milliseconds as a whole number or as digits; in the \
          years 0001 to 9999. It is kept and returned, and does not decide the order of events",
    )
}

fn saved_date() -> Schema {
    date("When its sender saved it, in the same forms; if it is absent, the time of the commit")
}

fn date(description: &str) -> Schema {
    let of_type = |name| ObjectBuilder::new().schema_type(name);
    let rfc3339 = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    let forms = AnyOfBuilder::new()
        .item(of_type(Type::String).format(Some(rfc3339)))
        .item(of_type(Type::String).pattern(Some("^(-?[0-9]{1,13}|[0-9]{14})$")))
        .item(
            of_type(Type::Integer)
                .minimum(Some(-62_135_596_800_000_i64))
                .maximum(Some(253_402_300_799_999_i64)),
        )
        .item(of_type(Type::Null))
        .description(Some(description))
        .build();
    Schema::AnyOf(forms)
}

#[derive(Debug, ToSchema)]
#[schema(as = EventBody)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
struct EventBodyDoc {
    /// Applied in this order, all or none. An entity may occur several times
    #[schema(min_items = 1, max_items = 1000)]
    entities: Vec<EntityUpdateDoc>,
}

/// What the event does with one entity, whose key is its type and its id.
#[derive(Debug, ToSchema)]
#[schema(as = EntityUpdate)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
enum EntityUpdateDoc {
    Change(ChangeDoc),
    Deletion(DeletionDoc),
}

/// New attributes of one entity.
#[derive(Debug, ToSchema)]
#[schema(as = EntityChange, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core's scanner reads")]
struct ChangeDoc {
    #[schema(min_length = 1, max_length = 255, pattern = r"^(?!\.{1,2}$)", example = "Loan")]
    entity_type: String,
    #[schema(min_length = 1, max_length = 255, pattern = r"^(?!\.{1,2}$)", example = "loan-12345")]
    entity_id: String,
    /// `merge` if it is absent. `replace` merges into an empty document
    operation: Option<ChangeOperationDoc>,
    /// The condition that the entity exists with this version. Not beside `exists`
    #[schema(minimum = 1)]
    expected_version: Option<u64>,
    /// The condition that the entity exists, or that it doesn't
    exists: Option<bool>,
    /// The condition that this filter holds of the entity as it is; none holds of one that doesn't exist
    #[schema(max_length = 4096, example = "data.balance >= 100 && !has(data.closedDate)")]
    condition: Option<String>,
    /// A JSON Merge Patch (RFC 7396): objects merge deep, null removes, anything else replaces
    #[schema(value_type = Object, example = examples::attributes)]
    updated_attributes: serde_json::Value,
}

#[derive(Debug, ToSchema)]
#[schema(as = ChangeOperation, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what core's scanner reads")]
enum ChangeOperationDoc {
    Merge,
    Replace,
}

/// The deletion of one entity, which must exist.
#[derive(Debug, ToSchema)]
#[schema(as = EntityDeletion, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core's scanner reads")]
struct DeletionDoc {
    #[schema(min_length = 1, max_length = 255, pattern = r"^(?!\.{1,2}$)", example = "Loan")]
    entity_type: String,
    #[schema(min_length = 1, max_length = 255, pattern = r"^(?!\.{1,2}$)", example = "loan-12345")]
    entity_id: String,
    operation: DeletionOperationDoc,
    /// The condition that the entity exists with this version. Not beside `exists`
    #[schema(minimum = 1)]
    expected_version: Option<u64>,
    /// The condition that the entity exists, which is one anyway
    exists: Option<bool>,
    /// The condition that this filter holds of the entity as it is
    #[schema(max_length = 4096, example = "data.balance == 0")]
    condition: Option<String>,
    #[schema(schema_with = no_attributes, required = false)]
    updated_attributes: (),
}

#[derive(Debug, ToSchema)]
#[schema(as = DeletionOperation, rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what core's scanner reads")]
enum DeletionOperationDoc {
    Delete,
}

fn no_attributes() -> Schema {
    let none = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
        .max_properties(Some(0))
        .description(Some("A deletion has none"));
    Schema::Object(none.build())
}

/// Attributes of one entity.
#[derive(Debug, ToSchema)]
#[schema(as = Attributes, value_type = Object)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
pub(crate) struct AttributesDoc(serde_json::Value);

/// The events of a bulk call.
#[derive(Debug, ToSchema)]
#[schema(as = Events, min_items = 1, max_items = 10_000)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
pub(crate) struct EventsDoc(Vec<EventDoc>);

/// The query of a bulk call.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the bulk route reads")]
pub(crate) struct BulkQuery {
    /// Which results the answer lists (default: all); those of `unknown` events are always there.
    #[param(inline, required = false)]
    results: ResultsFilter,
    /// All events or none, in one transaction; for a JSON array only.
    #[param(inline, required = false)]
    mode: ModeDoc,
}

#[derive(Debug, ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes what the bulk route reads")]
enum ModeDoc {
    Atomic,
}

/// The path of an entity's type.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes what the router reads")]
pub(crate) struct TypePath {
    /// `entityType`, percent-encoded
    #[param(
        rename = "type",
        min_length = 1,
        max_length = 255,
        pattern = r"^(?!\.{1,2}$)",
        example = "Loan"
    )]
    entity_type: String,
}

/// The path of an entity.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes what the router reads")]
pub(crate) struct EntityPath {
    /// `entityType`, percent-encoded
    #[param(
        rename = "type",
        min_length = 1,
        max_length = 255,
        pattern = r"^(?!\.{1,2}$)",
        example = "Loan"
    )]
    entity_type: String,
    /// `entityId`, percent-encoded
    #[param(
        rename = "id",
        min_length = 1,
        max_length = 255,
        pattern = r"^(?!\.{1,2}$)",
        example = "loan-12345"
    )]
    entity_id: String,
}

/// The moment in the history of an entity.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct AsOfQuery {
    /// The entity as it was with this version. Not beside `at`
    #[param(required = false, minimum = 1)]
    version: u64,
    /// The entity as it was at this time: with its last version that was committed until then. RFC 3339, or
    /// Unix milliseconds. The last seconds may still change
    #[param(required = false, schema_with = time)]
    at: String,
}

fn time() -> Schema {
    let of_type = || ObjectBuilder::new().schema_type(Type::String);
    let rfc3339 = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    let forms = AnyOfBuilder::new()
        .item(of_type().format(Some(rfc3339)))
        .item(of_type().pattern(Some("^(-?[0-9]{1,13}|[0-9]{14})$")));
    Schema::AnyOf(forms.build())
}

/// Which updates of an entity.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct HistoryPageQuery {
    /// `version` (the default), or `version desc`: the last one first
    #[param(required = false, schema_with = order)]
    order_by: String,
    /// How many at most; 100 if it is absent, never more than 1,000
    #[param(required = false, schema_with = count)]
    page_size: u32,
    /// `nextPageToken` of the page before, of the same entity and with the same `orderBy` and `filter`
    #[param(required = false)]
    page_token: String,
    /// Only updates that match: `type`, `id`, `version`, `operation`, `created`, `committedAt`, `eventName`,
    /// `eventType`, `eventSource`, `eventActor`, `patch.a.b`, `touches("data.a")`, in a subset of CEL's syntax
    #[param(required = false, schema_with = filter)]
    filter: String,
}

/// A filter: its syntax is no pattern.
pub(super) fn filter() -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
    Schema::Object(text.max_length(Some(4096)).build())
}

/// Without a format, which would have a maximum.
pub(super) fn count() -> Schema {
    Schema::Object(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build())
}

fn order() -> Schema {
    let orders = ["version", "version desc"];
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(orders)).build())
}

/// Which versions of an entity are compared.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct DiffQuery {
    /// The first version
    #[param(minimum = 1, example = 1)]
    from: u64,
    /// The second version; the present one if it is absent
    #[param(required = false, minimum = 1)]
    to: u64,
}

/// Which part of an entity.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct ProvenanceQuery {
    /// Only what is there and below, such as `data.balance` or `data["odd key"]`
    #[param(
        required = false,
        pattern = r#"^data(\.[A-Za-z_][A-Za-z0-9_]*|\["[^"\\\x00-\x1f]*"\])*$"#
    )]
    path: String,
}

/// The query of a write of one entity: the header of its event, and a condition.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the routes read")]
pub(crate) struct WriteQuery {
    /// The event's name, instead of `EntityCreated`, `EntityReplaced`, `EntityUpdated` or `EntityDeleted`
    #[param(required = false, min_length = 1, max_length = 255)]
    event_name: String,
    /// Which system the write comes from. The log keeps it
    #[param(required = false, max_length = 255)]
    source: String,
    /// Who writes. The log keeps it
    #[param(required = false, max_length = 255)]
    actor: String,
    /// A filter such as `data.balance >= 100` that must hold of the entity as it is; 412 if not. None holds
    /// of an entity that does not exist, so that nothing is created
    #[param(required = false, min_length = 1, max_length = 4096)]
    condition: String,
}

/// The condition on a version.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what the routes read")]
pub(crate) struct IfMatchHeader {
    /// ETags such as `"2"`, of which the entity must have one, or `*`: it must exist. 412 if not. `W/` is
    /// ignored
    #[param(rename = "If-Match", required = false, schema_with = any_or_etags)]
    if_match: String,
}

/// The condition that nothing is replaced.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what the routes read")]
pub(crate) struct IfNoneMatchHeader {
    /// `*`: the entity must not exist. 412 if it does
    #[param(rename = "If-None-Match", required = false, schema_with = any)]
    if_none_match: String,
}

fn any() -> Schema {
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["*"])).build())
}

fn any_or_etags() -> Schema {
    let etags = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r#"^(W/)?"[!#-~]*"( ?, ?(W/)?"[!#-~]*")*$"#));
    Schema::AnyOf(AnyOfBuilder::new().item(any()).item(etags).build())
}

/// What makes a request safe to send again.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what the routes read")]
pub(crate) struct KeyHeader {
    /// The request sent again with the same key changes nothing. A UUID is the event's uuid; any other
    /// text, such as `order-4711`, is a key for this route, type and id. Not beside a uuid in the body
    #[param(rename = "Idempotency-Key", required = false, pattern = r#"^(?!""$)[!-~]{1,255}$"#)]
    idempotency_key: String,
}

/// Which answer is preferred.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes what the routes read")]
pub(crate) struct PreferHeader {
    /// `return=representation`: the answer is the entity as it is after the commit, if it still exists
    #[param(rename = "Prefer", required = false)]
    prefer: String,
}
