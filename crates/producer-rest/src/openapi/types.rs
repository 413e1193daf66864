//! The parameters, schemas, problems and examples of types.

use producer_core::model::FailedPrecondition;
use producer_core::{Problem, ProblemKind};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::problems::{
    Responses, internal, malformed, not_acceptable, not_readable, responses, too_large, too_many,
    too_slow, violations,
};
use super::schemas::count;
use crate::cross_origin::FORBIDDEN;

/// Which page of the types.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct TypesQuery {
    /// How many at most; 100 if it is absent, never more than 1,000
    #[param(required = false, schema_with = count)]
    page_size: u32,
    /// `nextPageToken` of the page before
    #[param(required = false)]
    page_token: String,
}

/// What is declared about a type.
#[derive(Debug, ToSchema)]
#[schema(as = TypeDefinition, example = examples::definition)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
pub(crate) struct DefinitionDoc {
    #[schema(schema_with = indexes, required = false)]
    indexes: (),
    search: Option<SearchDefinitionDoc>,
}

/// Which texts are searched.
#[derive(Debug, ToSchema)]
#[schema(as = SearchDefinition)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes what core's scanner reads")]
struct SearchDefinitionDoc {
    #[schema(schema_with = search_paths)]
    paths: (),
    /// How words are cut and reduced: `simple` if it is absent, or a language that the database knows, such as
    /// `english`
    #[schema(pattern = "^[a-z0-9_]{1,63}$")]
    language: Option<String>,
}

/// A path to a member of documents, as far as a pattern can say it.
const MEMBER: &str = r#"data(\.[A-Za-z_][A-Za-z0-9_]*|\["[^"\\\x00-\x1f]*"\])+"#;

fn indexes() -> Schema {
    let path = || {
        let pattern = format!("^(createdAt|updatedAt|{MEMBER})$");
        ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
    };
    let several = ArrayBuilder::new().items(path()).min_items(Some(1)).max_items(Some(3));
    let index = OneOfBuilder::new().item(path()).item(several.unique_items(true));
    let description = "Each a path or a list of up to 3: `createdAt`, `updatedAt`, or a member below `data`, not \
                       through arrays. An index serves `==`, `in`, ranges, `startsWith` and `orderBy`: equality on \
                       all but its last path, anything on the last";
    let indexes = ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(index)
        .max_items(Some(16))
        .unique_items(true);
    Schema::Array(indexes.description(Some(description)).build())
}

fn search_paths() -> Schema {
    let weight = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(4));
    let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some(format!("^{MEMBER}$")));
    let paths = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property_names(Some(Schema::Object(name.build())))
        .additional_properties(Some(AdditionalProperties::RefOr(weight.into())))
        .min_properties(Some(1))
        .max_properties(Some(16))
        .description(Some(
            "Members below `data` with their weights; strings anywhere below one count",
        ));
    Schema::Object(paths.build())
}

/// Errors of `GET /api/v1/types`.
pub(crate) struct ListTypesProblems;

/// Errors of `PUT /api/v1/types/{type}`.
pub(crate) struct ReplaceTypeProblems;

/// Errors of `GET /api/v1/types/{type}`.
pub(crate) struct GetTypeProblems;

/// Errors of `DELETE /api/v1/types/{type}`.
pub(crate) struct DeleteTypeProblems;

impl IntoResponses for ListTypesProblems {
    fn responses() -> Responses {
        responses(problems("the query parameter pageSize must be a number from 1"))
    }
}

impl IntoResponses for ReplaceTypeProblems {
    fn responses() -> Responses {
        let broken = violations(&[
            (
                "/indexes/0",
                "must be createdAt, updatedAt or a path below data; did you mean createdAt?",
            ),
            ("/search/paths/data.title", "must be a weight of 1 to 4"),
        ]);
        let media = "the content type is not supported; supported is application/json";
        let bad_body = "line 1 of the body, column 12: not valid JSON, expected ':'";
        responses(problems(bad_body).into_iter().chain([
            Problem::new(ProblemKind::Forbidden, FORBIDDEN),
            too_slow(),
            other_version(),
            too_large(),
            Problem::new(ProblemKind::MediaType, media),
            Problem::validation(broken),
        ]))
    }
}

impl IntoResponses for GetTypeProblems {
    fn responses() -> Responses {
        responses(problems(LONG_TYPE).into_iter().chain([no_definition()]))
    }
}

impl IntoResponses for DeleteTypeProblems {
    fn responses() -> Responses {
        let of_write = [Problem::new(ProblemKind::Forbidden, FORBIDDEN), too_slow()];
        let of_definition = [no_definition(), other_version()];
        let problems = problems("the request must have no body").into_iter();
        responses(problems.chain(of_write).chain(of_definition))
    }
}

const LONG_TYPE: &str = "a path value breaks a rule: /entityType must have at most 255 characters";

fn problems(bad_request: &'static str) -> [Problem; 5] {
    [malformed(bad_request), not_acceptable(), internal(), too_many(), not_readable()]
}

fn no_definition() -> Problem {
    Problem::new(ProblemKind::NotFound, "the type has no definition")
}

fn other_version() -> Problem {
    let detail = "the definition has version 2; expected version 1";
    let state = FailedPrecondition { current_version: Some(2) };
    Problem { precondition: Some(state), ..Problem::new(ProblemKind::PreconditionFailed, detail) }
}

/// The type of the loan of the other examples.
pub(crate) mod examples {
    use serde_json::{Value, json};

    /// Finds loans by their balance, and by borrower and time.
    pub(crate) fn definition() -> Value {
        json!({
            "indexes": ["data.balance", ["data.borrower.name", "updatedAt"]],
            "search": {"paths": {"data.borrower": 1}, "language": "english"}
        })
    }

    /// Just declared.
    pub(crate) fn building() -> Value {
        of_loans(&json!({"status": "building", "progress": {"done": 0}}))
    }

    /// Built.
    pub(crate) fn ready() -> Value {
        of_loans(&json!({"status": "ready"}))
    }

    fn of_loans(state: &Value) -> Value {
        let part = |kind: &str, paths: &[&str]| {
            let mut part = json!({"kind": kind, "paths": paths});
            for (name, value) in state.as_object().into_iter().flatten() {
                part[name] = value.clone();
            }
            part
        };
        json!({
            "type": "Loan",
            "version": 1,
            "createdAt": "2024-03-02T10:00:00.004711Z",
            "updatedAt": "2024-03-02T10:00:00.004711Z",
            "definition": definition(),
            "parts": [
                part("index", &["data.balance"]),
                part("index", &["data.borrower.name", "updatedAt"]),
                part("search", &["data.borrower"])
            ]
        })
    }

    /// The types of the story.
    pub(crate) fn types() -> Value {
        let entry = |name, entities: u64, defined: bool| json!({"type": name, "entities": {"value": entities, "exact": false}, "defined": defined});
        json!({"types": [entry("Loan", 1, true), entry("LoanPayment", 1, false)]})
    }
}
