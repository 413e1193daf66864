//! `ListEntities` and `BatchGetEntities`.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use producer_grpc::proto::v1::entity_service_client::EntityServiceClient;
use producer_grpc::proto::v1::{
    BatchGetEntitiesRequest, Count, CountKind, DeleteEntityRequest, DeleteTypeRequest, Entity,
    EntityUpdate, EntityView, GetEntityRequest, IndexDefinition, ListEntitiesRequest,
    ListEntitiesResponse, ListTypesRequest, ReplaceTypeRequest, TypeDefinition,
};
use producer_test_support::Postgres;
use prost::Message;
use tonic::Code;
use tonic::transport::Channel;

use crate::app::{Service, error_info, event_of, on_both};
use crate::history::{invalid, refused};
use crate::raw::{framed, raw};

type Client = EntityServiceClient<Channel>;

const BATCH_GET: &str = "/producer.v1.EntityService/BatchGetEntities";
const ODD: &str = "a/50% \"\u{e4}";
const FOREIGN_TOKEN: &str = "/pageToken must be a token that a page of this list returned";

fn update(entity_type: &str, id: &str, json: &str) -> EntityUpdate {
    EntityUpdate {
        entity_type: entity_type.into(),
        entity_id: id.into(),
        attributes_json: Some(json.into()),
        ..EntityUpdate::default()
    }
}

async fn write(service: &Service, updates: Vec<EntityUpdate>) {
    service.client().await.process_event(event_of("", updates)).await.expect("a receipt");
}

/// Ten cars, of which one is deleted; entities of two other types, of which one sorts before and one behind.
async fn garage(service: &Service) {
    let car = |n| {
        let make = if n % 2 == 0 { "Skoda" } else { "Fiat" };
        let json = format!(r#"{{"n":{n},"make":"{make}","a":{{"b":[{n}]}}}}"#);
        update("Car", &format!("c{n}"), &json)
    };
    let others = [
        update("Auto", "c0", r#"{"n":0}"#),
        update("Van", "c0", r#"{"n":0}"#),
        update("Car", ODD, r#"{"make":"Skoda"}"#),
    ];
    write(service, (0..10).map(car).chain(others).collect()).await;
    let sold = DeleteEntityRequest {
        entity_type: "Car".into(),
        entity_id: "c9".into(),
        ..Default::default()
    };
    service.entities().await.delete_entity(sold).await.expect("deleted");
}

/// The ids of the cars that are there.
fn car_ids() -> Vec<String> {
    [ODD.to_owned()].into_iter().chain((0..9).map(|n| format!("c{n}"))).collect()
}

fn list(entity_type: &str) -> ListEntitiesRequest {
    ListEntitiesRequest { entity_type: entity_type.into(), ..ListEntitiesRequest::default() }
}

fn batch(ids: &[&str]) -> BatchGetEntitiesRequest {
    BatchGetEntitiesRequest {
        entity_type: "Car".into(),
        entity_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..BatchGetEntitiesRequest::default()
    }
}

async fn page(client: &mut Client, request: &ListEntitiesRequest) -> ListEntitiesResponse {
    client.list_entities(request.clone()).await.expect("a page").into_inner()
}

/// All pages of a list.
async fn pages(client: &mut Client, request: &ListEntitiesRequest) -> Vec<ListEntitiesResponse> {
    let (mut pages, mut request) = (Vec::new(), request.clone());
    loop {
        let page = page(client, &request).await;
        request.page_token.clone_from(&page.next_page_token);
        pages.push(page);
        if request.page_token.is_empty() {
            return pages;
        }
    }
}

async fn all(client: &mut Client, request: &ListEntitiesRequest) -> Vec<Entity> {
    pages(client, request).await.into_iter().flat_map(|page| page.entities).collect()
}

async fn got(client: &mut Client, request: BatchGetEntitiesRequest) -> Vec<Entity> {
    client.batch_get_entities(request).await.expect("entities").into_inner().entities
}

fn keys(entities: &[Entity]) -> Vec<String> {
    entities.iter().map(|it| format!("{}/{}", it.entity_type, it.entity_id)).collect()
}

fn ids(entities: &[Entity]) -> Vec<&str> {
    entities.iter().map(|it| it.entity_id.as_str()).collect()
}

/// Declares indexes of one path each.
async fn declare(service: &Service, name: &str, paths: &[&str]) {
    let index = |path: &&str| IndexDefinition { paths: vec![(*path).to_owned()] };
    let definition = TypeDefinition { indexes: paths.iter().map(index).collect(), search: None };
    let request = ReplaceTypeRequest {
        r#type: name.into(),
        definition: Some(definition),
        ..ReplaceTypeRequest::default()
    };
    service.types().await.replace_type(request).await.expect("declared");
}

#[tokio::test]
async fn a_list_has_every_entity_once() {
    on_both(|service| async move {
        garage(&service).await;
        let mut client = service.entities().await;
        let cars = page(&mut client, &list("Car")).await;
        assert_eq!((cars.next_page_token.as_str(), cars.count), ("", None));
        let listed: BTreeSet<_> = ids(&cars.entities).into_iter().map(String::from).collect();
        assert_eq!(listed, car_ids().into_iter().collect());
        for entity in &cars.entities {
            let (entity_type, entity_id) = (entity.entity_type.clone(), entity.entity_id.clone());
            let request =
                GetEntityRequest { entity_type, entity_id, ..GetEntityRequest::default() };
            let alone = client.get_entity(request).await.expect("an entity").into_inner();
            assert_eq!(*entity, alone);
        }
        let everything = all(&mut client, &list("")).await;
        assert_eq!(everything.len(), 12);
        for key in ["Auto/c0", "Van/c0"] {
            assert!(keys(&everything).iter().any(|listed| listed == key), "{key}");
        }
        for (entity_type, whole) in [("Car", &cars.entities), ("", &everything)] {
            for page_size in [1, 3, 10, 12, 1000, 1001, u64::MAX] {
                let request = ListEntitiesRequest { page_size, ..list(entity_type) };
                let pages = pages(&mut client, &request).await;
                assert!(pages.iter().all(|page| page.entities.len() as u64 <= page_size));
                let listed: Vec<_> = pages.into_iter().flat_map(|page| page.entities).collect();
                assert_eq!(listed, *whole, "{entity_type} {page_size}");
            }
        }
        let count = CountKind::Exact.into();
        let none = page(&mut client, &ListEntitiesRequest { count, ..list("Truck") }).await;
        let nothing = Some(Count { value: 0, exact: true });
        assert_eq!(none, ListEntitiesResponse { count: nothing, ..Default::default() });
    })
    .await;
}

#[tokio::test]
async fn every_field_narrows_or_shapes_the_list() {
    on_both(|service| async move {
        garage(&service).await;
        let mut client = service.entities().await;
        for (entity_type, filter, value) in [
            ("Car", "data.make == \"Skoda\"", 6),
            ("Car", "data.make == 'Skoda' && data.n >= 4", 3),
            ("Car", "id in [\"c1\", \"c9\", \"none\"]", 1),
            ("Car", "id.startsWith(\"c\") && version == 1", 9),
            ("Car", "type == \"Van\"", 0),
            ("Car", "data.a.b.exists(x, x > 6)", 2),
            ("", "type in [\"Van\", \"Auto\"]", 2),
            ("", "data.n < 1 && updatedAt > now - duration(\"1h\")", 3),
        ] {
            let request = ListEntitiesRequest {
                filter: filter.into(),
                count: CountKind::Exact.into(),
                ..list(entity_type)
            };
            for page_size in [0, 2] {
                let request = ListEntitiesRequest { page_size, ..request.clone() };
                let pages = pages(&mut client, &request).await;
                let found: u64 = pages.iter().map(|page| page.entities.len() as u64).sum();
                assert_eq!(found, value, "{filter}");
                for page in pages {
                    assert_eq!(page.count, Some(Count { value, exact: true }), "{filter}");
                }
            }
        }
        let mut descending = car_ids();
        descending.reverse();
        for (order_by, expected) in [("id", car_ids()), ("id desc", descending)] {
            let request =
                ListEntitiesRequest { order_by: order_by.into(), page_size: 3, ..list("Car") };
            assert_eq!(ids(&all(&mut client, &request).await), expected, "{order_by}");
        }
        let count = CountKind::Estimated.into();
        let request = ListEntitiesRequest { count, page_size: 1, ..list("Car") };
        assert!(page(&mut client, &request).await.count.is_some());
    })
    .await;
}

#[tokio::test]
async fn only_the_named_members_are_returned() {
    on_both(|service| async move {
        garage(&service).await;
        let mut client = service.entities().await;
        let whole = got(&mut client, batch(&["c3"])).await.remove(0);
        assert!(whole.created_at.is_some() && whole.updated_at.is_some());
        let bare =
            Entity { entity_type: "Car".into(), entity_id: "c3".into(), ..Entity::default() };
        let json = |text: &str| Entity { attributes_json: text.into(), ..bare.clone() };
        for (fields, expected) in [
            ("type,id", bare.clone()),
            ("version", Entity { version: 1, ..bare.clone() }),
            ("createdAt", Entity { created_at: whole.created_at, ..bare.clone() }),
            ("updatedAt,entityId", Entity { updated_at: whole.updated_at, ..bare.clone() }),
            ("data.a.b,data.none", json(r#"{"a":{"b":[3]}}"#)),
            ("data[\"make\"]", json(r#"{"make":"Fiat"}"#)),
            ("data.none", json("{}")),
        ] {
            let mut found = got(
                &mut client,
                BatchGetEntitiesRequest { fields: fields.into(), ..batch(&["c3"]) },
            )
            .await;
            found[0].attributes_json.retain(|c| c != ' ');
            assert_eq!(found, std::slice::from_ref(&expected), "{fields}");
            let filter = "id == 'c3'".into();
            let request = ListEntitiesRequest { fields: fields.into(), filter, ..list("Car") };
            let mut listed = all(&mut client, &request).await;
            listed[0].attributes_json.retain(|c| c != ' ');
            assert_eq!(listed, [expected], "{fields}");
        }
        let all =
            got(&mut client, BatchGetEntitiesRequest { fields: "data".into(), ..batch(&["c3"]) });
        assert_eq!(all.await, [json(&whole.attributes_json)]);
    })
    .await;
}

#[tokio::test]
async fn documents_come_in_the_requested_view() {
    let service = Service::start().await;
    let deep = format!("{}1{}", r#"{"a":"#.repeat(31), "}".repeat(31));
    write(
        &service,
        vec![
            update("Car", "plain", r#"{"a":[1.5,null],"b":"x"}"#),
            update("Car", "deep", &deep),
            update("Car", "big", r#"{"a":1e399,"b":"x"}"#),
        ],
    )
    .await;
    let mut client = service.entities().await;
    let view = EntityView::Struct.into();
    let order_by = "id".into();
    let listed = all(&mut client, &ListEntitiesRequest { view, order_by, ..list("Car") }).await;
    let asked = ["big", "deep", "plain"];
    assert_eq!(got(&mut client, BatchGetEntitiesRequest { view, ..batch(&asked) }).await, listed);
    // one that no Struct can carry must not break the list
    for (entity, json) in listed.iter().zip([r#"{"a":1e399,"b":"x"}"#, &deep]) {
        assert_eq!((entity.attributes_json.as_str(), &entity.attributes), (json, &None));
    }
    let Entity { attributes, attributes_json, .. } = &listed[2];
    let fields = |attributes: &Option<prost_types::Struct>| {
        attributes.as_ref().map(|it| it.fields.keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!(
        (fields(attributes), attributes_json.as_str()),
        (Some(vec!["a".into(), "b".into()]), "")
    );
    let shown = BatchGetEntitiesRequest { view, fields: "data.b".into(), ..batch(&asked) };
    let shown = got(&mut client, shown).await;
    let shown: Vec<_> = shown.iter().map(|entity| fields(&entity.attributes)).collect();
    assert_eq!(shown, [Some(vec!["b".to_owned()]), Some(vec![]), Some(vec!["b".into()])]);
}

#[tokio::test]
async fn entities_are_returned_in_the_order_of_their_ids() {
    on_both(|service| async move {
        garage(&service).await;
        let mut client = service.entities().await;
        let found = got(&mut client, batch(&["c5", "none", ODD, "c9", "c1", "c5"])).await;
        assert_eq!(ids(&found), ["c5", ODD, "c1", "c5"]);
        assert_eq!(got(&mut client, batch(&[])).await, []);
        assert_eq!(got(&mut client, batch(&["c1"; 100])).await.len(), 100);
        let more = client.batch_get_entities(batch(&["c1"; 101])).await;
        assert_eq!(invalid(more, "entity_ids"), "/entityIds must have at most 100 items");
    })
    .await;
}

#[tokio::test]
async fn bad_fields_are_named() {
    let service = Service::start().await;
    garage(&service).await;
    let mut client = service.entities().await;
    let long = "x".repeat(256);
    for (name, value, rule) in [
        ("filter", "data.n = 1", "/filter is no filter: column 8: "),
        ("filter", "data.n == 1 AND true", "/filter is no filter: column 13: "),
        ("filter", "versoin == 1", "/filter is no filter: column 1: "),
        ("filter", "version == \"3\"", "/filter is no filter: column 12: "),
        ("filter", "operation == \"merge\"", "/filter is no filter: column 1: "),
        ("order_by", "total", "/orderBy must be id, version, "),
        ("order_by", "data.a[0]", "/orderBy has an error at column 7"),
        ("page_token", "AAAA", FOREIGN_TOKEN),
        ("fields", ",", "/fields must name fields with commas"),
        (
            "fields",
            "verson",
            "/fields must name known fields; \"verson\" is none, the nearest is version",
        ),
        ("count", "", "/count must be COUNT_KIND_EXACT or COUNT_KIND_ESTIMATED"),
        ("entity_type", "..", "/entityType must not be . or .."),
        ("entity_type", &long, "/entityType must have at most 255 characters"),
    ] {
        let mut request = list("Car");
        match name {
            "filter" => request.filter = value.into(),
            "order_by" => request.order_by = value.into(),
            "page_token" => request.page_token = value.into(),
            "fields" => request.fields = value.into(),
            "count" => request.count = 3,
            _ => request.entity_type = value.into(),
        }
        let message = invalid(client.list_entities(request).await, name);
        assert!(message.starts_with(rule), "{name} {value}: {message}");
    }
    let all_types = ListEntitiesRequest { order_by: "id".into(), ..list("") };
    let message = invalid(client.list_entities(all_types).await, "order_by");
    assert!(message.starts_with("/orderBy must not be given for all types"), "{message}");
    let request = BatchGetEntitiesRequest { fields: "n".into(), ..batch(&["c1"]) };
    invalid(client.batch_get_entities(request).await, "fields");
    let request = BatchGetEntitiesRequest { entity_type: String::new(), ..batch(&[]) };
    let message = invalid(client.batch_get_entities(request).await, "entity_type");
    assert_eq!(message, "/entityType must not be empty");
    let (code, reason, fields, message) =
        refused(client.batch_get_entities(batch(&["c1", "", ".", &long])).await);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "MALFORMED"));
    assert_eq!(fields, ["entity_ids[1]", "entity_ids[2]", "entity_ids[3]"]);
    assert_eq!(message, "/entityIds/1 must not be empty (and 2 more)");
}

#[tokio::test]
async fn a_list_has_the_order_that_was_asked_for() {
    on_both(|service| async move {
        garage(&service).await;
        let mut client = service.entities().await;
        let make = ["c1", "c3", "c5", "c7", ODD, "c0", "c2", "c4", "c6", "c8"];
        let numbered = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];
        let (mut make_reversed, mut reversed) = (make, numbered);
        make_reversed.reverse();
        reversed.reverse();
        let orders: [(&str, &[&str]); 6] = [
            ("data.n", &numbered),
            ("data.n desc", &reversed),
            ("data.make", &make),
            ("data[\"make\"] desc", &make_reversed),
            ("data.a.b", &[]),
            ("data.none", &[]),
        ];
        for by_index in [false, true] {
            if by_index {
                declare(&service, "Car", &["data.n", "data.make"]).await;
                service.start_builder();
                service.until_ready("Car").await;
            }
            for (order_by, expected) in orders {
                for page_size in [1, 4, 0] {
                    let order_by = order_by.to_owned();
                    let request = ListEntitiesRequest { order_by, page_size, ..list("Car") };
                    let listed = all(&mut client, &request).await;
                    assert_eq!(ids(&listed), expected, "{request:?}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_order_of_many_entities_needs_an_index() {
    on_both(|service| async move {
        let loan = |n: u32| update("Loan", &format!("l{n}"), &format!(r#"{{"balance":{n}}}"#));
        for thousand in 0..11 {
            write(&service, (0..1000).map(|n| loan(1000 * thousand + n)).collect()).await;
        }
        let mut client = service.entities().await;
        let order_by = "data.balance desc".into();
        let ordered = ListEntitiesRequest { order_by, page_size: 2, ..list("Loan") };
        let (code, reason, fields, message) = refused(client.list_entities(ordered.clone()).await);
        assert_eq!(
            (code, reason.as_str(), fields),
            (Code::FailedPrecondition, "TOO_EXPENSIVE", vec![])
        );
        assert!(message.contains(r#"add "data.balance" to the indexes"#), "{message}");
        assert!(!message.contains("/api/"), "no route of REST: {message}");
        declare(&service, "Loan", &["data.balance"]).await;
        let message = invalid(client.list_entities(ordered.clone()).await, "order_by");
        assert!(message.starts_with("/orderBy must wait for an index"), "{message}");
        service.start_builder();
        service.until_ready("Loan").await;
        let first = page(&mut client, &ordered).await;
        assert_eq!(ids(&first.entities), ["l10999", "l10998"]);
        let next = ListEntitiesRequest { page_token: first.next_page_token, ..ordered };
        assert_eq!(ids(&page(&mut client, &next).await.entities), ["l10997", "l10996"]);
        // the index of the page's token is dropped
        let request = DeleteTypeRequest { r#type: "Loan".into(), ..DeleteTypeRequest::default() };
        service.types().await.delete_type(request).await.expect("deleted");
        let message = invalid(client.list_entities(next).await, "page_token");
        assert!(message.contains("begin again"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn a_token_is_of_one_list() {
    let service = Service::start().await;
    garage(&service).await;
    let mut client = service.entities().await;
    let filter = "data.n >= 0".to_owned();
    let first = ListEntitiesRequest { filter, page_size: 2, ..list("Car") };
    let page_token = page(&mut client, &first).await.next_page_token;
    let next = ListEntitiesRequest { page_token: page_token.clone(), page_size: 0, ..first };
    // another size, other fields, another view and counting are of the same list
    let same = ListEntitiesRequest {
        fields: "id".into(),
        count: CountKind::Exact.into(),
        view: EntityView::Struct.into(),
        ..next.clone()
    };
    assert_eq!(page(&mut client, &same).await.entities.len(), 7);
    for other in [
        ListEntitiesRequest { filter: String::new(), ..next.clone() },
        ListEntitiesRequest { filter: "data.n >= 1".into(), ..next.clone() },
        ListEntitiesRequest { order_by: "id".into(), ..next.clone() },
        ListEntitiesRequest { entity_type: String::new(), ..next.clone() },
        ListEntitiesRequest { entity_type: "Van".into(), ..next.clone() },
    ] {
        assert_eq!(invalid(client.list_entities(other).await, "page_token"), FOREIGN_TOKEN);
    }
    let types = ListTypesRequest { page_size: 0, page_token };
    let types = service.types().await.list_types(types).await;
    assert_eq!(invalid(types, "page_token"), FOREIGN_TOKEN);
}

#[tokio::test]
async fn a_page_ends_at_the_largest_message() {
    let service = Service::start_with(&["--max-body-bytes", "64KiB"]).await;
    let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(20_000));
    for n in 0..10 {
        write(&service, vec![update("Car", &format!("c{n}"), &text)]).await;
    }
    let mut client = service.entities().await;
    let pages = pages(&mut client, &ListEntitiesRequest { page_size: 1000, ..list("Car") }).await;
    assert_eq!(pages.iter().map(|page| page.entities.len()).collect::<Vec<_>>(), [3, 3, 3, 1]);
    assert!(pages.iter().all(|page| page.encoded_len() < 64 << 10));
    let asked = ["c0", "c1", "c2", "c3"];
    assert_eq!(got(&mut client, batch(&asked[..3])).await.len(), 3);
    let (code, reason, fields, message) = refused(client.batch_get_entities(batch(&asked)).await);
    assert_eq!(
        (code, reason.as_str(), fields),
        (Code::FailedPrecondition, "TOO_EXPENSIVE", vec![])
    );
    assert!(message.starts_with("only the first 3 of these entities fit"), "{message}");
}

/// An array of digits is the document whose Struct is the largest beside its text.
#[tokio::test]
async fn a_page_of_structs_ends_at_the_largest_message() {
    let service = Service::start_with(&["--max-body-bytes", "64KiB"]).await;
    let digits = format!(r#"{{"a":[{}1]}}"#, "0,".repeat(1500));
    for n in 0..10 {
        write(&service, vec![update("Car", &format!("c{n}"), &digits)]).await;
    }
    let mut client = service.entities().await;
    let request = ListEntitiesRequest { view: EntityView::Struct.into(), ..list("Car") };
    let pages = pages(&mut client, &request).await;
    let lengths: Vec<_> = pages.iter().map(Message::encoded_len).collect();
    assert!(lengths.iter().all(|length| *length < 64 << 10), "{lengths:?}");
    assert!(pages.len() < 6, "{lengths:?}");
    assert_eq!(pages.iter().map(|page| page.entities.len()).sum::<usize>(), 10);
}

#[tokio::test]
async fn an_entity_larger_than_a_page_comes_alone() {
    let service = Service::start_with(&["--max-body-bytes", "1KiB"]).await;
    let half = "x".repeat(700);
    for name in ["a", "b"] {
        write(&service, vec![update("Car", "c0", &format!(r#"{{"{name}":"{half}"}}"#))]).await;
    }
    let mut client = service.entities().await;
    for view in [EntityView::Json.into(), EntityView::Struct.into()] {
        let request = ListEntitiesRequest { view, ..list("Car") };
        assert_eq!(ids(&all(&mut client, &request).await), ["c0"]);
        let request = BatchGetEntitiesRequest { view, ..batch(&["c0"]) };
        assert_eq!(ids(&got(&mut client, request).await), ["c0"]);
    }
}

#[tokio::test]
async fn a_request_full_of_ids_is_too_large() {
    let service = Service::start().await;
    let body = framed(0, &[0x12, 0].repeat(200_000));
    let status = raw(service.address, BATCH_GET, &[], body).await;
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::OutOfRange, "TOO_LARGE")
    );
    let undecodable = raw(service.address, BATCH_GET, &[], framed(0, &[0x12, 9])).await;
    assert_eq!(undecodable.code(), Code::InvalidArgument);
    assert_eq!(error_info(&undecodable).reason, "MALFORMED");
}

#[tokio::test]
async fn lists_that_wait_too_long_for_their_turn_are_refused() {
    let server = tokio::task::spawn_blocking(Postgres::own).await.expect("a server");
    let database = server.fresh_database().await;
    let service = Service::on(database.url(), &["--request-timeout", "3s"]).await;
    garage(&service).await;
    let client = service.entities().await;
    server.freeze();
    let calls = (0..12).map(|_| {
        let mut client = client.clone();
        async move { client.list_entities(list("Car")).await }
    });
    let answers = join_all(calls).await;
    server.thaw();
    let mut refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert!(refused.clone().all(|status| status.code() == Code::Unavailable), "{answers:?}");
    let overloaded = refused.any(|status| error_info(status).reason == "OVERLOADED");
    assert!(overloaded, "{answers:?}");
}
