//! `ListEntityHistory`: pages of an entity's updates, in both orders and by filters.

use producer_grpc::proto::v1::{
    Change, ChangeKind, EventHeader, EventRequest, ListEntityHistoryRequest,
    ListEntityHistoryResponse, Operation,
};
use prost::Message;

use crate::app::{Service, event_of, on_both};
use crate::history::{
    Client, history, invalid, list, live, moment, not_found, pages, update, uuid, versions,
};

/// The updates of all pages, of which some may be empty.
async fn matching(client: &mut Client, mut request: ListEntityHistoryRequest) -> Vec<Change> {
    let mut all = Vec::new();
    loop {
        let page = client.list_entity_history(request.clone()).await.expect("a page").into_inner();
        all.extend(page.updates);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn each_update_is_listed_with_what_its_event_said() {
    on_both(|service| async move {
        let event = EventRequest {
            event_header: Some(EventHeader {
                uuid: uuid(1),
                event_name: "CarSold".into(),
                created_date: "2024-01-15T10:30:00.5Z".into(),
                event_type: "sale".into(),
                source: "shop".into(),
                actor: "Ann".into(),
                ..EventHeader::default()
            }),
            ..event_of(
                "",
                vec![
                    update(Operation::Merge, "other", "{}"),
                    update(Operation::Replace, "a", r#"{ "a" : 1.50 }"#),
                ],
            )
        };
        service.client().await.process_event(event).await.expect("a receipt");
        let mut client = service.entities().await;
        let mut updates = history(&mut client, "a").await;
        assert!(updates[0].committed_at.take().is_some());
        let expected = Change {
            kind: ChangeKind::Change.into(),
            entity_type: "Car".into(),
            entity_id: "a".into(),
            version: 1,
            operation: Operation::Replace.into(),
            created: true,
            event_id: uuid(1),
            ordinal: Some(1),
            event_name: "CarSold".into(),
            event_type: "sale".into(),
            event_source: "shop".into(),
            event_actor: "Ann".into(),
            created_date: Some(moment(1_705_314_600_500_000)),
            committed_at: None,
            patch_json: r#"{ "a" : 1.50 }"#.into(),
            // for the change feed
            token: String::new(),
            data_json: None,
            data_version: None,
        };
        assert_eq!(updates, [expected]);
    })
    .await;
}

#[tokio::test]
async fn updates_are_listed_in_pages_in_both_orders() {
    on_both(|service| async move {
        live(&service, "a").await;
        let mut client = service.entities().await;
        for order_by in ["", "version", "version desc"] {
            for page_size in [1, 2, 4, 5, 6, 0, 1001, u64::MAX] {
                let request =
                    ListEntityHistoryRequest { order_by: order_by.into(), page_size, ..list("a") };
                let pages = pages(&mut client, &request).await;
                let whole = if matches!(page_size, 1..=5) { page_size } else { 5 };
                assert_eq!(pages.len() as u64, 5_u64.div_ceil(whole));
                let mut updates = pages.concat();
                if order_by == "version desc" {
                    updates.reverse();
                }
                assert_eq!(versions(&updates), [1, 2, 3, 4, 5], "{order_by} {page_size}");
                let operations: Vec<_> = updates.iter().map(Change::operation).collect();
                use Operation::{Delete, Merge};
                assert_eq!(operations, [Merge, Merge, Delete, Merge, Merge]);
                let created = updates.iter().map(|update| update.created);
                assert_eq!(created.collect::<Vec<_>>(), [true, false, false, true, false]);
                let ids = updates.iter().map(|update| update.event_id.clone());
                assert_eq!(ids.collect::<Vec<_>>(), (1..=5).map(uuid).collect::<Vec<_>>());
            }
        }
        let delete = event_of(&uuid(6), vec![update(Operation::Delete, "a", "")]);
        service.client().await.process_event(delete).await.expect("a receipt");
        assert_eq!(versions(&history(&mut client, "a").await), [1, 2, 3, 4, 5, 6]);
        assert_eq!(not_found(client.list_entity_history(list("never")).await), "no such entity");
    })
    .await;
}

#[tokio::test]
async fn updates_that_match_are_listed() {
    on_both(|service| async move {
        live(&service, "a").await;
        let mut client = service.entities().await;
        let all = history(&mut client, "a").await;
        for (filter, order_by) in [
            ("operation == 'merge'", "version"),
            ("operation != 'merge' || touches('data.a')", "version desc"),
            ("version == 100", ""),
        ] {
            let request = ListEntityHistoryRequest {
                filter: filter.into(),
                order_by: order_by.into(),
                page_size: 1,
                ..list("a")
            };
            let mut listed = matching(&mut client, request).await;
            if order_by == "version desc" {
                listed.reverse();
            }
            let expected = all.iter().filter(|change| match filter {
                "operation == 'merge'" => change.operation() == Operation::Merge,
                "version == 100" => false,
                _ => change.operation() != Operation::Merge || change.patch_json.contains("\"a\""),
            });
            assert_eq!(listed, expected.cloned().collect::<Vec<_>>(), "{filter}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_has_at_most_1000_updates() {
    let service = Service::start().await;
    let mut writer = service.client().await;
    for _ in 0..2 {
        let updates = vec![update(Operation::Merge, "a", "{}"); 600];
        writer.process_event(event_of("", updates)).await.expect("a receipt");
    }
    let mut client = service.entities().await;
    for (page_size, expected) in
        [(0, vec![100; 12]), (1000, vec![1000, 200]), (5000, vec![1000, 200])]
    {
        let request = ListEntityHistoryRequest { page_size, ..list("a") };
        let sizes = pages(&mut client, &request).await.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes, expected);
    }
}

#[tokio::test]
async fn a_page_ends_where_the_answer_would_pass_the_limit() {
    const MAX: usize = 16 << 10;
    let service = Service::start_with(&["--max-body-bytes", "16KiB"]).await;
    let mut writer = service.client().await;
    // some fill an answer alone, of others several fit
    for (number, size) in [100, 16_150, 5000, 5000, 5000, 5000, 100, 100].iter().enumerate() {
        let json = format!(r#"{{"a":"{}"}}"#, "x".repeat(*size));
        let event = event_of("", vec![update(Operation::Merge, "a", &json)]);
        writer.process_event(event).await.unwrap_or_else(|error| unreachable!("{number}: {error}"));
    }
    let mut client = service.entities().await;
    for (order_by, expected) in [("version", vec![1, 1, 3, 3]), ("version desc", vec![5, 1, 1, 1])]
    {
        let mut request = ListEntityHistoryRequest { order_by: order_by.into(), ..list("a") };
        let (mut sizes, mut listed) = (Vec::new(), Vec::new());
        loop {
            let page = client.list_entity_history(request.clone()).await.expect("a page");
            let page: ListEntityHistoryResponse = page.into_inner();
            assert!(page.encoded_len() <= MAX || page.updates.len() == 1, "{}", page.encoded_len());
            sizes.push(page.updates.len());
            listed.extend(versions(&page.updates));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(sizes, expected, "{order_by}");
        listed.sort_unstable();
        assert_eq!(listed, (1..=8).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn bad_lists_are_refused() {
    let service = Service::start().await;
    live(&service, "a").await;
    live_other(&service).await;
    let mut client = service.entities().await;
    let first = ListEntityHistoryRequest { page_size: 1, ..list("a") };
    let page = client.list_entity_history(first).await.expect("a page").into_inner();
    let token = page.next_page_token;
    let with = |page_token: &str, request: ListEntityHistoryRequest| ListEntityHistoryRequest {
        page_token: page_token.into(),
        ..request
    };
    let next = client.list_entity_history(with(&token, list("a"))).await.expect("a page");
    assert_eq!(versions(&next.into_inner().updates), [2, 3, 4, 5]);
    let descending = ListEntityHistoryRequest { order_by: "version desc".into(), ..list("a") };
    let truck = ListEntityHistoryRequest { entity_type: "Truck".into(), ..list("a") };
    for request in [
        with(&token, list("b")),
        with(&token, truck),
        with(&token, descending),
        with(&token[..token.len() - 1], list("a")),
        with(&format!("{token}A"), list("a")),
        with(&token.replacen('A', "B", 1), list("a")),
        with("2", list("a")),
        with(" ", list("a")),
        with("é", list("a")),
    ] {
        let message = invalid(client.list_entity_history(request).await, "page_token");
        assert_eq!(message, "/pageToken must be a token that a page of this list returned");
    }
    for order_by in ["version asc", "Version", "version  desc", "desc", "data.a", " "] {
        let request = ListEntityHistoryRequest { order_by: order_by.into(), ..list("a") };
        invalid(client.list_entity_history(request).await, "order_by");
    }
    let request = ListEntityHistoryRequest { filter: "created".into(), ..list("a") };
    let message = invalid(client.list_entity_history(request).await, "filter");
    assert!(message.starts_with("/filter is no filter: column "), "{message}");
    let filter = "version > 0".to_owned();
    let request = ListEntityHistoryRequest { filter, page_size: 1, ..list("a") };
    let page = client.list_entity_history(request).await.expect("a page").into_inner();
    for filter in ["", "version > 1"] {
        let request = ListEntityHistoryRequest { filter: filter.into(), ..list("a") };
        let request = with(&page.next_page_token, request);
        invalid(client.list_entity_history(request).await, "page_token");
    }
}

/// Another entity, so that a token of the first could be used for it.
async fn live_other(service: &Service) {
    let event = event_of("", vec![update(Operation::Merge, "b", "{}"); 2]);
    service.client().await.process_event(event).await.expect("a receipt");
}
