//! The parameters, schemas, problems and examples of search.

use std::collections::BTreeMap;

use producer_core::{Problem, ProblemKind};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::lists::{ListedEntityDoc, names};
use super::problems::{
    Responses, internal, malformed, not_acceptable, not_readable, responses, too_many,
};
use super::schemas::{count, filter};
use crate::routes::types::CountBody;

/// What is searched.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route reads")]
pub(crate) struct SearchQuery {
    /// Words, of which all must be there, `"a phrase"`, `-not`, `a OR b`, `begin*`; up to 1 KiB. All by `filter` if
    /// it is absent
    #[param(required = false, max_length = 1024)]
    query: String,
    /// Only this `entityType`; several with several of it
    #[param(required = false, explode = true, schema_with = types)]
    r#type: Vec<String>,
    /// A filter such as `data.price < 20000`, which hits must fulfil too
    #[param(required = false, schema_with = filter)]
    filter: String,
    /// Only these members of the entities, beside their type and id, such as `version,data.title`
    #[param(required = false, schema_with = names)]
    fields: String,
    /// How many at most; 20 if it is absent, never more than 100
    #[param(required = false, schema_with = count)]
    page_size: u32,
    /// `nextPageToken` of the page before, of the same search
    #[param(required = false)]
    page_token: String,
    /// A path whose values are counted among the hits, such as `data.category`, or `data.category:20` for 20 of them
    /// instead of 10; up to 8 with several of it
    #[param(required = false, explode = true, schema_with = facets)]
    facet: Vec<String>,
    /// Whether hits have fragments of their texts: HTML, with what was found in `<em>`
    #[param(required = false)]
    highlight: bool,
    /// Whether a word from 4 letters may have one typo; 422 where the engine can't
    #[param(required = false)]
    fuzzy: bool,
}

fn types() -> Schema {
    let name =
        ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    Schema::Array(ArrayBuilder::new().items(name).build())
}

fn facets() -> Schema {
    let facet = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
    Schema::Array(ArrayBuilder::new().items(facet).max_items(Some(8)).unique_items(true).build())
}

/// A page of hits.
#[derive(Debug, ToSchema)]
#[schema(as = SearchPage, rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the route writes")]
pub(crate) struct SearchPageDoc {
    /// By score, then type and id
    hits: Vec<HitDoc>,
    /// How many hits there are: at most 10,000 are ranked and counted
    total: CountBody,
    /// With `facet`: for each path its most frequent values
    #[schema(required = false)]
    facets: BTreeMap<String, Vec<FacetValueDoc>>,
    /// What searched
    #[schema(pattern = "^(postgresql|sqlite|opensearch)$")]
    engine: String,
    /// Of OpenSearch: a token of the feed; all that was committed up to there is found. Absent where that is not
    /// known, while a snapshot is taken
    #[schema(required = false)]
    indexed_up_to: String,
    /// The `pageToken` of the next page; absent where there is none
    #[schema(required = false)]
    next_page_token: String,
}

/// An entity that was found.
#[derive(Debug, ToSchema)]
#[schema(as = Hit)]
#[expect(dead_code, reason = "describes what the route writes")]
struct HitDoc {
    entity: ListedEntityDoc,
    /// How well it matches; compares only with others of the same answer
    score: f64,
    /// With `highlight=true`: fragments of the texts at each path that has a match. HTML: what was found is in
    /// `<em>`, the rest is escaped
    #[schema(required = false)]
    highlights: BTreeMap<String, Vec<String>>,
}

/// A value, and how many hits have it.
#[derive(Debug, ToSchema)]
#[schema(as = FacetValue)]
#[expect(dead_code, reason = "describes what the route writes")]
struct FacetValueDoc {
    #[schema(schema_with = scalar)]
    value: (),
    count: u64,
}

fn scalar() -> Schema {
    let scalars = [Type::String, Type::Number, Type::Boolean];
    Schema::Object(ObjectBuilder::new().schema_type(SchemaType::from_iter(scalars)).build())
}

/// Errors of `GET /api/v1/search`.
pub(crate) struct SearchProblems;

impl IntoResponses for SearchProblems {
    fn responses() -> Responses {
        let not_declared = "the query parameter type \"Truck\" has no search in its definition";
        let no_typos = "the query parameter fuzzy is not supported by the engine sqlite";
        let too_many_matches = "the query's words are in too many entities to be looked up in time; use more \
                                words, or longer ones";
        responses([
            malformed(not_declared),
            not_acceptable(),
            Problem::new(ProblemKind::Validation, no_typos),
            Problem::new(ProblemKind::TooExpensive, too_many_matches),
            internal(),
            too_many(),
            not_readable(),
        ])
    }
}

/// The car of the other examples, found.
pub(crate) mod examples {
    use serde_json::{Value, json};

    /// By a word of its model.
    pub(crate) fn found() -> Value {
        json!({
            "hits": [{
                "entity": {
                    "entityType": "Car",
                    "entityId": "car-006",
                    "version": 1,
                    "data": {"make": "Skoda"}
                },
                "score": 0.6,
                "highlights": {"data.model": ["<em>Octavia</em>"]}
            }],
            "total": {"value": 1, "exact": true},
            "facets": {"data.make": [{"value": "Skoda", "count": 1}]},
            "engine": "sqlite"
        })
    }
}
