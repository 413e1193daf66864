//! Conditions of writes of one entity: `expected_version`, `exists` and `condition`.

use producer_grpc::proto::v1::entity_service_client::EntityServiceClient;
use producer_grpc::proto::v1::{
    CreateEntityRequest, DeleteEntityRequest, GetEntityRequest, MergeEntityRequest,
    ReplaceEntityRequest, WriteEntityResponse,
};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::app::{error_info, on_both};
use crate::entity_writes::{UUID, create, delete, document, fields, made, merge, replace, uuid};

/// `expected_version`, `exists` and `condition`.
type Conditions = (Option<u64>, Option<bool>, &'static str);

/// A write of an entity on a condition.
async fn attempt(
    mut client: EntityServiceClient<Channel>,
    method: &str,
    id: &str,
    (expected_version, exists, condition): Conditions,
) -> Result<Response<WriteEntityResponse>, Status> {
    let (json, condition) = (r#"{"new":1}"#, condition.to_owned());
    match method {
        "replace" => {
            let request = replace(id, json);
            let request = ReplaceEntityRequest { expected_version, exists, condition, ..request };
            client.replace_entity(request).await
        }
        "merge" => {
            let request = merge(id, json);
            let request = MergeEntityRequest { expected_version, exists, condition, ..request };
            client.merge_entity(request).await
        }
        _ => {
            let request = delete(id);
            let request = DeleteEntityRequest { expected_version, exists, condition, ..request };
            client.delete_entity(request).await
        }
    }
}

#[tokio::test]
async fn conditions_are_judged_before_anything_is_written() {
    const OK: (Code, &str) = (Code::Ok, "");
    const NOT_FOUND: (Code, &str) = (Code::NotFound, "");
    const VERSION: (Code, &str) = (Code::Aborted, "expected_version");
    const EXISTS: (Code, &str) = (Code::Aborted, "exists");
    const CONDITION: (Code, &str) = (Code::Aborted, "condition");
    const OLD: &str = "data.old == 1 && !has(data.new)";
    const NEW: &str = "data.new == 1 || version != 2";
    // of a replace, and of a merge or delete: the status and its field, if there is no entity and if it
    // has version 2
    let cases = [
        ((None, None, ""), [OK, OK], [NOT_FOUND, OK]),
        ((Some(2), None, ""), [VERSION, OK], [VERSION, OK]),
        ((Some(1), None, ""), [VERSION, VERSION], [VERSION, VERSION]),
        ((Some(u64::MAX), None, ""), [VERSION, VERSION], [VERSION, VERSION]),
        ((None, Some(true), ""), [EXISTS, OK], [EXISTS, OK]),
        ((None, Some(false), ""), [OK, EXISTS], [NOT_FOUND, EXISTS]),
        ((None, None, OLD), [CONDITION, OK], [NOT_FOUND, OK]),
        ((None, None, NEW), [CONDITION, CONDITION], [NOT_FOUND, CONDITION]),
        ((Some(2), None, OLD), [VERSION, OK], [VERSION, OK]),
        ((Some(2), None, NEW), [VERSION, CONDITION], [VERSION, CONDITION]),
        ((Some(1), None, NEW), [VERSION, VERSION], [VERSION, VERSION]),
        ((None, Some(true), NEW), [EXISTS, CONDITION], [EXISTS, CONDITION]),
        ((None, Some(false), OLD), [CONDITION, EXISTS], [NOT_FOUND, EXISTS]),
    ];
    let cases = cases.iter().flat_map(|(condition, of_replace, of_others)| {
        let of = [("replace", of_replace), ("merge", of_others), ("delete", of_others)];
        of.map(|(method, [absent, there])| {
            [(*condition, method, None, *absent), (*condition, method, Some(2), *there)]
        })
    });
    let cases: Vec<_> = cases.flatten().collect();
    on_both(|service| {
        let cases = cases.clone();
        async move {
            let mut client = service.entities().await;
            for (condition, method, version, expected) in cases {
                let id = format!("{method} {condition:?} {version:?}");
                for _ in 0..version.unwrap_or_default() {
                    made(client.replace_entity(replace(&id, r#"{"old":1}"#)).await);
                }
                let before = document(&service, &id).await;
                let Err(status) = attempt(client.clone(), method, &id, condition).await else {
                    assert_eq!(expected, OK, "{id}");
                    assert_ne!(document(&service, &id).await, before, "{id}");
                    continue;
                };
                assert_eq!((status.code(), &*fields(&status).concat()), expected, "{id}: {status}");
                assert_eq!(document(&service, &id).await, before, "{id}");
                let info = error_info(&status);
                assert!(info.metadata.contains_key("event_id"), "{id}");
                if status.code() == Code::Aborted {
                    assert_eq!(info.reason, "PRECONDITION_FAILED");
                    let current = info.metadata.get("current_version").cloned();
                    assert_eq!(current, version.map(|version: u64| version.to_string()), "{id}");
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_created_entity_must_be_new() {
    on_both(|service| async move {
        let mut client = service.entities().await;
        made(client.replace_entity(replace(UUID, "{}")).await);
        let request = CreateEntityRequest { event_header: uuid(UUID), ..create("{}") };
        let status = client.create_entity(request).await.expect_err("412");
        assert_eq!(status.code(), Code::Aborted);
        assert_eq!(error_info(&status).metadata["current_version"], "1");
        assert_eq!(status.message(), "the entity exists already, with version 1");
    })
    .await;
}

/// Raises `n` by one, as often as it must until nobody else wrote between its read and its write.
async fn increment(mut client: EntityServiceClient<Channel>) -> u64 {
    loop {
        let read = GetEntityRequest {
            entity_type: "Car".into(),
            entity_id: "1".into(),
            ..GetEntityRequest::default()
        };
        let entity = client.get_entity(read).await.expect("it is there").into_inner();
        let document: serde_json::Value =
            serde_json::from_str(&entity.attributes_json).expect("JSON");
        let next = document["n"].as_u64().expect("a number") + 1;
        let request = MergeEntityRequest {
            expected_version: Some(entity.version),
            ..merge("1", &format!(r#"{{"n":{next}}}"#))
        };
        match client.merge_entity(request).await {
            Ok(answer) => return answer.into_inner().version,
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status}"),
        }
    }
}

#[tokio::test]
async fn each_version_has_one_winner() {
    const CLIENTS: usize = 16;
    on_both(|service| async move {
        let client = service.entities().await;
        made(client.clone().replace_entity(replace("1", r#"{"n":0}"#)).await);
        let tasks: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(increment(client.clone()))).collect();
        let mut versions = Vec::new();
        for task in tasks {
            versions.push(task.await.expect("no panic"));
        }
        versions.sort_unstable();
        assert_eq!(versions, (2..).take(CLIENTS).collect::<Vec<_>>());
        let text = format!(r#"{{"n":{CLIENTS}}}"#);
        assert_eq!(document(&service, "1").await, Some((CLIENTS as u64 + 1, text)));
    })
    .await;
}
