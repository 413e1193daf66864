//! Searches in a few words, and what they must find.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use producer_core::filter::{Filter, Scope};
use producer_core::query::Scans;
use producer_core::search::{
    Facet, Leaf, Query, Search, SearchError, SearchPage, SearchRequest, Terms, Total,
};
use producer_core::store::Store;
use producer_core::types::search_text::TextMaker;
use producer_core::types::{Definition, SearchDefinition, StoredType};
use producer_core::{Precondition, Problem};
use serde_json::{Value, json};

use super::types::{DEADLINE, types};
use super::{Db, START, apply, clock, event_of};

/// The search of a store.
pub(crate) fn search(store: &Arc<dyn Store>) -> Search {
    let (engine, parts, states) = (Arc::clone(store), Arc::clone(store), Arc::clone(store));
    // what is tested is not how fast the machine is
    Search::new(engine, parts, states, Arc::new(Scans::new(10)), clock(START))
        .with_find_time(DEADLINE)
}

/// An engine beside the database.
pub(crate) trait Beside: Send + Sync {
    /// The search, once the engine has all that is committed. A type is searched as soon as the database can.
    fn search<'a>(&'a self, store: &'a Arc<dyn Store>) -> BoxFuture<'a, Search>;
}

/// The search of a database, or of the engine beside it.
pub(crate) async fn search_in(db: &Db) -> Search {
    match &db.beside {
        Some(beside) => beside.search(&db.store).await.with_find_time(DEADLINE),
        None => search(&db.store),
    }
}

/// A definition with these paths as JSON, such as `"data.title":4`.
pub(crate) fn definition(paths: &str, language: &str) -> Definition {
    let text = format!(r#"{{"search":{{"paths":{{{paths}}},"language":"{language}"}}}}"#);
    Definition::parse(&text).unwrap()
}

pub(crate) async fn declare(db: &Db, entity_type: &str, paths: &str, language: &str) -> StoredType {
    let definition = definition(paths, language);
    let declared = types(&db.store).replace(entity_type, &definition, &Precondition::None).await;
    declared.unwrap().0
}

/// Creates entities of these documents, whose ids are in them, in batches.
pub(crate) async fn load(db: &Db, entity_type: &str, first: u128, documents: &[Value]) {
    let mut writer = db.store.writer();
    for (batch, documents) in documents.chunks(500).enumerate() {
        let event = |(place, document): (usize, &Value)| {
            let n = first + (batch * 500 + place) as u128;
            event_of(
                n,
                &[json!({"entityType": entity_type, "entityId": document["id"],
                "operation": "replace", "updatedAttributes": without_nulls(document)})],
            )
        };
        let batch: Vec<_> = documents.iter().enumerate().map(event).collect();
        apply(&mut *writer, &batch).await;
    }
}

fn without_nulls(document: &Value) -> Value {
    let mut document = document.clone();
    document.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    document
}

/// The request of a query, of 100 hits.
pub(crate) fn request(query: &str) -> SearchRequest {
    let query = query.to_owned();
    SearchRequest { query, size: 100, bytes: 1 << 20, ..SearchRequest::default() }
}

pub(crate) fn filter(text: &str) -> Option<Filter> {
    Some(Filter::parse(text, Scope::Entity).unwrap())
}

pub(crate) fn facets(texts: &[&str]) -> Vec<Facet> {
    texts.iter().map(|text| Facet::parse(text).unwrap()).collect()
}

pub(crate) async fn find(db: &Db, request: SearchRequest) -> SearchPage {
    let query = request.query.clone();
    match search_in(db).await.search(request).await {
        Ok(page) => page,
        Err(error) => panic!("{query}: {error:?}"),
    }
}

pub(crate) async fn refused(db: &Db, request: SearchRequest) -> Problem {
    match search_in(db).await.search(request).await {
        Err(SearchError::Refused(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

/// The ids of a page's hits, in their order.
pub(crate) fn ids(page: &SearchPage) -> Vec<&str> {
    page.hits.iter().map(|hit| hit.entity.key.entity_id()).collect()
}

/// The ids that a query finds, in their order.
pub(crate) async fn found(db: &Db, query: &str) -> Vec<String> {
    ids(&find(db, request(query)).await).into_iter().map(str::to_owned).collect()
}

/// All hits up to the 1,000th, and how many there are.
pub(crate) async fn all(db: &Db, request: &SearchRequest) -> (Vec<String>, Total) {
    let (mut all, mut token) = (Vec::new(), None);
    loop {
        let page = find(db, SearchRequest { token, ..request.clone() }).await;
        all.extend(ids(&page).into_iter().map(str::to_owned));
        token = page.next;
        if token.is_none() {
            return (all, page.total);
        }
    }
}

/// Whether a document matches, by the words themselves: what engines must find in `simple`.
pub(crate) struct Naive {
    maker: TextMaker,
    terms: Terms,
}

impl Naive {
    pub(crate) fn new(definition: &SearchDefinition, query: &str) -> Self {
        let terms = Query::parse(query).unwrap().terms(&definition.language);
        Self { maker: TextMaker::new(definition), terms }
    }

    pub(crate) fn matches(&self, document: &str) -> bool {
        let texts = self.maker.text(document);
        let groups = match &self.terms {
            Terms::All => return true,
            Terms::Nothing => return false,
            Terms::Groups(groups) => groups,
        };
        let has = |leaf: &Leaf| texts.iter().any(|text| has(text, leaf));
        groups.iter().all(|group| group.iter().any(|leaf| has(leaf) != leaf.negated))
    }
}

fn has(text: &str, leaf: &Leaf) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    words.windows(leaf.words.len()).any(|window| {
        let last = window.len() - 1;
        window.iter().zip(&leaf.words).enumerate().all(|(place, (word, wanted))| {
            word == wanted || leaf.begins && place == last && word.starts_with(wanted.as_str())
        })
    })
}
