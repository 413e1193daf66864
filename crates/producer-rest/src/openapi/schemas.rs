//! The schemas of what core's scanner and the router read; those of answers are derived from the types
//! that are written.

use utoipa::openapi::schema::{
    AnyOfBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
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

/// New attributes of one entity, whose key is its type and its id.
#[derive(Debug, ToSchema)]
#[schema(as = EntityUpdate, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what core's scanner reads")]
struct EntityUpdateDoc {
    #[schema(min_length = 1, max_length = 255, pattern = r"^(?!\.{1,2}$)", example = "Loan")]
    entity_type: String,
    #[schema(min_length = 1, max_length = 255, pattern = r"^(?!\.{1,2}$)", example = "loan-12345")]
    entity_id: String,
    /// A JSON Merge Patch (RFC 7396): objects merge deep, null removes, anything else replaces
    #[schema(value_type = Object, example = examples::attributes)]
    updated_attributes: serde_json::Value,
}

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
