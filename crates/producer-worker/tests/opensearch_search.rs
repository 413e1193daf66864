//! Full-text search by the engine opensearch, over what the sink keeps: the cases of the databases' own engines,
//! and what it alone has.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

#[macro_use]
#[path = "../../core/tests/support/mod.rs"]
mod support;

#[path = "../../core/tests/suites/search.rs"]
mod suite;

#[path = "support/opensearch.rs"]
mod target;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::feed::{Cursor, Item, ReaderKind, Start, Token, WatchRequest};
use producer_core::query::{ReadError, Scans};
use producer_core::search::{Search, SearchError, SearchParts, SearchRequest};
use producer_core::store::Store;
use producer_core::worker::{Lease, Role};
use producer_core::{EntityKey, ProblemKind};
use producer_opensearch::Engine;
use producer_worker::sink::{Kept, Present, Sink};
use producer_worker::sinks;
use producer_worker::update::{Cause, Update};
use serde_json::json;
use support::search::{Beside, declare, find, found, ids, load, refused, request, search_in};
use support::types::build;
use support::{Db, START, clock};
use tokio::sync::Mutex;

use crate::target::Target;

/// One of these functions as a test, with the node of the process.
macro_rules! beside_sqlite {
    ($($path:ident::$case:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            $path::$case(beside().await).await;
        })*
    };
}

beside_sqlite!(
    suite::books_are_found_by_their_words,
    suite::what_an_answered_write_did_is_found,
    suite::heavier_paths_come_first,
    suite::words_are_found_by_their_stems,
    suite::fragments_are_marked_and_escaped,
    suite::facets_count_the_hits,
    suite::facets_count_alike_with_and_without_a_filter,
    suite::types_have_languages_of_their_own,
    suite::what_cannot_be_searched_is_refused,
    suite::no_text_is_too_much,
    suite::words_of_every_script,
);

/// The sink of a database, run by hand: up to the end of the log before each search.
struct SinkBeside {
    target: Target,
    sink: Arc<dyn Sink>,
    /// Where it goes on; none: with a snapshot.
    place: Mutex<(Lease, Option<Token>)>,
}

async fn beside() -> Db {
    let mut db = Db::sqlite(support::default).await;
    let sink = SinkBeside::new(&db.store, &[]).await;
    db.beside = Some(Box::new(sink));
    db
}

impl SinkBeside {
    async fn new(store: &Arc<dyn Store>, types: &[&str]) -> Self {
        // documents of the suite have other kinds of values at the same paths
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mappings = json!({"properties": {"data": {"type": "object", "enabled": false}}});
        let template =
            json!({"composed_of": ["producer-entities"], "template": {"mappings": mappings}});
        write!(file, "{template}").unwrap();
        let target = Target::with(Some(file.path().to_owned()), types);
        let parts: Arc<dyn SearchParts> = store.clone();
        let sink = sinks::open(&target.config, &parts).unwrap();
        let name = &target.config.name;
        let start = Some(("snapshot", 0));
        store.register(Role::Sink, name, "opensearch", start).await.unwrap();
        let lease = store.take(Role::Sink, name, "test", Duration::from_secs(3600)).await;
        let place = Mutex::new((lease.unwrap().unwrap(), None));
        Self { target, sink, place }
    }

    async fn catch_up(&self, store: &Arc<dyn Store>) {
        let mut place = self.place.lock().await;
        let (lease, reached) = &mut *place;
        loop {
            let start = reached.clone().map_or(Start::Snapshot, Start::Token);
            let token = self.carry(store, start).await;
            let stored = reached.clone().unwrap_or_else(|| token.clone());
            match self.sink.checkpoint(&token, &stored).await.unwrap() {
                Kept::Everything => {
                    let (text, position) = (token.to_string(), token.position());
                    assert!(store.advance(lease, &text, position).await.unwrap());
                    *reached = Some(token);
                    return;
                }
                Kept::Lost => *reached = None,
            }
        }
    }

    /// Delivers what is there; returns the place behind it.
    async fn carry(&self, store: &Arc<dyn Store>, start: Start) -> Token {
        let request = WatchRequest {
            kind: ReaderKind::Ndjson,
            start,
            until_now: true,
            types: self.target.config.types.clone(),
            filter: None,
            include_data: true,
        };
        let mut reader = support::feed::feed(store).watch(request).await.unwrap();
        let begins = reader.token();
        if matches!(begins.cursor, Cursor::Snapshot(_)) {
            assert_eq!(self.sink.checkpoint(&begins, &begins).await.unwrap(), Kept::Everything);
        }
        while let Some(items) = reader.next().await {
            let mut updates = Vec::new();
            for item in items {
                match item {
                    Item::Change(change) => {
                        let state = change.state().cloned().map(Arc::new);
                        updates.push(Update { cause: Cause::Change(change), state });
                    }
                    Item::Snapshot(_, entity) => {
                        let state = Some(entity.clone());
                        updates.push(Update { cause: Cause::Snapshot(entity), state });
                    }
                    Item::SnapshotEnd(_) => {
                        self.deliver(&std::mem::take(&mut updates)).await;
                        self.sink.sweep(&Entities(store.clone())).await.unwrap();
                    }
                    Item::Bookmark { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
            self.deliver(&updates).await;
        }
        reader.token()
    }

    async fn deliver(&self, updates: &[Update]) {
        let outcomes = self.sink.deliver(updates).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
}

impl Beside for SinkBeside {
    fn search<'a>(&'a self, store: &'a Arc<dyn Store>) -> BoxFuture<'a, Search> {
        Box::pin(async {
            let parts = store.search_parts().await.unwrap();
            // what the database does not search yet, the sink does not know yet
            if parts.iter().all(|part| part.is_ready) {
                self.catch_up(store).await;
            }
            let target = producer_opensearch::Target {
                client: self.target.client.clone(),
                sink: self.target.config.name.clone(),
            };
            let engine = Arc::new(Engine::new(target, store.clone(), store.clone()));
            let scans = Arc::new(Scans::new(10));
            Search::new(engine.clone(), engine, store.clone(), scans, clock(START))
        })
    }
}

/// The entities of a database.
struct Entities(Arc<dyn Store>);

impl Present for Entities {
    fn versions<'a>(
        &'a self,
        keys: &'a [EntityKey],
    ) -> BoxFuture<'a, Result<Vec<Option<u64>>, ReadError>> {
        Box::pin(async move {
            let mut versions = Vec::new();
            for key in keys {
                let entity = self.0.entity(key).await?;
                versions.push(entity.map(|entity| entity.version));
            }
            Ok(versions)
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_may_have_a_typo() {
    let db = beside().await;
    declare(&db, "Car", r#""data.t":4,"data.u":1"#, "english").await;
    declare(&db, "Van", r#""data.t":4"#, "simple").await;
    build(&db).await;
    let documents = [
        json!({"id": "1", "t": "Harry Potter and the Stone"}),
        json!({"id": "2", "t": "The pottery of the south", "u": "running games"}),
        json!({"id": "3", "t": "a cat"}),
    ];
    load(&db, "Car", 1, &documents).await;
    load(&db, "Van", 100, &documents).await;
    for (query, expected) in [
        ("poter", "1"),
        ("pottre", "1"),
        ("potter", "1 2"),
        ("harry stoen", "1"),
        ("\"hary potter\"", "1"),
        ("\"potter hary\"", ""),
        ("cta", ""),
        ("ca", ""),
        ("-potter the", ""),
        ("-poter the", "1 2"),
        ("gaems", "2"),
        ("potre*", ""),
    ] {
        for entity_type in ["Car", "Van"] {
            if entity_type == "Van" && query == "gaems" {
                continue;
            }
            let fuzzy = SearchRequest {
                fuzzy: true,
                types: vec![entity_type.to_owned()],
                ..request(query)
            };
            let page = find(&db, fuzzy).await;
            let mut found = ids(&page);
            found.sort_unstable();
            let expected = if query == "-potter the" { "2" } else { expected };
            assert_eq!(found.join(" "), expected, "{entity_type}: {query}");
        }
    }
    let fuzzy = SearchRequest {
        fuzzy: true,
        highlight: true,
        types: vec!["Car".into()],
        ..request("poter runing")
    };
    assert_eq!(
        find(&db, SearchRequest { query: "pottre".into(), ..fuzzy.clone() }).await.hits[0]
            .highlights[0]
            .fragments,
        ["Harry <em>Potter</em> and the Stone"]
    );
    // who has the word itself comes first
    let page = find(&db, SearchRequest { query: "potter".into(), ..fuzzy }).await;
    assert_eq!(ids(&page), ["1", "2"]);
    assert!(found(&db, "poter").await.is_empty(), "not without being asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_of_many_words() {
    let db = beside().await;
    let paths = r#""data.a":1,"data.b":2,"data.c":3,"data.t":4"#;
    declare(&db, "Car", paths, "english").await;
    build(&db).await;
    let words: Vec<String> = (0..200).map(|n| format!("{n:04}")).collect();
    load(&db, "Car", 1, &[json!({"id": "1", "t": words.join(" ")})]).await;
    for fuzzy in [false, true] {
        let many = SearchRequest { fuzzy, ..request(&words[..100].join(" ")) };
        assert_eq!(ids(&find(&db, many).await), ["1"]);
        // the server takes no more
        let search = search_in(&db).await;
        let more = SearchRequest { fuzzy, ..request(&words.join(" OR ")[..1020]) };
        match search.search(more).await {
            Ok(page) => assert_eq!(ids(&page), ["1"]),
            Err(SearchError::Refused(problem)) => {
                assert_eq!(problem.kind, ProblemKind::TooExpensive);
            }
            Err(SearchError::Read(error)) => panic!("{error}"),
        }
    }
}

/// Hits are as the index has them, and the answer says how far that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_lags_as_the_sink_does() {
    let db = beside().await;
    declare(&db, "Car", r#""data.t":4"#, "simple").await;
    build(&db).await;
    load(&db, "Car", 1, &[json!({"id": "1", "t": "old"})]).await;
    let search = search_in(&db).await;
    load(&db, "Car", 2, &[json!({"id": "1", "t": "new"}), json!({"id": "2", "t": "new"})]).await;
    let page = search.search(request("old")).await.unwrap();
    assert_eq!((ids(&page), page.hits[0].entity.version), (vec!["1"], 1));
    let token = Token::parse(&page.indexed_up_to.unwrap()).unwrap();
    let page = find(&db, request("new")).await;
    assert_eq!(ids(&page), ["1", "2"]);
    let later = Token::parse(&page.indexed_up_to.unwrap()).unwrap();
    assert_eq!(later.position(), token.position() + 2);
    assert!(find(&db, request("old")).await.hits.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_does_not_have_all_is_refused() {
    let mut db = Db::sqlite(support::default).await;
    declare(&db, "Car", r#""data.t":4"#, "simple").await;
    declare(&db, "Van", r#""data.t":4"#, "simple").await;
    build(&db).await;
    db.beside = Some(Box::new(SinkBeside::new(&db.store, &["Car"]).await));
    load(&db, "Car", 1, &[json!({"id": "1", "t": "x"})]).await;
    let of = |name: &str| SearchRequest { types: vec![name.to_owned()], ..request("x") };
    assert_eq!(ids(&find(&db, of("Car")).await), ["1"]);
    for other in [of("Van"), request("x")] {
        let problem = refused(&db, other).await;
        assert_eq!(problem.kind, ProblemKind::Validation);
        assert!(problem.detail.contains("\"Van\""), "{problem}");
    }
    // no worker has the sink
    let target = Target::new();
    let target = producer_opensearch::Target { client: target.client, sink: "none".to_owned() };
    let engine = Arc::new(Engine::new(target, db.store.clone(), db.store.clone()));
    let scans = Arc::new(Scans::new(10));
    let search = Search::new(engine.clone(), engine, db.store.clone(), scans, clock(START));
    let error = format!("{:?}", search.search(of("Car")).await.unwrap_err());
    assert!(error.contains("no worker has a sink") && error.contains("Validation"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_unavailable() {
    let db = Db::sqlite(support::default).await;
    let sink = SinkBeside::new(&db.store, &[]).await;
    let url = format!("http://127.0.0.1:{}", producer_test_support::free_port());
    let client = producer_opensearch::Client::new(&url).unwrap();
    let target = producer_opensearch::Target { client, sink: sink.target.config.name.clone() };
    let engine = Arc::new(Engine::new(target, db.store.clone(), db.store.clone()));
    let scans = Arc::new(Scans::new(10));
    let search = Search::new(engine.clone(), engine, db.store.clone(), scans, clock(START));
    match search.search(request("x")).await {
        Err(SearchError::Read(error)) => {
            let problem = error.problem();
            assert_eq!(problem.kind, ProblemKind::Unavailable);
            assert!(
                problem.detail.starts_with("OpenSearch, which searches, can't be"),
                "{problem}"
            );
        }
        other => panic!("{other:?}"),
    }
}
