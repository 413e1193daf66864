//! `SearchService`.

use producer_grpc::proto::v1::search_service_client::SearchServiceClient;
use producer_grpc::proto::v1::{
    Count, DeleteEntityRequest, EntityUpdate, EntityView, ReplaceTypeRequest, SearchDefinition,
    SearchFacet, SearchFacetValue, SearchHighlight, SearchHit, SearchPath, SearchRequest,
    SearchResponse, TypeDefinition,
};
use tonic::Code;
use tonic::transport::Channel;

use crate::app::{Service, error_info, event_of, on_both};
use crate::history::{invalid, refused};
use crate::raw::{framed, raw};

type Client = SearchServiceClient<Channel>;

async fn write(service: &Service, entity_type: &str, documents: &[(&str, &str)]) {
    let update = |(id, json): &(&str, &str)| EntityUpdate {
        entity_type: entity_type.into(),
        entity_id: (*id).into(),
        attributes_json: Some((*json).into()),
        ..EntityUpdate::default()
    };
    let updates = documents.iter().map(update).collect();
    service.client().await.process_event(event_of("", updates)).await.expect("a receipt");
}

/// Declares the search of a type: `title` counts most.
async fn declare(service: &Service, name: &str, language: &str) {
    let path = |(path, weight): (&str, u32)| SearchPath { path: path.into(), weight };
    let paths = [("data.title", 4), ("data.text", 1)].map(path).to_vec();
    let search = SearchDefinition { paths, language: language.into() };
    let definition = TypeDefinition { indexes: vec![], search: Some(search) };
    let request = ReplaceTypeRequest {
        r#type: name.into(),
        definition: Some(definition),
        ..ReplaceTypeRequest::default()
    };
    service.types().await.replace_type(request).await.expect("declared");
}

/// Books that are searched, half of them written before the search was declared.
async fn library(service: &Service) {
    let books = [
        ("b1", r#"{"title":"The Hunger Games","year":2008,"tags":["war","youth"],"text":"arena"}"#),
        ("b2", r#"{"title":"Game of Thrones","year":1996,"tags":["war"],"text":"houses"}"#),
        ("b3", r#"{"title":"Arena","year":2008.0,"tags":["youth"],"text":"the hunger of games"}"#),
        ("b4", r#"{"title":"Lists","year":2012,"text":"arena"}"#),
    ];
    write(service, "Book", &books[..2]).await;
    declare(service, "Book", "english").await;
    service.start_builder();
    service.until_ready("Book").await;
    write(service, "Book", &books[2..]).await;
    write(service, "Shelf", &[("s1", r#"{"title":"hunger games"}"#)]).await;
}

fn query(text: &str) -> SearchRequest {
    SearchRequest { query: text.into(), ..SearchRequest::default() }
}

async fn find(client: &mut Client, request: SearchRequest) -> SearchResponse {
    client.search(request).await.expect("hits").into_inner()
}

fn ids(page: &SearchResponse) -> Vec<&str> {
    page.hits.iter().map(|hit| hit.entity.as_ref().expect("an entity").entity_id.as_str()).collect()
}

fn exactly(value: u64) -> Option<Count> {
    Some(Count { value, exact: true })
}

#[tokio::test]
async fn entities_are_found_by_their_words() {
    on_both(|service| async move {
        library(&service).await;
        let mut client = service.search().await;
        for (text, mut expected) in [
            ("game", vec!["b1", "b2", "b3"]),
            ("hunger games", vec!["b1", "b3"]),
            ("\"hunger games\"", vec!["b1"]),
            ("games -hunger", vec!["b2"]),
            ("thrones OR lists", vec!["b2", "b4"]),
            ("are*", vec!["b1", "b3", "b4"]),
            ("nothing", vec![]),
            ("", vec!["b1", "b2", "b3", "b4"]),
        ] {
            let page = find(&mut client, query(text)).await;
            assert_eq!(page.total, exactly(expected.len() as u64), "{text}");
            assert_eq!(page.next_page_token, "", "{text}");
            let mut found = ids(&page);
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{text}");
        }
        let page = find(&mut client, query("arena")).await;
        assert_eq!(ids(&page)[0], "b3", "its title counts most");
        assert!(page.hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
        assert!(["postgresql", "sqlite"].contains(&page.engine.as_str()), "{}", page.engine);
        let entity = page.hits[0].entity.as_ref().expect("an entity");
        assert_eq!((entity.entity_type.as_str(), entity.version), ("Book", 1));
        assert!(entity.created_at.is_some() && entity.attributes_json.contains("Arena"));

        // what an answered write did is found
        write(&service, "Book", &[("b4", r#"{"text":"a throne"}"#)]).await;
        assert_eq!(ids(&find(&mut client, query("throne")).await).len(), 2);
        let sold = DeleteEntityRequest {
            entity_type: "Book".into(),
            entity_id: "b2".into(),
            ..DeleteEntityRequest::default()
        };
        service.entities().await.delete_entity(sold).await.expect("deleted");
        assert_eq!(ids(&find(&mut client, query("throne")).await), ["b4"]);
    })
    .await;
}

#[tokio::test]
async fn every_field_narrows_or_shapes_the_answer() {
    on_both(|service| async move {
        library(&service).await;
        let mut client = service.search().await;
        let filter = "data.year == 2008".to_owned();
        let of_year = SearchRequest { filter: filter.clone(), ..query("games") };
        assert_eq!(find(&mut client, of_year.clone()).await.total, exactly(2));
        for types in [vec!["Book".to_owned()], vec!["Book".into(), "Book".into()]] {
            let page = find(&mut client, SearchRequest { types, ..of_year.clone() }).await;
            assert_eq!(page.total, exactly(2));
        }

        // a facet ignores the condition on its own path
        let facets = ["data.year:2", "data.tags", "data.none"].map(String::from).to_vec();
        let page = find(&mut client, SearchRequest { facets, ..of_year }).await;
        let value = |value: &str, count| SearchFacetValue { value_json: value.into(), count };
        let facet =
            |path: &str, values: Vec<SearchFacetValue>| SearchFacet { path: path.into(), values };
        assert_eq!(page.facets[0].values[0].count, 2);
        assert!(["2008", "2008.0"].contains(&page.facets[0].values[0].value_json.as_str()));
        assert_eq!(page.facets[0].values[1], value("1996", 1));
        let tags = facet("data.tags", vec![value("\"youth\"", 2), value("\"war\"", 1)]);
        assert_eq!(page.facets[1..], [tags, facet("data.none", vec![])]);

        let highlighted = SearchRequest { highlight: true, ..query("\"hunger games\"") };
        let page = find(&mut client, highlighted).await;
        let fragments = vec!["The <em>Hunger</em> <em>Games</em>".to_owned()];
        assert_eq!(
            page.hits[0].highlights,
            [SearchHighlight { path: "data.title".into(), fragments }]
        );

        let view = EntityView::Struct.into();
        let shaped = SearchRequest { view, fields: "version,data.year".into(), ..query("thrones") };
        let page = find(&mut client, shaped).await;
        let SearchHit { entity, highlights, .. } = &page.hits[0];
        let entity = entity.as_ref().expect("an entity");
        assert_eq!((entity.version, entity.created_at, highlights.len()), (1, None, 0));
        let fields = &entity.attributes.as_ref().expect("a Struct").fields;
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["year"]);
    })
    .await;
}

#[tokio::test]
async fn hits_come_page_by_page() {
    on_both(|service| async move {
        library(&service).await;
        let mut client = service.search().await;
        let whole = find(&mut client, query("arena OR games")).await;
        assert_eq!(whole.hits.len(), 4);
        for page_size in [1, 3, 4, 100, 101, u64::MAX] {
            let mut request = SearchRequest { page_size, ..query("arena OR games") };
            let mut hits = Vec::new();
            loop {
                let page = find(&mut client, request.clone()).await;
                assert!(page.hits.len() as u64 <= page_size);
                assert_eq!(page.total, exactly(4));
                hits.extend(page.hits);
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(hits, whole.hits, "{page_size}");
        }
        let first = SearchRequest { page_size: 1, ..query("arena") };
        let page_token = find(&mut client, first).await.next_page_token;
        let other = SearchRequest { page_token, ..query("games") };
        let message = invalid(client.search(other).await, "page_token");
        assert!(message.starts_with("/pageToken must be a token"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_searched_is_refused_by_its_field() {
    on_both(|service| async move {
        library(&service).await;
        let mut client = service.search().await;
        let types = |name: &str| SearchRequest { types: vec![name.into()], ..query("a") };
        let facets = |texts: &[&str]| SearchRequest {
            facets: texts.iter().map(|text| (*text).to_owned()).collect(),
            ..query("a")
        };
        for (request, field, rule) in [
            (query(&"x".repeat(1025)), "query", "/query must have at most 1024 bytes"),
            (types("Shelf"), "types", "/types \"Shelf\" has no search in its definition"),
            (types(""), "types", "/types \"\" has no search"),
            (SearchRequest { filter: "a".into(), ..query("") }, "filter", "/filter is no filter"),
            (SearchRequest { fields: "a".into(), ..query("") }, "fields", "/fields must name"),
            (
                SearchRequest { page_token: "x".into(), ..query("") },
                "page_token",
                "/pageToken must be a token",
            ),
            (facets(&["data.a", "a"]), "facets[1]", "/facets/1 "),
            (facets(&["data.a:0"]), "facets[0]", "/facets/0 must return at least one value"),
            (facets(&["data.a"; 9]), "facets", "/facets must occur at most 8 times"),
        ] {
            let message = invalid(client.search(request).await, field);
            assert!(message.starts_with(rule), "{field}: {message}");
        }
        let fuzzy = SearchRequest { fuzzy: true, ..query("a") };
        let (code, reason, fields, _) = refused(client.search(fuzzy).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "VALIDATION"));
        assert_eq!(fields, ["fuzzy"]);
        let body = framed(0, &[0x12, 0].repeat(200_000));
        let status = raw(service.address, "/producer.v1.SearchService/Search", &[], body).await;
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(error_info(&status).reason, "TOO_LARGE");
    })
    .await;
}

#[tokio::test]
async fn a_search_that_is_being_built_says_so() {
    on_both(|service| async move {
        write(&service, "Book", &[("b1", r#"{"title":"arena"}"#)]).await;
        declare(&service, "Book", "").await;
        let mut client = service.search().await;
        let named = SearchRequest { types: vec!["Book".into()], ..query("arena") };
        let message = invalid(client.search(named.clone()).await, "types");
        assert!(message.starts_with("/types \"Book\" is being built for search"), "{message}");
        let without = find(&mut client, query("arena")).await;
        assert_eq!(
            (without.hits.len(), without.total),
            (0, Some(Count { value: 0, exact: false }))
        );
        service.start_builder();
        service.until_ready("Book").await;
        assert_eq!(ids(&find(&mut client, named).await), ["b1"]);
    })
    .await;
}
