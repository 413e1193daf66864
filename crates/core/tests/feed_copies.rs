//! Whatever is written while it reads, and wherever it breaks off: who keeps what a filter of the feed sends, and
//! drops what has left, has what matches in the end.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use producer_core::feed::{Feed, FeedSettings, Item, Start, Token, WatchRequest};
use producer_core::filter::{Facts, Filter, Scope, State};
use producer_core::{EntityKey, Event, Operation, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use support::feed::{LONG, from};
use support::{Db, event_of, key};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

on_all!(a_copy_is_what_matches_in_the_end);

const ROUNDS: usize = 4;
const TYPES: [&str; 2] = ["Car", "Loan"];
const IDS: [&str; 3] = ["a", "b", "c"];
const FILTERS: [&str; 4] = [
    "data.n > 1",
    "type == 'Car' && !(data.n > 1)",
    "data.n == 1 || data.o.x == true && id != 'a'",
    "type != 'Loan' && has(data.o) && data.n in [0, 2, 3]",
];

/// What an update does with one of the entities.
#[derive(Debug, Clone)]
struct Update {
    entity_type: &'static str,
    id: &'static str,
    operation: Operation,
    patch: Value,
}

fn update() -> impl Strategy<Value = Update> {
    let operation = prop_oneof![
        6 => Just(Operation::Merge), 1 => Just(Operation::Replace), 2 => Just(Operation::Delete),
    ];
    let n = prop_oneof![4 => (0..4).prop_map(Value::from), 1 => Just(Value::Null)];
    let o = prop_oneof![
        any::<bool>().prop_map(|x| json!({"x": x})),
        Just(json!({"y": 1})),
        Just(Value::Null),
    ];
    let member = prop_oneof![
        n.prop_map(|n| json!({"n": n})),
        o.prop_map(|o| json!({"o": o})),
        Just(json!({"m": 1})),
    ];
    let (entity_type, id) = (prop::sample::select(&TYPES[..]), prop::sample::select(&IDS[..]));
    (entity_type, id, operation, member).prop_map(|(entity_type, id, operation, patch)| {
        let patch = if operation == Operation::Delete { json!({}) } else { patch };
        Update { entity_type, id, operation, patch }
    })
}

fn to_event(number: u128, update: &Update) -> Event {
    event_of(
        number,
        &[json!({
            "entityType": update.entity_type,
            "entityId": update.id,
            "operation": update.operation.as_str(),
            "updatedAttributes": update.patch,
        })],
    )
}

/// What a reader keeps, by the contract's rules.
#[derive(Default)]
struct Copy {
    /// Version and document; with no document where the reader has not asked for it.
    entities: BTreeMap<EntityKey, (u64, Option<Value>)>,
    /// What the snapshot under way has sent.
    sent: BTreeSet<EntityKey>,
}

impl Copy {
    fn apply(&mut self, item: &Item, with_data: bool) {
        match item {
            Item::Change(change) if with_data => {
                let entity = change.state().unwrap();
                assert!(entity.version >= change.entry.version);
                self.keep(&change.key, entity.version, Some(&entity.data));
            }
            Item::Change(change) => self.keep(&change.key, change.entry.version, None),
            Item::Left(change) => drop(self.entities.remove(&change.key)),
            Item::Snapshot(_, entity) => {
                self.sent.insert(entity.key.clone());
                self.keep(&entity.key, entity.version, with_data.then_some(&entity.data));
            }
            Item::SnapshotEnd(_) => {
                let sent = std::mem::take(&mut self.sent);
                self.entities.retain(|key, _| sent.contains(key));
            }
            Item::Bookmark { .. } => {}
            Item::Gone(_) | Item::Unavailable(_) => unreachable!("{item:?}"),
        }
    }

    fn keep(&mut self, key: &EntityKey, version: u64, data: Option<&String>) {
        let kept = self.entities.get(key).map_or(0, |(version, _)| *version);
        if version >= kept {
            let data = data.map(|data| serde_json::from_str(data).unwrap());
            self.entities.insert(key.clone(), (version, data));
        }
    }
}

/// A reader over many connections.
#[derive(Clone)]
struct Follower {
    filter: Filter,
    include_data: bool,
    /// Whether it begins with a snapshot, or with the first change.
    by_snapshot: bool,
    /// After so many items a connection breaks off, and where it is 0 the next one begins anew.
    lives: Vec<usize>,
}

impl Follower {
    fn request(&self, token: Option<Token>) -> WatchRequest {
        let start = match token {
            Some(token) => Start::Token(token),
            None if self.by_snapshot => Start::Snapshot,
            None => Start::Oldest,
        };
        let filter = Some(self.filter.clone());
        WatchRequest { filter, include_data: self.include_data, ..from(start) }
    }

    /// Reads until it has all that was written, as `is_written` says.
    async fn follow(self, feed: Feed, mut is_written: watch::Receiver<bool>) -> (Self, Copy) {
        let (mut copy, mut token) = (Copy::default(), None);
        for life in self.lives.iter().cycle() {
            let is_last = *is_written.borrow_and_update();
            if *life == 0 {
                token = None;
                copy.sent.clear();
                if !self.by_snapshot {
                    copy = Copy::default();
                }
            }
            let mut reader = feed.watch(self.request(token.clone())).await.unwrap();
            let mut left = if is_last { usize::MAX } else { *life };
            while left > 0 {
                let items = tokio::select! {
                    items = timeout(LONG, reader.next()) => items.unwrap().unwrap(),
                    Ok(()) = is_written.changed() => break,
                };
                for item in items.into_iter().take(left) {
                    left -= 1;
                    copy.apply(&item, self.include_data);
                    token = item.token().cloned();
                    if is_last && matches!(item, Item::Bookmark { caught_up: true, .. }) {
                        return (self, copy);
                    }
                }
            }
        }
        unreachable!("it ends only when all is written")
    }
}

/// What matches among the stored entities.
async fn matching(db: &Db, filter: &Filter) -> BTreeMap<EntityKey, (u64, Value)> {
    // what changes and entities have in common is the same language
    let filter = Filter::parse(filter.text(), Scope::Entity).unwrap();
    let mut matching = BTreeMap::new();
    for (entity_type, id) in TYPES.into_iter().flat_map(|name| IDS.map(|id| (name, id))) {
        let Some(entity) = db.entity(entity_type, id).await else { continue };
        let state = State {
            created_at: entity.created_at,
            updated_at: entity.updated_at,
            data: &entity.data,
        };
        let facts = Facts {
            entity_type,
            entity_id: id,
            version: entity.version,
            state: Some(state),
            change: None,
            now: Timestamp::from_micros(0),
        };
        if filter.matches(&facts) {
            let data = serde_json::from_str(&entity.data).unwrap();
            matching.insert(key(entity_type, id), (entity.version, data));
        }
    }
    matching
}

async fn a_copy_is_what_matches_in_the_end(db: Db) {
    let commits = Arc::new(Notify::new());
    let settings = FeedSettings { max_readers: 100 };
    let feed =
        Feed::new(db.store.clone(), settings, Arc::clone(&commits), CancellationToken::new());
    let mut random = TestRunner::default();
    let lives = prop::collection::vec(0..6_usize, 1..8)
        .prop_filter("reads", |lives| lives.iter().any(|life| *life > 0));
    let updates = prop::collection::vec(prop::collection::vec(update(), 1..5), 20..40);
    let mut number = 0;
    for _ in 0..ROUNDS {
        let is_written = watch::Sender::new(false);
        let mut followers = JoinSet::new();
        for (place, text) in FILTERS.iter().cycle().take(4 * FILTERS.len()).enumerate() {
            let follower = Follower {
                filter: Filter::parse(text, Scope::Change).unwrap(),
                include_data: place % 8 < 4,
                by_snapshot: place < 2 * FILTERS.len(),
                lives: lives.new_tree(&mut random).unwrap().current(),
            };
            followers.spawn(follower.follow(feed.clone(), is_written.subscribe()));
        }
        for batch in updates.new_tree(&mut random).unwrap().current() {
            let events = batch.iter().map(|update| {
                number += 1;
                to_event(number, update)
            });
            db.apply(&events.collect::<Vec<_>>()).await;
            commits.notify_one();
        }
        is_written.send_replace(true);
        while let Some(followed) = timeout(LONG, followers.join_next()).await.unwrap() {
            let (follower, copy) = followed.unwrap();
            let Follower { filter, include_data, by_snapshot, .. } = &follower;
            let expected = matching(&db, filter).await;
            let about = format!("{filter:?}, data {include_data}, snapshot {by_snapshot}");
            assert!(copy.entities.keys().eq(expected.keys()), "{about}: {:?}", copy.entities);
            for (key, (version, data)) in copy.entities {
                let (expected, stored) = &expected[&key];
                if let Some(data) = data {
                    assert_eq!((version, &data), (*expected, stored), "{about}: {key:?}");
                }
            }
        }
    }
}
