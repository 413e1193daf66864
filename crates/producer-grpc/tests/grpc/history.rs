//! Entities as they were: `GetEntity` at a version or a time, `ListEntityHistory`, `DiffEntity`,
//! `GetEntityProvenance`.

use std::time::Duration;

use producer_core::store::DatabaseUrl;
use producer_core::{Clock, Timestamp};
use producer_grpc::proto::v1::entity_service_client::EntityServiceClient;
use producer_grpc::proto::v1::{
    Change, DiffEntityRequest, DiffEntityResponse, Entity, EntityUpdate, EntityView, EventHeader,
    EventRequest, GetEntityProvenanceRequest, GetEntityRequest, LeafOrigin,
    ListEntityHistoryRequest, ListEntityHistoryResponse, Operation,
};
use producer_maintenance::{Database, prune};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::app::{Service, error_info, event_of, on_both};

pub(crate) type Client = EntityServiceClient<Channel>;

pub(crate) fn uuid(number: usize) -> String {
    format!("550e8400-e29b-41d4-a716-44665544000{number}")
}

pub(crate) fn update(operation: Operation, id: &str, json: &str) -> EntityUpdate {
    EntityUpdate {
        entity_type: "Car".into(),
        entity_id: id.into(),
        operation: operation.into(),
        attributes_json: Some(json.into()),
        ..EntityUpdate::default()
    }
}

/// Five versions of `id`: two merges, a delete, and two merges that make it anew.
pub(crate) async fn live(service: &Service, id: &str) {
    let mut client = service.client().await;
    for (number, (operation, json)) in (1..).zip([
        (Operation::Merge, r#"{"a":1,"b":{"c":1}}"#),
        (Operation::Merge, r#"{ "b":{"c":null,"d":[1]}}"#),
        (Operation::Delete, ""),
        (Operation::Merge, r#"{"a":1,"e":{}}"#),
        (Operation::Merge, r#"{"a":1.0}"#),
    ]) {
        let event = event_of(&uuid(number), vec![update(operation, id, json)]);
        client.process_event(event).await.expect("a receipt");
    }
}

fn read(id: &str) -> GetEntityRequest {
    GetEntityRequest {
        entity_type: "Car".into(),
        entity_id: id.into(),
        ..GetEntityRequest::default()
    }
}

pub(crate) fn list(id: &str) -> ListEntityHistoryRequest {
    ListEntityHistoryRequest {
        entity_type: "Car".into(),
        entity_id: id.into(),
        ..ListEntityHistoryRequest::default()
    }
}

fn diff(id: &str, from: u64, to: Option<u64>) -> DiffEntityRequest {
    DiffEntityRequest { entity_type: "Car".into(), entity_id: id.into(), from, to }
}

fn provenance(id: &str, path: &str) -> GetEntityProvenanceRequest {
    GetEntityProvenanceRequest {
        entity_type: "Car".into(),
        entity_id: id.into(),
        path: path.into(),
    }
}

/// The status of a call that is refused, its reason, the fields that its details name, and its message.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
) -> (Code, String, Vec<String>, String) {
    let status = answer.expect_err("a refusal");
    let details = status.get_details_bad_request();
    let fields = details.into_iter().flat_map(|it| it.field_violations).map(|one| one.field);
    (status.code(), error_info(&status).reason, fields.collect(), status.message().to_owned())
}

/// A request that is refused for one of its fields; returns the message.
#[track_caller]
pub(crate) fn invalid<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    field: &str,
) -> String {
    let (code, reason, fields, message) = refused(answer);
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "MALFORMED"), "{message}");
    assert_eq!(fields, [field], "{message}");
    message
}

#[track_caller]
pub(crate) fn not_found<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> String {
    let (code, reason, fields, message) = refused(answer);
    assert_eq!((code, reason.as_str(), fields), (Code::NotFound, "NOT_FOUND", vec![]));
    message
}

/// What pruning has deleted.
#[track_caller]
pub(crate) fn gone<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> String {
    let (code, reason, fields, message) = refused(answer);
    assert_eq!((code, reason.as_str(), fields), (Code::OutOfRange, "GONE", vec![]));
    message
}

/// All pages of a list; each has at least one update.
pub(crate) async fn pages(
    client: &mut Client,
    request: &ListEntityHistoryRequest,
) -> Vec<Vec<Change>> {
    let (mut pages, mut request) = (Vec::new(), request.clone());
    loop {
        let page = client.list_entity_history(request.clone()).await.expect("a page").into_inner();
        assert!(!page.updates.is_empty());
        pages.push(page.updates);
        if page.next_page_token.is_empty() {
            return pages;
        }
        request.page_token = page.next_page_token;
    }
}

pub(crate) async fn history(client: &mut Client, id: &str) -> Vec<Change> {
    pages(client, &list(id)).await.concat()
}

pub(crate) fn versions(updates: &[Change]) -> Vec<u64> {
    updates.iter().map(|update| update.version).collect()
}

fn micros(moment: prost_types::Timestamp) -> i64 {
    moment.seconds * 1_000_000 + i64::from(moment.nanos) / 1000
}

pub(crate) fn moment(micros: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1000).expect("below a second");
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

fn version_and_data(entity: &Entity) -> (u64, String) {
    (entity.version, entity.attributes_json.replace(' ', ""))
}

#[tokio::test]
async fn an_entity_is_read_as_it_was() {
    on_both(|service| async move {
        live(&service, "a").await;
        let mut client = service.entities().await;
        let times: Vec<_> =
            history(&mut client, "a").await.into_iter().map(|update| update.committed_at).collect();
        for (version, data) in [
            (1, Some(r#"{"a":1,"b":{"c":1}}"#)),
            (2, Some(r#"{"a":1,"b":{"d":[1]}}"#)),
            (3, None),
            (4, Some(r#"{"a":1,"e":{}}"#)),
            (5, Some(r#"{"a":1.0,"e":{}}"#)),
        ] {
            let at = times[version - 1];
            let number = version as u64;
            let by_version = GetEntityRequest { version: Some(number), ..read("a") };
            // digits past the microsecond don't make it a later one
            let nanos = at.map(|at| prost_types::Timestamp { nanos: at.nanos + 999, ..at });
            let by_time = [at, nanos].map(|at| GetEntityRequest { at, ..read("a") });
            for request in [vec![by_version], by_time.to_vec()].concat() {
                let answer = client.get_entity(request.clone()).await;
                let Some(data) = data else {
                    assert_eq!(not_found(answer), "the entity did not exist then");
                    continue;
                };
                let entity = answer.expect("an entity").into_inner();
                assert_eq!(version_and_data(&entity), (number, data.to_owned()));
                let made = if version < 3 { 1 } else { 4 };
                assert_eq!((entity.created_at, entity.updated_at), (times[made - 1], at));
                let same = service.client().await.get_entity(request).await.expect("an entity");
                assert_eq!(entity, same.into_inner());
            }
        }
        let view = EntityView::Struct.into();
        for request in [
            GetEntityRequest { version: Some(2), view, ..read("a") },
            GetEntityRequest { at: times[1], view, ..read("a") },
        ] {
            let entity = client.get_entity(request).await.expect("an entity").into_inner();
            assert_eq!((entity.version, entity.attributes_json.as_str()), (2, ""));
            let fields = entity.attributes.expect("a Struct").fields;
            assert_eq!(fields.keys().collect::<Vec<_>>(), ["a", "b"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_moment_that_the_entity_did_not_see_is_not_found() {
    on_both(|service| async move {
        live(&service, "a").await;
        let mut client = service.entities().await;
        let first = history(&mut client, "a").await[0].committed_at.map(micros).expect("a time");
        let before = Some(moment(first - 1));
        for (request, message) in [
            (
                GetEntityRequest { version: Some(6), ..read("a") },
                "the entity has no such version yet",
            ),
            (
                GetEntityRequest { version: Some(u64::MAX), ..read("a") },
                "the entity has no such version yet",
            ),
            (GetEntityRequest { at: before, ..read("a") }, "the entity did not exist then"),
            (GetEntityRequest { version: Some(1), ..read("never") }, "no such entity"),
            (GetEntityRequest { at: before, ..read("never") }, "no such entity"),
        ] {
            assert_eq!(not_found(client.get_entity(request).await), message);
        }
        let latest = moment(253_402_300_799_999_999);
        let request = GetEntityRequest { at: Some(latest), ..read("a") };
        let entity = client.get_entity(request).await.expect("an entity").into_inner();
        assert_eq!(entity.version, 5);
    })
    .await;
}

#[tokio::test]
async fn a_bad_version_or_time_is_named() {
    let service = Service::start().await;
    live(&service, "a").await;
    let mut client = service.entities().await;
    let at = |seconds, nanos| GetEntityRequest {
        at: Some(prost_types::Timestamp { seconds, nanos }),
        ..read("a")
    };
    for (request, field, message) in [
        (
            GetEntityRequest { version: Some(0), ..read("a") },
            "version",
            "/version must be 1 or more",
        ),
        (
            GetEntityRequest { version: Some(1), ..at(1, 0) },
            "at",
            "/at must not be given beside version",
        ),
        (at(-62_135_596_801, 0), "at", "/at must lie in the years 0001 to 9999"),
        (at(253_402_300_800, 0), "at", "/at must lie in the years 0001 to 9999"),
        (at(i64::MIN, 0), "at", "/at must lie in the years 0001 to 9999"),
        (at(i64::MAX, 999_999_999), "at", "/at must lie in the years 0001 to 9999"),
        (at(1, -1), "at", "/at must have nanos from 0 to 999,999,999"),
        (at(1, 1_000_000_000), "at", "/at must have nanos from 0 to 999,999,999"),
    ] {
        assert_eq!(invalid(client.get_entity(request.clone()).await, field), message);
        let other = service.client().await.get_entity(request).await;
        assert_eq!(invalid(other, field), message);
    }
}

/// What a comparison says: the patch, and each leaf with both texts.
fn shown(difference: DiffEntityResponse) -> (u64, u64, String, Vec<String>) {
    let text = |json: Option<String>| json.map_or("-".to_owned(), |json| json.replace(' ', ""));
    let changes = difference.changes.into_iter().map(|change| {
        format!("{} {} {}", change.path, text(change.from_json), text(change.to_json))
    });
    let changes = changes.collect();
    (difference.from, difference.to, difference.patch_json.replace(' ', ""), changes)
}

#[tokio::test]
async fn two_versions_are_compared() {
    on_both(|service| async move {
        live(&service, "a").await;
        let mut client = service.entities().await;
        for (from, to, expected) in [
            (
                1,
                Some(2),
                (2, r#"{"b":{"c":null,"d":[1]}}"#, vec!["data.b.c 1 -", "data.b.d - [1]"]),
            ),
            (2, Some(1), (1, r#"{"b":{"c":1,"d":null}}"#, vec!["data.b.c - 1", "data.b.d [1] -"])),
            (2, None, (5, r#"{"b":null,"e":{}}"#, vec!["data.b.d [1] -", "data.e - {}"])),
            (4, Some(5), (5, "{}", vec![])),
            (5, None, (5, "{}", vec![])),
        ] {
            let answer = client.diff_entity(diff("a", from, to)).await.expect("a comparison");
            let (answered_from, answered_to, patch, changes) = shown(answer.into_inner());
            let (to, expected_patch, expected_changes) = expected;
            assert_eq!((answered_from, answered_to, patch.as_str()), (from, to, expected_patch));
            assert_eq!(changes, expected_changes);
        }
        for request in [
            diff("a", 3, None),
            diff("a", 1, Some(3)),
            diff("a", 6, Some(1)),
            diff("a", 1, Some(6)),
            diff("never", 1, Some(2)),
            diff("never", 1, None),
        ] {
            not_found(client.diff_entity(request).await);
        }
        invalid(client.diff_entity(diff("a", 0, Some(1))).await, "from");
        invalid(client.diff_entity(diff("a", 1, Some(0))).await, "to");
        let delete = event_of(&uuid(6), vec![update(Operation::Delete, "a", "")]);
        service.client().await.process_event(delete).await.expect("a receipt");
        not_found(client.diff_entity(diff("a", 1, None)).await);
        client.diff_entity(diff("a", 1, Some(5))).await.expect("a comparison");
    })
    .await;
}

async fn origins(client: &mut Client, id: &str, path: &str) -> Vec<LeafOrigin> {
    let answer = client.get_entity_provenance(provenance(id, path)).await;
    answer.expect("origins").into_inner().paths
}

/// Each path and the version that wrote it, 0 for none.
fn written(origins: &[LeafOrigin]) -> Vec<(&str, u64)> {
    let by = |origin: &LeafOrigin| origin.version.unwrap_or_default();
    origins.iter().map(|origin| (origin.path.as_str(), by(origin))).collect()
}

#[tokio::test]
async fn each_leaf_names_the_update_that_wrote_it() {
    on_both(|service| async move {
        live(&service, "a").await;
        let mut client = service.entities().await;
        let event = EventRequest {
            event_header: Some(EventHeader {
                event_name: "CarSold".into(),
                source: "shop".into(),
                actor: "Ann".into(),
                ..EventHeader::default()
            }),
            ..event_of("", vec![update(Operation::Merge, "a", r#"{"odd key":{"x":1}}"#)])
        };
        let receipt = service.client().await.process_event(event).await.expect("a receipt");
        let all = [("data.a", 5), ("data.e", 4), (r#"data["odd key"].x"#, 6)];
        for path in ["", "data"] {
            assert_eq!(written(&origins(&mut client, "a", path).await), all);
        }
        for path in [r#"data["odd key"]"#, r#"data["odd key"].x"#] {
            assert_eq!(written(&origins(&mut client, "a", path).await), all[2..]);
        }
        assert_eq!(origins(&mut client, "a", "data.b").await, []);
        let last = origins(&mut client, "a", r#"data["odd key"]"#).await.remove(0);
        let expected = LeafOrigin {
            path: r#"data["odd key"].x"#.into(),
            version: Some(6),
            event_id: receipt.into_inner().event_id,
            event_name: "CarSold".into(),
            event_source: "shop".into(),
            event_actor: "Ann".into(),
            committed_at: history(&mut client, "a").await[5].committed_at,
        };
        assert_eq!(last, expected);

        for (path, column) in
            [("data.", 5), ("data.a[0]", 7), ("database", 5), (r#"data["a"#, 5), ("data.a b", 7)]
        {
            let answer = client.get_entity_provenance(provenance("a", path)).await;
            let message = invalid(answer, "path");
            assert!(message.contains(&format!("column {column}:")), "{path}: {message}");
        }
        let answer = client.get_entity_provenance(provenance("a", "balance")).await;
        assert_eq!(invalid(answer, "path"), "/path must begin with data");
        let delete = event_of("", vec![update(Operation::Delete, "a", "")]);
        service.client().await.process_event(delete).await.expect("a receipt");
        for id in ["a", "never"] {
            not_found(client.get_entity_provenance(provenance(id, "")).await);
        }
    })
    .await;
}

/// Prunes what was committed up to `last`.
pub(crate) async fn prune_up_to(service: &Service, last: &Change) {
    let url = service.app.settings.common.database().url;
    let database = Database::from(DatabaseUrl::parse(url.as_deref()).expect("a valid URL"));
    let age = Duration::from_secs(1);
    let now = last.committed_at.map(micros).expect("a time") + 1_000_001;
    let clock = Clock::from_fn(move || Timestamp::from_micros(now));
    prune::prune(&database, age, &clock, &mut |_| {}).await.expect("pruned");
}

#[tokio::test]
async fn what_pruning_deleted_is_out_of_range() {
    on_both(|service| async move {
        let mut writer = service.client().await;
        for json in [r#"{"a":1,"b":1}"#, r#"{"a":2}"#, r#"{"a":3}"#, r#"{"c":4}"#] {
            let event = event_of("", vec![update(Operation::Merge, "a", json)]);
            writer.process_event(event).await.expect("a receipt");
        }
        let mut client = service.entities().await;
        let first = ListEntityHistoryRequest { page_size: 1, ..list("a") };
        let first = client.list_entity_history(first).await.expect("a page").into_inner();
        let updates = history(&mut client, "a").await;
        prune_up_to(&service, &updates[2]).await;

        let message =
            gone(client.get_entity(GetEntityRequest { version: Some(2), ..read("a") }).await);
        assert_eq!(message, "the log is kept from version 3 on; what was before is pruned");
        let at = updates[1].committed_at;
        assert_eq!(gone(client.get_entity(GetEntityRequest { at, ..read("a") }).await), message);
        assert_eq!(gone(client.diff_entity(diff("a", 1, None)).await), message);
        let page_token = first.next_page_token;
        let next = ListEntityHistoryRequest { page_token, ..list("a") };
        assert_eq!(gone(client.list_entity_history(next).await), message);

        for (version, data) in [(3, r#"{"a":3,"b":1}"#), (4, r#"{"a":3,"b":1,"c":4}"#)] {
            let request = GetEntityRequest { version: Some(version), ..read("a") };
            let entity = client.get_entity(request).await.expect("an entity").into_inner();
            assert_eq!(version_and_data(&entity), (version, data.to_owned()));
            assert_eq!(entity.created_at, updates[0].committed_at);
        }
        assert_eq!(history(&mut client, "a").await, updates[3..]);
        let origins = origins(&mut client, "a", "").await;
        assert_eq!(written(&origins), [("data.a", 0), ("data.b", 0), ("data.c", 4)]);
        assert_eq!(origins[0], LeafOrigin { path: "data.a".into(), ..LeafOrigin::default() });

        // to the last: the state is kept, and no update
        prune_up_to(&service, &updates[3]).await;
        let page = client.list_entity_history(list("a")).await.expect("a page").into_inner();
        assert_eq!(page, ListEntityHistoryResponse::default());
        let request = GetEntityRequest { version: Some(4), ..read("a") };
        client.get_entity(request).await.expect("an entity");
    })
    .await;
}

#[tokio::test]
async fn an_answer_far_larger_than_its_document_is_too_expensive() {
    let service = Service::start().await;
    let leaves: Vec<_> = (0..1000).map(|leaf| format!(r#""{leaf}":1"#)).collect();
    let json = format!(r#"{{"{}":{{{}}},"a":1}}"#, "x".repeat(100 << 10), leaves.join(","));
    let event = event_of("", vec![update(Operation::Merge, "a", &json)]);
    service.client().await.process_event(event).await.expect("a receipt");
    let mut client = service.entities().await;
    let (code, reason, _, message) =
        refused(client.get_entity_provenance(provenance("a", "")).await);
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "TOO_EXPENSIVE"));
    assert!(message.contains("path"), "{message}");
    assert_eq!(origins(&mut client, "a", "data.a").await.len(), 1);
}

#[tokio::test]
async fn bad_keys_are_refused_and_an_unreachable_database_is_unavailable() {
    on_both(|service| async move {
        live(&service, "a").await;
        let mut client = service.entities().await;
        let field = "entity_id";
        invalid(client.get_entity(GetEntityRequest { version: Some(1), ..read("") }).await, field);
        invalid(client.list_entity_history(list("..")).await, field);
        invalid(client.diff_entity(diff("", 1, None)).await, field);
        invalid(client.get_entity_provenance(provenance(&"x".repeat(256), "")).await, field);

        service.app.store.close().await;
        let unavailable = |status: Status| {
            assert_eq!(error_info(&status).reason, "UNAVAILABLE");
            assert!(status.get_details_retry_info().is_some());
            status.code()
        };
        let read = GetEntityRequest { version: Some(1), ..read("a") };
        for status in [
            client.get_entity(read).await.expect_err("503"),
            client.list_entity_history(list("a")).await.expect_err("503"),
            client.diff_entity(diff("a", 1, None)).await.expect_err("503"),
            client.get_entity_provenance(provenance("a", "")).await.expect_err("503"),
        ] {
            assert_eq!(unavailable(status), Code::Unavailable);
        }
    })
    .await;
}
