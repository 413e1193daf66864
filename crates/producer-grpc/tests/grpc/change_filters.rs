//! The field `filter` of `ListChanges` and `WatchChanges`.

use producer_grpc::proto::v1::change_item::Item;
use producer_grpc::proto::v1::{
    Change, ChangeKind, EntityUpdate, ListChangesRequest, Operation, WatchChangesRequest,
};

use crate::app::{Service, event_of, on_both};

const FILTER: &str = "type == 'Car' && data.n > 1";

async fn write(service: &Service, id: &str, operation: Operation, json: Option<&str>) {
    let update = EntityUpdate {
        entity_type: "Car".into(),
        entity_id: id.into(),
        operation: operation.into(),
        attributes_json: json.map(str::to_owned),
        ..EntityUpdate::default()
    };
    service.client().await.process_event(event_of("", vec![update])).await.expect("a receipt");
}

/// One that matches, does no more, does again and is deleted, and one that stays.
async fn live(service: &Service) {
    for json in [r#"{"n":2}"#, r#"{"n":1}"#, r#"{"n":3}"#] {
        write(service, "a", Operation::Merge, Some(json)).await;
    }
    write(service, "b", Operation::Replace, Some(r#"{"n":2}"#)).await;
    write(service, "a", Operation::Delete, None).await;
}

fn shown(item: &Item) -> String {
    match item {
        Item::Change(change) => {
            let kind = change.kind().as_str_name();
            format!("{kind} {}@{}", change.entity_id, change.version)
        }
        Item::Snapshot(entity) => format!("snapshot {}@{}", entity.entity_id, entity.version),
        Item::SnapshotEnd(_) => "end".into(),
        Item::Bookmark(_) => "bookmark".into(),
    }
}

async fn pages(service: &Service, mut request: ListChangesRequest) -> Vec<Item> {
    let (mut client, mut all) = (service.changes().await, Vec::new());
    loop {
        let page = client.list_changes(request.clone()).await.expect("a page").into_inner();
        all.extend(page.items.into_iter().map(|item| item.item.expect("a known item")));
        if page.caught_up {
            return all;
        }
        request.from = page.next_token;
    }
}

/// The items until now, but bookmarks.
async fn stream(service: &Service, from: &str, filter: &str) -> Vec<Item> {
    let request = WatchChangesRequest {
        from: from.into(),
        filter: filter.into(),
        include_data: true,
        until: "now".into(),
        ..WatchChangesRequest::default()
    };
    let mut client = service.changes().await;
    let mut items = client.watch_changes(request).await.expect("a stream").into_inner();
    let mut all = Vec::new();
    while let Some(item) = items.message().await.expect("no error") {
        all.extend(item.item.filter(|item| !matches!(item, Item::Bookmark(_))));
    }
    all
}

#[tokio::test]
async fn a_filter_lets_through_what_matches_and_says_what_has_left() {
    on_both(|service| async move {
        live(&service).await;
        let request = ListChangesRequest {
            filter: FILTER.into(),
            include_data: true,
            page_size: 1,
            ..ListChangesRequest::default()
        };
        let paged = pages(&service, request).await;
        let expected = [
            // the states are the last ones: a is deleted
            "CHANGE_KIND_LEFT a@2",
            "CHANGE_KIND_LEFT a@3",
            "CHANGE_KIND_CHANGE b@1",
            "CHANGE_KIND_LEFT a@4",
        ];
        assert_eq!(paged.iter().map(shown).collect::<Vec<_>>(), expected);
        assert_eq!(stream(&service, "start", FILTER).await, paged);
        let Item::Change(left) = &paged[0] else { panic!("{paged:?}") };
        let Change { kind, patch_json, data_json, data_version, .. } = left;
        assert_eq!((*kind, &**patch_json), (ChangeKind::Left.into(), r#"{"n":1}"#));
        assert_eq!((data_json, data_version), (&None, &None));
        let Item::Change(change) = &paged[2] else { panic!("{paged:?}") };
        let data = change.data_json.as_ref().map(|json| json.replace(' ', ""));
        assert_eq!((data.as_deref(), change.data_version), (Some(r#"{"n":2}"#), Some(1)));

        let snapshot = stream(&service, "snapshot", FILTER).await;
        assert_eq!(snapshot.iter().map(shown).collect::<Vec<_>>(), ["snapshot b@1", "end"]);
        // its token keeps the filter
        let Item::Snapshot(entity) = &snapshot[0] else { panic!("{snapshot:?}") };
        write(&service, "c", Operation::Merge, Some(r#"{"n":1}"#)).await;
        write(&service, "d", Operation::Merge, Some(r#"{"n":2}"#)).await;
        let rest = stream(&service, &entity.token, "").await;
        let expected = ["snapshot d@1", "end", "CHANGE_KIND_CHANGE d@1"];
        assert_eq!(rest.iter().map(shown).collect::<Vec<_>>(), expected);
    })
    .await;
}
