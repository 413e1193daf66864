//! The parameters, schemas, problems and examples of lists.

use producer_core::{Problem, ProblemKind};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::problems::{
    Responses, internal, malformed, not_acceptable, not_readable, responses, too_many,
};
use super::schemas::{count, filter};
use crate::routes::types::CountBody;

/// Which entities of a type.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct EntitiesQuery {
    /// Just these ids, in this order, without those that do not exist; up to 100. Beside it only `fields`
    #[param(required = false, explode = true, schema_with = ids)]
    id: Vec<String>,
    /// A filter such as `data.total > 100 && data.status in ["open", "new"]`
    #[param(required = false, schema_with = filter)]
    filter: String,
    /// `id`, `version`, `createdAt`, `updatedAt` or a path such as `data.total`, with ` desc` behind it for the
    /// reverse order; ties by id. Only entities that have a scalar there: false, true, numbers, strings. Without an
    /// index that serves it only where at most 10,000 entities are left to look at
    #[param(required = false, schema_with = names)]
    order_by: String,
    /// How many at most; 100 if it is absent, never more than 1,000
    #[param(required = false, schema_with = count)]
    page_size: u32,
    /// `nextPageToken` of the page before, of the same list with the same `filter` and `orderBy`
    #[param(required = false)]
    page_token: String,
    /// Only these members of the entities, beside their type and id, such as `version,data.total`
    #[param(required = false, schema_with = names)]
    fields: String,
    /// Adds how many entities the whole list has. Counting ends after a second, with what it has then
    #[param(required = false, schema_with = count_kind)]
    count: String,
}

/// Which entities of all types.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct AllEntitiesQuery {
    /// A filter such as `type in ["Loan", "Car"] && updatedAt > now - duration("24h")`
    #[param(required = false, schema_with = filter)]
    filter: String,
    /// How many at most; 100 if it is absent, never more than 1,000
    #[param(required = false, schema_with = count)]
    page_size: u32,
    /// `nextPageToken` of the page before, of the same list with the same `filter`
    #[param(required = false)]
    page_token: String,
    /// Only these members of the entities, beside their type and id, such as `version,data.total`
    #[param(required = false, schema_with = names)]
    fields: String,
    /// Adds how many entities the whole list has. Counting ends after a second, with what it has then
    #[param(required = false, schema_with = count_kind)]
    count: String,
}

fn ids() -> Schema {
    let id = text().min_length(Some(1)).max_length(Some(255)).pattern(Some(r"^(?!\.{1,2}$)"));
    Schema::Array(ArrayBuilder::new().items(id).max_items(Some(100)).build())
}

/// Names and paths: their syntax is no pattern.
pub(super) fn names() -> Schema {
    Schema::Object(text().min_length(Some(1)).build())
}

fn count_kind() -> Schema {
    Schema::Object(text().enum_values(Some(["exact", "estimated"])).build())
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A page of entities.
#[derive(Debug, ToSchema)]
#[schema(as = EntitiesPage, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route writes")]
pub(crate) struct EntitiesPageDoc {
    /// In the order that was asked for
    entities: Vec<ListedEntityDoc>,
    /// The `pageToken` of the next page; absent where there is none
    #[schema(required = false)]
    next_page_token: String,
    /// How many entities the whole list has, with `count`
    #[schema(required = false)]
    count: CountBody,
}

/// An entity, or of it what `fields` names.
#[derive(Debug, ToSchema)]
#[schema(as = ListedEntity, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route writes")]
pub(crate) struct ListedEntityDoc {
    entity_type: String,
    entity_id: String,
    #[schema(required = false)]
    version: u64,
    #[schema(required = false, format = DateTime)]
    created_at: String,
    #[schema(required = false, format = DateTime)]
    updated_at: String,
    #[schema(value_type = Object, required = false)]
    data: serde_json::Value,
}

/// Errors of `GET /api/v1/entities/{type}`.
pub(crate) struct ListProblems;

/// Errors of `GET /api/v1/entities`.
pub(crate) struct ListAllProblems;

impl IntoResponses for ListProblems {
    fn responses() -> Responses {
        responses(list_problems().into_iter().chain([no_index()]))
    }
}

impl IntoResponses for ListAllProblems {
    fn responses() -> Responses {
        responses(list_problems())
    }
}

/// The problems of every list.
fn list_problems() -> [Problem; 5] {
    let bad_filter = "the query parameter filter is no filter: column 12: expected == to compare";
    [malformed(bad_filter), not_acceptable(), internal(), too_many(), not_readable()]
}

fn no_index() -> Problem {
    let detail = "more than 10,000 entities or a second of looking at them are too many to sort; declare an index \
                  for the order: add \"data.balance\" to the indexes in the definition of the type Loan";
    Problem::new(ProblemKind::TooExpensive, detail)
}

/// The loan of the other examples, found.
pub(crate) mod examples {
    use serde_json::{Value, json};

    use crate::openapi::examples::entity;

    /// The loans with a balance, counted.
    pub(crate) fn matching() -> Value {
        json!({"entities": [entity()], "count": {"value": 1, "exact": true}})
    }

    /// Version and balance of the loans.
    pub(crate) fn some_fields() -> Value {
        json!({"entities": [{
            "entityType": "Loan",
            "entityId": "loan-12345",
            "version": 2,
            "data": {"balance": 23927.38}
        }]})
    }

    /// The loan by its id.
    pub(crate) fn by_id() -> Value {
        json!({"entities": [entity()]})
    }

    /// The first entity of all types: a page that another one follows.
    pub(crate) fn first_of_all() -> Value {
        json!({
            "entities": [entity()],
            "nextPageToken": "AAYPJzvPPAUAAARMb2FubG9hbi0xMjM0NVVCa0hNdjBy",
            "count": {"value": 2, "exact": true}
        })
    }
}
