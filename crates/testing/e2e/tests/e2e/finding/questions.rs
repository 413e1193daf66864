//! Lists and searches, beside what the test knows of the cars.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use producer_e2e::Rest;
use serde_json::{Value, json};

use super::writers::Documents;

/// True of every entity, but no index knows that.
const NOT_NARROWED: &str = " || version == 0";

/// A filter that an index narrows, and what it means.
struct Question {
    filter: String,
    holds: Box<dyn Fn(&Value) -> bool>,
}

fn question(filter: impl Into<String>, holds: impl Fn(&Value) -> bool + 'static) -> Question {
    Question { filter: filter.into(), holds: Box::new(holds) }
}

fn price(car: &Value) -> Option<f64> {
    car["data"]["price"].as_f64()
}

fn price_in(car: &Value, prices: impl RangeBounds<f64>) -> bool {
    price(car).is_some_and(|price| prices.contains(&price))
}

fn city(car: &Value) -> &str {
    car["data"]["owner"]["city"].as_str().unwrap_or_default()
}

fn is_of_dealer(car: &Value) -> bool {
    car["data"]["dealer"] == "dealer-7"
}

fn is_opel(car: &Value) -> bool {
    car["data"]["make"] == "Opel"
}

/// Filters for each index, with the last path of some in every way. About half of the cars were written before
/// `middle`.
fn questions(middle: &str) -> Vec<Question> {
    let (created, updated) = (instant(middle), instant(middle));
    let long_ago = "timestamp('2000-01-01T00:00:00Z')";
    vec![
        question("data.price >= 0", |car| price(car).is_some()),
        question("data.price == 42", |car| price_in(car, 42.0..=42.0)),
        question("data.price in [3, 5.5, 8]", |car| {
            [3.0, 5.5, 8.0].iter().any(|&one| price_in(car, one..=one))
        }),
        question("data.price >= 12 && data.price < 15.5", |car| price_in(car, 12.0..15.5)),
        question(format!("data.dealer == 'dealer-7' && createdAt > {long_ago}"), is_of_dealer),
        question(
            format!("data.dealer == 'dealer-7' && createdAt >= timestamp('{middle}')"),
            move |car| is_of_dealer(car) && instant_of(car, "createdAt") >= created,
        ),
        question("data.make == 'Opel' && data.price < 20", |car| {
            is_opel(car) && price_in(car, 0.0..20.0)
        }),
        question("data.make in ['Opel'] && data.price >= 0", |car| {
            is_opel(car) && price(car).is_some()
        }),
        question("data.owner.city == 'Köln'", |car| city(car) == "Köln"),
        question("data.owner.city.startsWith('B')", |car| city(car).starts_with('B')),
        question(format!("updatedAt > {long_ago}"), |_| true),
        question(format!("updatedAt >= timestamp('{middle}')"), move |car| {
            instant_of(car, "updatedAt") >= updated
        }),
    ]
}

/// Texts of times in their order: a second without a fraction has none in an answer.
fn instant(text: &str) -> String {
    if text.contains('.') { text.to_owned() } else { text.replace('Z', ".000000Z") }
}

fn instant_of(car: &Value, name: &str) -> String {
    instant(car[name].as_str().expect("a time"))
}

/// What is in the texts of a car that a search finds.
type Found = fn(&[Vec<&str>]) -> bool;

const SEARCHES: [(&str, Found); 4] = [
    ("alder", |texts| has(texts, "alder")),
    ("alder elm", |texts| has(texts, "alder") && has(texts, "elm")),
    ("alder elm -rowan", |texts| has(texts, "alder") && has(texts, "elm") && !has(texts, "rowan")),
    ("\"elm rowan\"", |texts| {
        texts.iter().any(|text| text.windows(2).any(|pair| pair == ["elm", "rowan"]))
    }),
];

/// The words of a car's title and of its notes.
fn texts(data: &Value) -> [Vec<&str>; 2] {
    ["title", "notes"].map(|name| data[name].as_str().unwrap_or_default().split(' ').collect())
}

fn has(texts: &[Vec<&str>], word: &str) -> bool {
    texts.iter().flatten().any(|other| *other == word)
}

/// The cars are those that were written; each list by an index and each search has all that it should, and
/// nothing else.
pub(super) async fn check(rest: &Rest, written: &Documents) {
    let cars = list(rest, &[]).await;
    let listed: Documents = cars.iter().map(|car| (id(car), car["data"].clone())).collect();
    assert_eq!(listed.len(), cars.len(), "one is listed twice");
    for id in listed.keys().chain(written.keys()) {
        assert_eq!(listed.get(id), written.get(id), "{id}");
    }
    let mut times: Vec<String> = cars.iter().map(|car| instant_of(car, "updatedAt")).collect();
    times.sort();
    for Question { filter, holds } in questions(&times[times.len() / 2]) {
        let expected: BTreeSet<String> = cars.iter().filter(|car| holds(car)).map(id).collect();
        assert!(!expected.is_empty(), "{filter}");
        let all = format!("({filter}){NOT_NARROWED}");
        for filter in [filter, all] {
            let found = list(rest, &[("filter", &filter), ("fields", "version")]).await;
            is_same(&filter, found.iter().map(id), &expected);
        }
    }
    orders(rest, &cars).await;
    finds_all_texts(rest, &cars).await;
}

/// Each exactly once.
fn is_same(what: &str, found: impl Iterator<Item = String>, expected: &BTreeSet<String>) {
    let mut seen = BTreeSet::new();
    for id in found {
        assert!(expected.contains(&id), "{what}: {id} is too much");
        assert!(seen.insert(id.clone()), "{what}: {id} is there twice");
    }
    let missing: Vec<_> = expected.difference(&seen).collect();
    assert!(missing.is_empty(), "{what}: missing {missing:?}");
}

/// A car's value as a text, whose order is that of the values.
type SortKey = fn(&Value) -> Option<String>;

fn price_text(car: &Value) -> Option<String> {
    price(car).map(|price| format!("{price:09.3}"))
}

/// Lists in the orders of the indexes.
async fn orders(rest: &Rest, cars: &[Value]) {
    let orders: [(&str, &str, SortKey); 4] = [
        ("data.price", "", price_text),
        ("data.price desc", "data.make == 'Opel'", |car| price_text(car).filter(|_| is_opel(car))),
        ("updatedAt desc", "", |car| Some(instant_of(car, "updatedAt"))),
        ("createdAt", "data.dealer == 'dealer-7'", |car| {
            is_of_dealer(car).then(|| instant_of(car, "createdAt"))
        }),
    ];
    for (order, filter, value) in orders {
        let mut expected: Vec<_> =
            cars.iter().filter_map(|car| Some((value(car)?, id(car)))).collect();
        expected.sort();
        if order.ends_with(" desc") {
            expected.reverse();
        }
        let mut query = vec![("orderBy", order), ("fields", "version")];
        if !filter.is_empty() {
            query.push(("filter", filter));
        }
        let found = list(rest, &query).await;
        let expected: Vec<String> = expected.into_iter().map(|(_, id)| id).collect();
        let found: Vec<String> = found.iter().map(id).collect();
        assert!(found == expected, "{order}: {} for {}", found.len(), expected.len());
    }
}

/// Searches, with the makes as a facet.
async fn finds_all_texts(rest: &Rest, cars: &[Value]) {
    for (query, is_found) in SEARCHES {
        let found = |car: &&Value| is_found(&texts(&car["data"]));
        let expected: Vec<&Value> = cars.iter().filter(found).collect();
        let mut makes: BTreeMap<&str, u64> = BTreeMap::new();
        for make in expected.iter().filter_map(|car| car["data"]["make"].as_str()) {
            *makes.entry(make).or_default() += 1;
        }
        let (hits, first) = search(rest, query).await;
        assert_eq!(first["total"], json!({"value": expected.len(), "exact": true}), "{query}");
        let facet = first["facets"]["data.make"].as_array().unwrap().iter();
        let counts = facet.map(|of| (of["value"].as_str().unwrap(), of["count"].as_u64().unwrap()));
        assert_eq!(counts.collect::<BTreeMap<_, _>>(), makes, "{query}");
        // no search has more than a thousand hits on its pages
        if expected.len() <= 1000 {
            let expected = expected.into_iter().map(id).collect();
            is_same(query, hits.iter().map(|hit| id(&hit["entity"])), &expected);
        }
    }
}

/// Cars with a tag, by the indexes and by search.
pub(super) async fn finds_tagged(rest: &Rest, tag: &str, cars: &Documents) {
    let dealer = format!("data.dealer == '{tag}' && createdAt > timestamp('2000-01-01T00:00:00Z')");
    let city = format!("data.owner.city == '{tag}'");
    let of = |holds: &dyn Fn(&Value) -> bool| -> BTreeSet<String> {
        cars.iter().filter(|(_, car)| holds(car)).map(|(id, _)| id.clone()).collect()
    };
    for (filter, expected) in [
        (&dealer, of(&|car| car["dealer"] == tag)),
        (&city, of(&|car| car["owner"]["city"] == tag)),
    ] {
        let found = list(rest, &[("filter", filter)]).await;
        is_same(filter, found.iter().map(id), &expected);
    }
    let (found, _) = search(rest, tag).await;
    let expected = of(&|car| has(&texts(car), tag));
    is_same(tag, found.iter().map(|hit| id(&hit["entity"])), &expected);
}

fn id(entity: &Value) -> String {
    entity["entityId"].as_str().expect("an id").to_owned()
}

/// All pages of a list of cars.
async fn list(rest: &Rest, query: &[(&str, &str)]) -> Vec<Value> {
    let query = [query, &[("pageSize", "1000")]].concat();
    pages(rest, "/api/v1/entities/Car", &query, "entities").await.0
}

/// All hits, or the first thousand; and the first page, with a facet.
async fn search(rest: &Rest, text: &str) -> (Vec<Value>, Value) {
    let query = [("query", text), ("facet", "data.make"), ("pageSize", "100")];
    pages(rest, "/api/v1/search", &query, "hits").await
}

/// The items of all pages, and the first page.
async fn pages(
    rest: &Rest,
    path: &str,
    query: &[(&str, &str)],
    member: &str,
) -> (Vec<Value>, Value) {
    let (mut items, mut first, mut token) = (Vec::new(), None, None);
    loop {
        let mut request = rest.http.get(rest.url(path)).query(query);
        if let Some(token) = &token {
            request = request.query(&[("pageToken", token)]);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let mut page: Value = answer.json().await.unwrap();
        assert_eq!(status, 200, "{path} {query:?}: {page}");
        items.append(page[member].as_array_mut().unwrap());
        token = page["nextPageToken"].as_str().map(str::to_owned);
        let first = first.get_or_insert(page);
        if token.is_none() {
            return (items, first.take());
        }
    }
}
