//! What the sink `opensearch` notices that is lost, and what it removes, on a real node.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::sync::Arc;

use producer_core::feed::{Cursor, SnapshotCursor, Token, Types};
use producer_opensearch::Marker;
use producer_worker::sink::{Kept, Sink};
use reqwest::Method;
use serde_json::json;
use support::opensearch::{EPOCH, FakePresent, Target, deleted, state, token};
use uuid::Uuid;

async fn checkpoint(sink: &dyn Sink, reached: u64, stored: u64) -> Kept {
    sink.checkpoint(&token(reached), &token(stored)).await.unwrap()
}

/// A target with two documents, whose snapshot is taken.
async fn filled() -> Target {
    let target = Target::new();
    assert_eq!(checkpoint(&*target.sink, 5, 5).await, Kept::Lost, "there is no marker");
    snapshot(&target).await;
    assert_eq!(checkpoint(&*target.sink, 7, 5).await, Kept::Everything);
    target
}

async fn snapshot(target: &Target) {
    begin_snapshot(&*target.sink).await;
    target.delivered(&[state("Car", "1", 1, "{}"), state("Van", "1", 1, "{}")]).await;
    let kept = in_snapshot(&*target.sink, Some("1")).await;
    assert_eq!(kept, Kept::Everything, "what is missing is being written");
    let present = FakePresent::of(&[("Car", "1"), ("Van", "1")]);
    target.sink.sweep(&present).await.unwrap();
}

async fn begin_snapshot(sink: &dyn Sink) {
    assert_eq!(in_snapshot(sink, None).await, Kept::Everything);
}

/// A checkpoint in a snapshot, behind this car.
async fn in_snapshot(sink: &dyn Sink, after: Option<&str>) -> Kept {
    let cursor = SnapshotCursor {
        position: 5,
        types: Types::all(),
        filter: None,
        after: after.map(|id| support::opensearch::key("Car", id)),
    };
    let reached = Token { epoch: EPOCH, cursor: Cursor::Snapshot(Arc::new(cursor)) };
    sink.checkpoint(&reached, &reached).await.unwrap()
}

/// Says so until a snapshot is taken, also to another worker.
async fn is_lost(target: &Target) {
    assert_eq!(checkpoint(&*target.sink, 9, 8).await, Kept::Lost);
    assert_eq!(checkpoint(&*target.again(), 9, 8).await, Kept::Lost);
    snapshot(target).await;
    assert_eq!(checkpoint(&*target.sink, 9, 8).await, Kept::Everything);
    assert!(target.document("Car", "1").await.is_some());
    assert_eq!(checkpoint(&*target.again(), 9, 8).await, Kept::Everything);
}

#[tokio::test]
async fn a_marker_says_what_is_there() {
    let target = filled().await;
    let marker = target.marker().await.unwrap();
    assert_eq!((marker.epoch.as_str(), marker.position), (&*EPOCH.to_string(), 7));
    assert_eq!((marker.types, marker.filter), (None, None));
    assert_eq!(marker.indexes["Car"].name, target.index("Car"));
    assert_eq!(marker.indexes.len(), 2);
    // an index that is made later
    target.delivered(&[state("Bus", "1", 1, "{}")]).await;
    assert_eq!(checkpoint(&*target.sink, 8, 7).await, Kept::Everything);
    let marker = target.marker().await.unwrap();
    assert_eq!((marker.indexes.len(), marker.position), (3, 8));
    // another worker goes on
    assert_eq!(checkpoint(&*target.again(), 8, 8).await, Kept::Everything);
    assert_eq!(target.marker().await.unwrap(), marker);
}

#[tokio::test]
async fn what_was_written_is_seen_after_a_checkpoint() {
    let target = filled().await;
    target.delivered(&[state("Car", "2", 1, "{}"), deleted("Car", "1", 2)]).await;
    checkpoint(&*target.sink, 9, 8).await;
    let path = [&*target.index("Car"), "_search"];
    let found = target.call(Method::POST, &path, None).await.unwrap();
    let hits = found["hits"]["hits"].as_array().unwrap().clone();
    assert_eq!(hits.iter().map(|hit| hit["_id"].clone()).collect::<Vec<_>>(), [json!("2")]);
}

#[tokio::test]
async fn an_index_that_is_gone_is_noticed() {
    let target = filled().await;
    target.call(Method::DELETE, &[&target.index("Car")], None).await.unwrap();
    is_lost(&target).await;
}

#[tokio::test]
async fn an_index_that_was_made_anew_is_noticed() {
    let target = filled().await;
    target.call(Method::DELETE, &[&target.index("Car")], None).await.unwrap();
    // a bulk makes it by itself
    target.delivered(&[state("Car", "2", 1, "{}")]).await;
    is_lost(&target).await;
    let path = [&*target.index("Car"), "_settings"];
    let settings = target.call(Method::GET, &path, None).await.unwrap();
    assert_eq!(settings[target.index("Car")]["settings"]["index"]["gc_deletes"], "1h");
}

#[tokio::test]
async fn a_marker_that_is_gone_or_behind_is_noticed() {
    let target = filled().await;
    let path = ["producer-markers", "_doc", &target.config.name];
    target.call(Method::DELETE, &path, None).await.unwrap();
    is_lost(&target).await;
    // acknowledged writes were lost with it
    let marker = Marker { position: 3, ..target.marker().await.unwrap() };
    let name = &target.config.name;
    marker.write(&target.client, name, std::time::Duration::from_secs(9)).await.unwrap();
    is_lost(&target).await;
}

/// Versions of another log say nothing: an index could not go back to those of this one.
#[tokio::test]
async fn indexes_of_another_log_are_deleted() {
    let target = filled().await;
    target.delivered(&[state("Car", "1", 20, "{}")]).await;
    checkpoint(&*target.sink, 8, 7).await;
    let restored = Token::in_log(Uuid::from_u128(8), 2);
    let sink = target.again();
    assert_eq!(sink.checkpoint(&restored, &restored).await.unwrap(), Kept::Lost);
    assert_eq!(target.marker().await, None);
    let cursor = SnapshotCursor { position: 2, types: Types::all(), filter: None, after: None };
    let begins = Token { cursor: Cursor::Snapshot(Arc::new(cursor)), ..restored.clone() };
    assert_eq!(sink.checkpoint(&begins, &begins).await.unwrap(), Kept::Everything);
    sink.deliver(&[state("Car", "1", 4, "{}")]).await.unwrap()[0].as_ref().unwrap();
    let (version, _) = target.document("Car", "1").await.unwrap();
    assert_eq!(version, 4);
    sink.sweep(&FakePresent::of(&[("Car", "1")])).await.unwrap();
    assert_eq!(sink.checkpoint(&restored, &restored).await.unwrap(), Kept::Everything);
    assert_eq!(target.marker().await.unwrap().epoch, Uuid::from_u128(8).to_string());
}

/// The indexes have what other settings asked for.
#[tokio::test]
async fn other_types_need_a_snapshot() {
    let mut target = filled().await;
    target.config.types = Types::new(vec!["Car".to_owned()]).unwrap();
    let sink = target.again();
    assert_eq!(checkpoint(&*sink, 9, 8).await, Kept::Lost);
    begin_snapshot(&*sink).await;
    sink.deliver(&[state("Car", "1", 1, "{}")]).await.unwrap()[0].as_ref().unwrap();
    sink.sweep(&FakePresent::of(&[("Car", "1")])).await.unwrap();
    assert_eq!(checkpoint(&*sink, 9, 8).await, Kept::Everything);
    let marker = target.marker().await.unwrap();
    assert_eq!(marker.types, Some(vec!["Car".to_owned()]));
    assert_eq!(marker.indexes.keys().collect::<Vec<_>>(), ["Car"]);
    assert_eq!(target.document("Van", "1").await, None);
}

/// Where the position is gone with the log, a snapshot is taken at once.
#[tokio::test]
async fn a_snapshot_of_another_log_deletes_the_indexes_first() {
    let target = filled().await;
    target.delivered(&[state("Car", "1", 20, "{}")]).await;
    checkpoint(&*target.sink, 8, 7).await;
    let cursor = SnapshotCursor { position: 2, types: Types::all(), filter: None, after: None };
    let epoch = Uuid::from_u128(8);
    let begins = Token { epoch, cursor: Cursor::Snapshot(Arc::new(cursor)) };
    let kept = target.sink.checkpoint(&begins, &begins).await.unwrap();
    assert_eq!((kept, target.marker().await), (Kept::Everything, None));
    target.delivered(&[state("Car", "1", 4, "{}")]).await;
    let (version, _) = target.document("Car", "1").await.unwrap();
    assert_eq!(version, 4);
    assert_eq!(target.document("Van", "1").await, None);
}

#[tokio::test]
async fn another_search_needs_other_words() {
    let target = Target::new();
    let car = |version| state("Car", "1", version, r#"{"name":"Red","notes":"Old"}"#);
    target.searches.declare(1, "Car", r#""data.name":4"#, "simple");
    begin_snapshot(&*target.sink).await;
    target.delivered(&[car(1)]).await;
    let present = FakePresent::of(&[("Car", "1")]);
    target.sink.sweep(&present).await.unwrap();
    assert_eq!(checkpoint(&*target.sink, 2, 1).await, Kept::Everything);
    assert_eq!(target.marker().await.unwrap().parts["Car"], 1);

    target.searches.declare(2, "Car", r#""data.notes":1"#, "english");
    assert_eq!(checkpoint(&*target.sink, 3, 2).await, Kept::Lost);
    assert_eq!(checkpoint(&*target.again(), 3, 2).await, Kept::Lost);
    // services go on with what is built
    assert_eq!(target.marker().await.unwrap().parts["Car"], 1);
    // the same version with other words
    begin_snapshot(&*target.sink).await;
    target.delivered(&[car(1)]).await;
    let (_, document) = target.document("Car", "1").await.unwrap();
    assert_eq!(document["words"], json!({"w1": {"english": "old ʬ "}}));
    // another one while the snapshot was taken
    target.searches.declare(3, "Car", r#""data.notes":2"#, "english");
    target.sink.sweep(&present).await.unwrap();
    assert_eq!(checkpoint(&*target.sink, 3, 2).await, Kept::Lost);
    begin_snapshot(&*target.sink).await;
    target.delivered(&[car(1)]).await;
    target.sink.sweep(&present).await.unwrap();
    assert_eq!(checkpoint(&*target.sink, 3, 2).await, Kept::Everything);
    assert_eq!(target.marker().await.unwrap().parts["Car"], 3);
    let (_, document) = target.document("Car", "1").await.unwrap();
    assert_eq!(document["words"], json!({"w2": {"english": "old ʬ "}}));
}

/// All of a snapshot has the same words.
#[tokio::test]
async fn another_worker_goes_on_with_a_snapshot_that_has_its_words() {
    let target = Target::new();
    target.searches.declare(1, "Car", r#""data.name":4"#, "simple");
    begin_snapshot(&*target.sink).await;
    target.delivered(&[state("Car", "1", 1, "{}")]).await;
    let same = target.again();
    assert_eq!(in_snapshot(&*same, Some("1")).await, Kept::Everything);
    target.searches.declare(2, "Car", r#""data.notes":4"#, "simple");
    // it knows the same as when it began
    assert_eq!(in_snapshot(&*same, Some("2")).await, Kept::Everything);
    let other = target.again();
    assert_eq!(in_snapshot(&*other, Some("2")).await, Kept::Lost);
    begin_snapshot(&*other).await;
    // what another worker wrote is of the snapshot too
    other.sweep(&FakePresent::of(&[("Car", "1")])).await.unwrap();
    assert_eq!(checkpoint(&*other, 5, 5).await, Kept::Everything);
    let marker = target.marker().await.unwrap();
    assert_eq!((marker.parts["Car"], marker.indexes.len()), (2, 1));
}

#[tokio::test]
async fn a_sweep_removes_what_the_database_does_not_have() {
    let target = Target::new();
    let long = "😀".repeat(200);
    let mut updates: Vec<_> =
        (0..2500).map(|n: usize| state("Car", &format!("{n:04}"), 3, "{}")).collect();
    updates.push(state("Van", "1", 1, "{}"));
    updates.push(state("Car", &long, 1, "{}"));
    target.delivered(&updates).await;
    // another sink whose indexes begin with the same text
    let index = target.index("Car");
    let prefix = index.split('-').next().unwrap();
    let other = Target::named(&format!("{prefix}-other-{{type}}"));
    other.delivered(&[state("Car", "1", 1, "{}")]).await;
    other.sink.checkpoint(&token(1), &token(1)).await.unwrap();

    let kept: Vec<String> = (0..2500).step_by(7).map(|n: usize| format!("{n:04}")).collect();
    let present: Vec<_> = kept.iter().map(|id| ("Car", id.as_str())).collect();
    begin_snapshot(&*target.sink).await;
    target.sink.sweep(&FakePresent::of(&present)).await.unwrap();
    assert_eq!(checkpoint(&*target.sink, 2, 1).await, Kept::Everything);
    let search = json!({"size": 3000, "_source": false});
    let path = [&*target.index("Car"), "_search"];
    let found = target.call(Method::POST, &path, Some(search)).await.unwrap();
    let hits = found["hits"]["hits"].as_array().unwrap();
    let mut ids: Vec<_> = hits.iter().map(|hit| hit["_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, kept);
    assert_eq!(target.document("Van", "1").await, None);
    assert!(other.document("Car", "1").await.is_some());
    // what was swept may come again
    target.delivered(&[state("Car", "0001", 4, "{}")]).await;
}
