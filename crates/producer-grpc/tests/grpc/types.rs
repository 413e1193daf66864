//! `TypeService`.

use producer_grpc::proto::v1::type_service_client::TypeServiceClient;
use producer_grpc::proto::v1::{
    Count, DeleteEntityRequest, DeleteTypeRequest, DeleteTypeResponse, EntityUpdate,
    GetTypeRequest, IndexDefinition, ListTypesRequest, ReplaceTypeRequest, ReplaceTypeResponse,
    SearchDefinition, SearchPath, Type, TypeDefinition, TypePart, TypePartKind, TypePartProgress,
    TypePartStatus, TypeSummary,
};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::app::{Service, error_info, event_of, on_both, reflected};
use crate::history::{invalid, not_found, refused};
use crate::raw::{framed, raw};

type Client = TypeServiceClient<Channel>;

fn index(paths: &[&str]) -> IndexDefinition {
    IndexDefinition { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
}

fn indexes(indexes: &[&[&str]]) -> TypeDefinition {
    TypeDefinition { indexes: indexes.iter().map(|paths| index(paths)).collect(), search: None }
}

fn search(paths: &[(&str, u32)], language: &str) -> TypeDefinition {
    let path = |(path, weight): &(&str, u32)| SearchPath { path: (*path).into(), weight: *weight };
    let paths = paths.iter().map(path).collect();
    let search = SearchDefinition { paths, language: language.into() };
    TypeDefinition { indexes: vec![], search: Some(search) }
}

fn replace(definition: TypeDefinition) -> ReplaceTypeRequest {
    ReplaceTypeRequest {
        r#type: "Car".into(),
        definition: Some(definition),
        ..ReplaceTypeRequest::default()
    }
}

fn get() -> GetTypeRequest {
    GetTypeRequest { r#type: "Car".into() }
}

fn delete() -> DeleteTypeRequest {
    DeleteTypeRequest { r#type: "Car".into(), ..DeleteTypeRequest::default() }
}

async fn replaced(client: &mut Client, request: ReplaceTypeRequest) -> (Type, bool) {
    let answer = client.replace_type(request).await.expect("replaced").into_inner();
    let ReplaceTypeResponse { r#type, created } = answer;
    (r#type.expect("a type"), created)
}

fn statuses(found: &Type) -> Vec<TypePartStatus> {
    found.parts.iter().map(TypePart::status).collect()
}

async fn write(service: &Service, entity_type: &str, id: &str, json: &str) {
    let update = EntityUpdate {
        entity_type: entity_type.into(),
        entity_id: id.into(),
        attributes_json: Some(json.into()),
        ..EntityUpdate::default()
    };
    let mut client = service.client().await;
    client.process_event(event_of("", vec![update])).await.expect("a receipt");
}

#[tokio::test]
async fn a_definition_is_kept_and_built() {
    on_both(|service| async move {
        write(&service, "Car", "c1", r#"{"total":1}"#).await;
        let mut client = service.types().await;
        assert_eq!(not_found(client.get_type(get()).await), "the type has no definition");
        let asked = indexes(&[&["data[\"total\"]"], &["data.customerId", "createdAt"]]);
        let (first, created) = replaced(&mut client, replace(asked.clone())).await;
        assert!(created && first.version > 0 && first.created_at.is_some());
        let expected = indexes(&[&["data.total"], &["data.customerId", "createdAt"]]);
        let part = |paths: &IndexDefinition| TypePart {
            kind: TypePartKind::Index.into(),
            paths: paths.paths.clone(),
            status: TypePartStatus::Building.into(),
            progress: Some(TypePartProgress { done: 0, total: None }),
        };
        assert_eq!(
            first,
            Type {
                r#type: "Car".into(),
                version: first.version,
                created_at: first.created_at,
                updated_at: first.created_at,
                parts: expected.indexes.iter().map(part).collect(),
                definition: Some(expected),
            }
        );
        assert_eq!(client.get_type(get()).await.expect("a definition").into_inner(), first);

        service.start_builder();
        let ready = service.until_ready("Car").await;
        assert_eq!((ready.version, ready.parts[0].progress), (first.version, None));
        // what is the same changes nothing
        assert_eq!(replaced(&mut client, replace(asked.clone())).await, (ready, false));
        let mut more = asked;
        more.indexes.push(index(&["updatedAt"]));
        let (second, created) = replaced(&mut client, replace(more)).await;
        assert!(!created && second.version > first.version);
        assert_eq!(statuses(&second)[..2], [TypePartStatus::Ready; 2]);
        service.until_ready("Car").await;

        let deleted = client.delete_type(delete()).await.expect("deleted").into_inner();
        assert_eq!(deleted, DeleteTypeResponse {});
        assert_eq!(not_found(client.get_type(get()).await), "the type has no definition");
        assert_eq!(not_found(client.delete_type(delete()).await), "the type has no definition");
        let (_, data) = service.entity("Car", "c1").await.expect("entities stay");
        assert_eq!(data.replace(' ', ""), r#"{"total":1}"#);
        let (anew, created) = replaced(&mut client, replace(TypeDefinition::default())).await;
        assert!(created && anew.version > second.version && anew.parts.is_empty());
    })
    .await;
}

#[tokio::test]
async fn the_paths_of_a_search_have_weights_and_no_order() {
    on_both(|service| async move {
        let mut client = service.types().await;
        let asked = search(&[("data.title", 4), ("data.a.text", 1), ("data.b", 2)], "");
        let (first, _) = replaced(&mut client, replace(asked)).await;
        let expected = search(&[("data.title", 4), ("data.b", 2), ("data.a.text", 1)], "simple");
        assert_eq!(first.definition, Some(expected.clone()));
        assert_eq!(first.parts[0].kind(), TypePartKind::Search);
        assert_eq!(first.parts[0].paths, ["data.title", "data.b", "data.a.text"]);
        let (second, _) = replaced(&mut client, replace(expected)).await;
        assert_eq!(second, first, "it is the same part");
    })
    .await;
}

/// A condition that did not hold; returns the version of the definition and the message.
#[track_caller]
fn unmet<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> (Option<u64>, String) {
    let status = answer.expect_err("a refusal");
    let info = error_info(&status);
    assert_eq!((status.code(), info.reason.as_str()), (Code::Aborted, "PRECONDITION_FAILED"));
    let version = info.metadata.get("current_version");
    (version.map(|text| text.parse().expect("a version")), status.message().to_owned())
}

#[tokio::test]
async fn conditions_are_of_the_version() {
    on_both(|service| async move {
        let mut client = service.types().await;
        let a = || replace(indexes(&[&["data.a"]]));
        let b = || replace(indexes(&[&["data.b"]]));
        for (expected_version, exists) in [(None, Some(true)), (Some(1), None)] {
            let request = ReplaceTypeRequest { expected_version, exists, ..a() };
            let (version, message) = unmet(client.replace_type(request).await);
            assert_eq!(version, None);
            assert!(message.contains("the definition does not exist"), "{message}");
            let request = DeleteTypeRequest { expected_version, exists, ..delete() };
            assert_eq!(unmet(client.delete_type(request).await).0, None);
        }
        let exists = Some(false);
        let (first, created) = replaced(&mut client, ReplaceTypeRequest { exists, ..a() }).await;
        assert!(created);
        let again = client.replace_type(ReplaceTypeRequest { exists, ..b() }).await;
        let (version, message) = unmet(again);
        assert_eq!(version, Some(first.version));
        assert!(message.contains("the definition exists already"), "{message}");
        let expected_version = Some(first.version);
        let (same, _) = replaced(&mut client, ReplaceTypeRequest { expected_version, ..a() }).await;
        assert_eq!(same.version, first.version);
        let (second, _) =
            replaced(&mut client, ReplaceTypeRequest { expected_version, ..b() }).await;
        let late = client.replace_type(ReplaceTypeRequest { expected_version, ..a() }).await;
        assert_eq!(unmet(late).0, Some(second.version));
        let late = DeleteTypeRequest { expected_version, ..delete() };
        assert_eq!(unmet(client.delete_type(late).await).0, Some(second.version));
        let expected_version = Some(second.version);
        let deleted = DeleteTypeRequest { expected_version, ..delete() };
        client.delete_type(deleted).await.expect("deleted");
    })
    .await;
}

#[tokio::test]
async fn a_definition_that_breaks_rules_is_refused_with_field_paths() {
    let service = Service::start().await;
    let mut client = service.types().await;
    let many: Vec<_> = (0..17).map(|n| format!("data.i{n}")).collect();
    let many: Vec<_> = many.iter().map(|path| [path.as_str()]).collect();
    let many: Vec<&[&str]> = many.iter().map(|paths| &paths[..]).collect();
    for (definition, field, detail) in [
        (
            indexes(&[&["total"]]),
            "definition.indexes[0].paths[0]",
            "must be createdAt, updatedAt or a path below data",
        ),
        (
            indexes(&[&["data.a"], &["data.a"]]),
            "definition.indexes[1]",
            "must not be declared twice",
        ),
        (indexes(&[&[]]), "definition.indexes[0]", "must have at least one path"),
        (
            indexes(&many),
            "definition.indexes[16]",
            "must not be there: a type has at most 16 indexes",
        ),
        (indexes(&[&["data.b"], &["data.a[0]"]]), "definition.indexes[1].paths[0]", "array"),
        (search(&[], ""), "definition.search.paths", "must have at least one path"),
        (
            search(&[("data.s", 1), ("data.t", 5)], ""),
            "definition.search.paths[1]",
            "must be a weight of 1 to 4",
        ),
        (search(&[("data.t", 0)], ""), "definition.search.paths[0]", "must be a weight of 1 to 4"),
        (search(&[("data.t", 1)], "klingon"), "definition.search.language", "must be a language"),
    ] {
        let status = client.replace_type(replace(definition)).await.expect_err("a refusal");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(error_info(&status).reason, "VALIDATION");
        let broken = status.get_details_bad_request().expect("a BadRequest").field_violations;
        assert_eq!(broken.len(), 1, "{field}: {broken:?}");
        assert_eq!(broken[0].field, field);
        assert!(broken[0].description.contains(detail), "{field}: {broken:?}");
    }
    let bad = ReplaceTypeRequest {
        r#type: "..".into(),
        expected_version: Some(0),
        ..replace(indexes(&[&["a"], &["b"]]))
    };
    let (code, reason, fields, message) = refused(client.replace_type(bad).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "VALIDATION"));
    let paths = ["definition.indexes[0].paths[0]", "definition.indexes[1].paths[0]"];
    assert_eq!(fields, [&["expected_version", "type"], &paths[..]].concat());
    assert_eq!(message, "/expectedVersion must be 1 or more (and 3 more)");
    let nothing = ReplaceTypeRequest { definition: None, ..replace(TypeDefinition::default()) };
    let (_, reason, fields, _) = refused(client.replace_type(nothing).await);
    assert_eq!((reason.as_str(), fields), ("VALIDATION", vec!["definition".to_owned()]));
    let both = ReplaceTypeRequest {
        expected_version: Some(1),
        exists: Some(true),
        ..replace(TypeDefinition::default())
    };
    let (_, reason, fields, _) = refused(client.replace_type(both).await);
    assert_eq!((reason.as_str(), fields), ("VALIDATION", vec!["exists".to_owned()]));
    not_found(client.get_type(get()).await);
}

#[tokio::test]
async fn names_and_sizes_have_the_rules_of_other_rpcs() {
    let service = Service::start().await;
    let mut client = service.types().await;
    for (name, rule) in [
        (String::new(), "/type must not be empty"),
        (".".into(), "/type must not be . or .."),
        ("x".repeat(256), "/type must have at most 255 characters"),
    ] {
        let answer = client.get_type(GetTypeRequest { r#type: name.clone() }).await;
        assert_eq!(invalid(answer, "type"), rule);
        let request = DeleteTypeRequest { r#type: name, ..delete() };
        let (code, reason, fields, message) = refused(client.delete_type(request).await);
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "VALIDATION"));
        assert_eq!((fields, message.as_str()), (vec!["type".to_owned()], rule));
    }
    let request = DeleteTypeRequest { expected_version: Some(0), ..delete() };
    let (_, _, fields, message) = refused(client.delete_type(request).await);
    assert_eq!(fields, ["expected_version"]);
    assert_eq!(message, "/expectedVersion must be 1 or more");
    // empty indexes, which are a dozen times as large when they are decoded
    let definition = [0x0a, 0].repeat(200_000);
    let mut body = vec![0x12];
    prost::encoding::encode_varint(definition.len() as u64, &mut body);
    body.extend(definition);
    let path = "/producer.v1.TypeService/ReplaceType";
    let status = raw(service.address, path, &[], framed(0, &body)).await;
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::OutOfRange, "TOO_LARGE")
    );
}

#[tokio::test]
async fn types_are_listed_page_by_page() {
    on_both(|service| async move {
        for name in ["Car", "Van", "a/50%", "Deleted"] {
            write(&service, name, "c1", "{}").await;
        }
        write(&service, "Car", "c2", "{}").await;
        let request = DeleteEntityRequest {
            entity_type: "Deleted".into(),
            entity_id: "c1".into(),
            ..DeleteEntityRequest::default()
        };
        service.entities().await.delete_entity(request).await.expect("deleted");
        let mut client = service.types().await;
        for name in ["Car", "Defined"] {
            let request =
                ReplaceTypeRequest { r#type: name.into(), ..replace(TypeDefinition::default()) };
            replaced(&mut client, request).await;
        }
        let summary = |name: &str, value, defined| TypeSummary {
            r#type: name.into(),
            entities: Some(Count { value, exact: false }),
            defined,
        };
        let expected = [
            summary("Car", 2, true),
            summary("Defined", 0, true),
            summary("Van", 1, false),
            summary("a/50%", 1, false),
        ];
        for page_size in [0, 1, 3, 4, 1001, u64::MAX] {
            let mut request = ListTypesRequest { page_size, page_token: String::new() };
            let mut listed = Vec::new();
            loop {
                let page = client.list_types(request.clone()).await.expect("a page").into_inner();
                assert!(page_size == 0 || page.types.len() as u64 <= page_size);
                listed.extend(page.types);
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
            assert_eq!(listed, expected, "{page_size}");
        }
        let forged = ListTypesRequest { page_size: 0, page_token: "x".into() };
        let message = invalid(client.list_types(forged).await, "page_token");
        assert_eq!(message, "/pageToken must be a token that a page of this list returned");
    })
    .await;
}

#[tokio::test]
async fn messages_have_the_names_of_the_rest_api() {
    let service = Service::start().await;
    for (name, message, fields) in [
        (
            "EntityService",
            "ListEntitiesRequest",
            "entityType filter orderBy pageSize pageToken fields count view",
        ),
        ("EntityService", "ListEntitiesResponse", "entities nextPageToken count"),
        ("TypeService", "Type", "type version createdAt updatedAt definition parts"),
        ("TypeService", "TypeDefinition", "indexes search"),
        ("TypeService", "SearchDefinition", "paths language"),
        ("TypeService", "TypePart", "kind paths status progress"),
        ("TypeService", "ListTypesResponse", "types nextPageToken"),
        ("TypeService", "TypeSummary", "type entities defined"),
        (
            "SearchService",
            "SearchRequest",
            "query types filter fields pageSize pageToken facets highlight fuzzy view",
        ),
        ("SearchService", "SearchResponse", "hits total facets engine nextPageToken indexedUpTo"),
        ("SearchService", "SearchHit", "entity score highlights"),
        (
            "WorkerService",
            "Connector",
            "name kind state token lagChanges lagSeconds caughtUp current lastError breaker deadLetters worker",
        ),
        ("WorkerService", "CurrentChange", "token entityType entityId tries"),
        ("WorkerService", "ConnectorError", "at detail"),
        (
            "WorkerService",
            "DeadLetter",
            "id sink source state token place entityType entityId version error tries firstAt lastAt message",
        ),
        ("WorkerService", "ListDeadLettersRequest", "sink source pageSize pageToken"),
        ("WorkerService", "ListDeadLettersResponse", "deadLetters nextPageToken"),
    ] {
        let messages = reflected(&service, &format!("producer.v1.{name}")).await;
        assert_eq!(messages[message].join(" "), fields, "{message}");
    }
}
