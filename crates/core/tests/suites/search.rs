//! What every engine must find. The engine opensearch has the same cases among the tests of the worker.

use std::time::Duration;

use producer_core::ProblemKind;
use producer_core::search::{Engine, Hit, SearchError, SearchRequest, Total};
use serde_json::{Value, json};

use crate::support::search::{
    Naive, all, declare, definition, facets, filter, find, found, ids, load, refused, request,
    search_in,
};
use crate::support::types::build;
use crate::support::{Db, car, event, event_of};

const PATHS: &str = r#""data.title":4,"data.authors":2,"data.originalTitle":1"#;

fn books() -> Vec<Value> {
    let text = include_str!("../../../../examples/books.json");
    let books: Value = serde_json::from_str(text).unwrap();
    books["books"].as_array().unwrap()[..4000].to_vec()
}

/// Half of them are there before the definition.
pub(crate) async fn books_are_found_by_their_words(db: Db) {
    let books = books();
    load(&db, "Book", 1, &books[..2000]).await;
    declare(&db, "Book", PATHS, "simple").await;
    load(&db, "Book", 10_001, &books[2000..]).await;
    build(&db).await;
    let definition = definition(PATHS, "simple").search.unwrap();
    for query in [
        "harry potter",
        "Harry  OR  hobbit",
        "\"harry potter\" -stone",
        "\"potter and the\"",
        "pott* -harry",
        "\"harry pott\"*",
        "the",
        "-the",
        "-the -a of",
        "rowling OR -the harry",
        "-harry OR -potter",
        "rowling potter OR -the",
        "grandpré",
        "GRANDPRE J.K.",
        "1984",
        "3*",
        "\"unclosed harry",
        "mary*",
        "!!!",
        "\"x y z\" OR -\"of the\"",
        "sorcerer's stone",
        "J.R.R. Tolkien -\"the lord of the rings\"",
    ] {
        let naive = Naive::new(&definition, query);
        let expected: Vec<_> =
            books.iter().filter(|book| naive.matches(&book.to_string())).collect();
        let (hits, total) = all(&db, &request(query)).await;
        let exact = Total { value: expected.len() as u64, exact: true };
        assert_eq!(total, exact, "{query}");
        assert_eq!(hits.len(), expected.len().min(1000), "{query}");
        let mut ids: Vec<_> = expected.iter().map(|book| book["id"].as_str().unwrap()).collect();
        assert!(hits.iter().all(|hit| ids.contains(&hit.as_str())), "{query}");
        if hits.len() == ids.len() {
            let mut hits: Vec<_> = hits.iter().map(String::as_str).collect();
            hits.sort_unstable();
            ids.sort_unstable();
            assert_eq!(hits, ids, "{query}");
        }
    }
    filters_and_facets(&db, &books).await;
    pages_end_with_the_thousandth_hit(&db).await;
    all_by_filter(&db, &books).await;
    time_ends_a_search(&db).await;
}

/// The time is over before anything is found, or soon after.
async fn time_ends_a_search(db: &Db) {
    for millis in [0, 1, 5] {
        let time = Duration::from_millis(millis);
        for query in ["the", "-the", "", "t*"] {
            let search = search_in(db).await.with_find_time(time);
            let page =
                search.search(SearchRequest { filter: filter("version > 0"), ..request(query) });
            match page.await {
                Ok(page) => assert!(!page.total.exact || millis > 0, "{query}: {:?}", page.total),
                Err(SearchError::Refused(problem)) => {
                    assert_eq!(problem.kind, ProblemKind::TooExpensive, "{query}");
                }
                Err(SearchError::Read(error)) => panic!("{query}: {error}"),
            }
        }
    }
}

async fn filters_and_facets(db: &Db, books: &[Value]) {
    let of_year = |book: &&Value| book["year"].as_i64().is_some_and(|year| year >= 2000);
    let with_of = |book: &&Value| {
        let definition = definition(PATHS, "simple").search.unwrap();
        Naive::new(&definition, "of").matches(&book.to_string())
    };
    let condition = "data.year >= 2000 && data.language == 'eng'";
    let request = SearchRequest {
        filter: filter(condition),
        facets: facets(&["data.language:3", "data.authors:2", "data.none"]),
        types: vec!["Book".to_owned()],
        ..request("of")
    };
    let page = find(db, request).await;
    let expected = books
        .iter()
        .filter(of_year)
        .filter(with_of)
        .filter(|book| book["language"] == "eng")
        .count();
    assert!(expected > 10);
    assert_eq!(page.total, Total { value: expected as u64, exact: true });
    assert!(page.hits.iter().all(|hit| hit.entity.data.contains("\"eng\"")));
    let [(_, languages), (_, authors), (_, none)] = page.facets.as_slice() else { panic!() };
    // the languages without the condition on them
    for value in languages {
        let language: Value = serde_json::from_str(&value.value).unwrap();
        let is_it = |book: &&Value| book["language"] == language;
        let count = books.iter().filter(of_year).filter(with_of).filter(is_it).count();
        assert_eq!(value.count, count as u64, "{value:?}");
    }
    assert_eq!((languages[0].value.as_str(), languages.len()), ("\"eng\"", 3));
    assert_eq!((authors.len(), none.len()), (2, 0));
}

async fn pages_end_with_the_thousandth_hit(db: &Db) {
    let mut seen = Vec::<(f64, String)>::new();
    let mut next = None;
    for number in 1.. {
        let page = find(db, SearchRequest { token: next, ..request("the") }).await;
        seen.extend(page.hits.iter().map(|hit| (hit.score, hit.entity.key.entity_id().to_owned())));
        next = page.next;
        assert_eq!(next.is_none(), number == 10);
        if next.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 1000);
    let is_in_order = |pair: &[(f64, String)]| {
        pair[0].0 > pair[1].0 || pair[0].0 == pair[1].0 && pair[0].1 < pair[1].1
    };
    assert!(seen.windows(2).all(is_in_order));
}

async fn all_by_filter(db: &Db, books: &[Value]) {
    let (hits, total) = all(db, &request("  ")).await;
    assert_eq!((hits.len(), total), (1000, Total { value: 4000, exact: true }));
    let condition = SearchRequest { filter: filter("data.year < 1000"), ..request("") };
    let old = books.iter().filter(|book| book["year"].as_f64().is_some_and(|year| year < 1000.0));
    let mut old: Vec<_> = old.map(|book| book["id"].as_str().unwrap()).collect();
    old.sort_unstable();
    assert_eq!(ids(&find(db, condition).await), old);
}

pub(crate) async fn what_an_answered_write_did_is_found(db: Db) {
    declare(&db, "Car", r#""data.name":4,"data.notes":1"#, "simple").await;
    build(&db).await;
    let mut n = 0;
    let mut write = async |operation: &str, attributes: Value| {
        n += 1;
        let item = json!({"entityType": "Car", "entityId": "a", "operation": operation,
            "updatedAttributes": attributes});
        let verdicts = db.apply(&[event_of(n, &[item])]).await;
        assert!(verdicts[0].is_stored(), "{verdicts:?}");
    };
    let is_found = async |query: &str| !found(&db, query).await.is_empty();
    // both paths that are searched: the fast path knows all
    write("merge", json!({"name": "Red Fox", "notes": "old"})).await;
    assert!(is_found("red old").await);
    write("merge", json!({"other": 1})).await;
    assert!(is_found("fox").await);
    // one of them
    write("merge", json!({"name": "Blue Fox"})).await;
    assert!(is_found("blue old").await && !is_found("red").await);
    write("merge", json!({"notes": {"deep": ["new", null]}})).await;
    assert!(is_found("blue new").await && !is_found("old").await);
    write("merge", json!({"notes": null})).await;
    assert!(is_found("blue").await && !is_found("new").await);
    write("replace", json!({"notes": "third"})).await;
    assert!(is_found("third -blue").await && !is_found("blue").await);
    write("delete", json!({})).await;
    for query in ["third", "-none", ""] {
        assert!(!is_found(query).await, "{query}");
    }
    write("merge", json!({"x": 1})).await;
    assert!(is_found("-none").await && is_found("").await && !is_found("third").await);
    write("merge", json!({"name": "again", "notes": 7})).await;
    assert!(is_found("again").await);
    // two of one entity in a batch, and another type
    let batch = [
        car(100, "b", r#"{"name":"first"}"#),
        car(101, "b", r#"{"name":"second","notes":"x"}"#),
        event(102, &[("Van", "v", r#"{"name":"second"}"#)]),
    ];
    db.apply(&batch).await;
    assert_eq!(found(&db, "second x").await, ["b"]);
    assert!(!is_found("first").await);
}

pub(crate) async fn heavier_paths_come_first(db: Db) {
    let paths = r#""data.a":1,"data.b":2,"data.c":3,"data.d":4"#;
    declare(&db, "Car", paths, "simple").await;
    let (first, other) = ("needle in a stack", "nothing of this here");
    let documents: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .map(|path| {
            let mut document = json!({"a": other, "b": other, "c": other, "d": other, "id": path});
            document[path] = first.into();
            document
        })
        .collect();
    load(&db, "Car", 1, &documents).await;
    build(&db).await;
    let page = find(&db, request("needle")).await;
    assert_eq!(ids(&page), ["d", "c", "b", "a"]);
    assert!(page.hits.iter().all(|hit| hit.score > 0.0), "{page:?}");
    assert!(page.hits.windows(2).all(|pair| pair[0].score > pair[1].score), "{page:?}");
}

pub(crate) async fn words_are_found_by_their_stems(db: Db) {
    declare(&db, "Car", r#""data.t":1"#, "english").await;
    build(&db).await;
    let documents = [
        json!({"id": "1", "t": "The Hunger Games: running through the woods"}),
        json!({"id": "2", "t": "He runs; a game"}),
        json!({"id": "3", "t": "Naïve café owners"}),
    ];
    load(&db, "Car", 1, &documents).await;
    for (query, expected) in [
        ("run", vec!["1", "2"]),
        ("RUNNING game", vec!["1", "2"]),
        ("\"hunger game\"", vec!["1"]),
        ("\"hungers games\"", vec!["1"]),
        ("\"game hunger\"", vec![]),
        ("gam*", vec!["1", "2"]),
        ("-runs", vec!["3"]),
        ("naive cafe owner", vec!["3"]),
        ("wood", vec!["1"]),
    ] {
        let mut found = found(&db, query).await;
        found.sort();
        assert_eq!(found, expected, "{query}");
    }
}

fn fragments(hit: &Hit) -> Vec<(String, Vec<String>)> {
    let highlights = hit.highlights.iter();
    highlights.map(|highlight| (highlight.path.to_string(), highlight.fragments.clone())).collect()
}

pub(crate) async fn fragments_are_marked_and_escaped(db: Db) {
    for language in ["english", "simple"] {
        declare(&db, "Car", r#""data.t":4,"data.list":1"#, language).await;
        build(&db).await;
        let long = "word ".repeat(200);
        let documents = [json!({"id": "1",
            "t": "<script>alert('Games & <em>gaming</em>')</script> the hunger \"games\" 東京都",
            "list": [{"x": format!("{long}games {long}")}, "none", 7, "a games' end"],
            "games": "not searched"})];
        load(&db, "Car", if language == "simple" { 100 } else { 1 }, &documents).await;
        let highlight = SearchRequest { highlight: true, ..request("games") };
        let page = find(&db, highlight.clone()).await;
        let [(title, in_title), (list, in_list)] = fragments(&page.hits[0]).try_into().unwrap();
        assert_eq!((title.as_str(), list.as_str()), ("data.t", "data.list"));
        assert_eq!(in_title.len(), 1);
        // what the language takes for the same word is marked, and nothing else
        let gaming = if language == "english" { "<em>gaming</em>" } else { "gaming" };
        let expected = format!(
            "&lt;script&gt;alert(&#39;<em>Games</em> &amp; &lt;em&gt;{gaming}&lt;/em&gt;&#39;)\
             &lt;/script&gt; the hunger &quot;<em>games</em>&quot; 東京都"
        );
        assert_eq!(in_title[0], expected);
        assert_eq!(in_list.len(), 2);
        assert!(in_list[0].contains("word <em>games</em> word") && in_list[0].len() < 250);
        assert_eq!(in_list[1], "a <em>games</em>&#39; end");
        let phrase = SearchRequest { query: "\"hunger games\" 東京".into(), ..highlight.clone() };
        let page = find(&db, phrase).await;
        let [(_, in_title)] = fragments(&page.hits[0]).try_into().unwrap();
        assert!(
            in_title[0].ends_with("<em>hunger</em> &quot;<em>games</em>&quot; <em>東京</em>都")
        );
        let absent = SearchRequest { query: "-nothing".into(), ..highlight };
        assert_eq!(find(&db, absent).await.hits[0].highlights, []);
    }
}

pub(crate) async fn facets_count_the_hits(db: Db) {
    declare(&db, "Car", r#""data.t":1"#, "simple").await;
    build(&db).await;
    let documents: Vec<_> = (0..300)
        .map(|n: usize| {
            json!({"id": n.to_string(), "t": if n.is_multiple_of(3) { "red" } else { "blue" },
                "n": n % 7, "tags": ["all", format!("t{}", n % 2)]})
        })
        .collect();
    load(&db, "Car", 1, &documents).await;
    let request = SearchRequest {
        facets: facets(&["data.n:2", "data.tags", "data.t"]),
        size: 1,
        ..request("red")
    };
    let page = find(&db, request.clone()).await;
    let counts = |place: usize| -> Vec<(String, u64)> {
        page.facets[place].1.iter().map(|value| (value.value.clone(), value.count)).collect()
    };
    assert_eq!(page.total, Total { value: 100, exact: true });
    assert_eq!(counts(0), [("0".to_owned(), 15), ("3".to_owned(), 15)]);
    let tags = [("\"all\"", 100), ("\"t0\"", 50), ("\"t1\"", 50)];
    assert_eq!(counts(1), tags.map(|(value, count)| (value.to_owned(), count)));
    assert_eq!(counts(2), [("\"red\"".to_owned(), 100)]);
    let filtered = SearchRequest {
        filter: filter("data.n == 3 && data.tags.exists(x, x == 't1')"),
        ..request
    };
    let page = find(&db, filtered).await;
    assert_eq!(page.total.value, 8);
    assert_eq!(page.facets[0].1.len(), 2, "not by its own path");
}

/// Without a filter only the members of the documents are read that facets ask for.
pub(crate) async fn facets_count_alike_with_and_without_a_filter(db: Db) {
    declare(&db, "Car", r#""data.t":1"#, "simple").await;
    build(&db).await;
    let documents = [
        r#"{"t":"red","0":"zero","list":["first",{"b":7}],"a":{"b":[1,1.0,null],"c":"x"},"n":1.50}"#,
        r#"{"t":"red","0":null,"list":{"0":"member"},"a":{"b":1e0},"n":1.5,"odd \"'{}\\ ключ":"ö"}"#,
        r#"{"t":"red","a":"text","n":{"t":"red"},"odd \"'{}\\ ключ":"\u00f6"}"#,
        r#"{"t":"red","a":{"B":2},"n":123456789012345678901234567890.10}"#,
        r#"{"t":"blue","0":"other"}"#,
    ];
    let events: Vec<_> =
        (1..).zip(documents).map(|(n, text)| event(n, &[("Car", &n.to_string(), text)])).collect();
    db.apply(&events).await;
    let all = facets(&[
        r#"data["0"]"#,
        r#"data.list["0"]"#,
        "data.a.b",
        "data.a.c",
        "data.a",
        "data.n",
        r#"data["odd \"'{}\\ ключ"]"#,
        "data.none",
    ]);
    for query in ["red", "-blue", ""] {
        let plain = SearchRequest { facets: all.clone(), ..request(query) };
        let filtered = SearchRequest { filter: filter("version >= 1"), ..plain.clone() };
        let (plain, filtered) = (find(&db, plain).await, find(&db, filtered).await);
        assert_eq!(plain, filtered, "{query}");
        let counts: Vec<_> = plain.facets.iter().map(|(_, values)| values.len()).collect();
        let zeros = if query.is_empty() { 2 } else { 1 };
        assert_eq!(counts, [zeros, 1, 1, 1, 1, 2, 1, 0], "{query}");
    }
}

pub(crate) async fn types_have_languages_of_their_own(db: Db) {
    declare(&db, "Car", r#""data.t":1"#, "english").await;
    declare(&db, "Van", r#""data.t":1"#, "simple").await;
    build(&db).await;
    let document = r#"{"t":"running games"}"#;
    db.apply(&[event(
        1,
        &[("Car", "c", document), ("Van", "v", document), ("Bus", "b", document)],
    )])
    .await;
    let of = async |query: &str, types: &[&str]| {
        let types = types.iter().map(|&name| name.to_owned()).collect();
        let page = find(&db, SearchRequest { types, ..request(query) }).await;
        let mut ids: Vec<_> = ids(&page).into_iter().map(str::to_owned).collect();
        ids.sort();
        (ids.join(" "), page.total.value)
    };
    assert_eq!(of("run", &[]).await, ("c".to_owned(), 1));
    assert_eq!(of("running", &[]).await, ("c v".to_owned(), 2));
    assert_eq!(of("running", &["Van"]).await, ("v".to_owned(), 1));
    assert_eq!(of("-run", &[]).await, ("v".to_owned(), 1));
    assert_eq!(of("", &["Van", "Car"]).await, ("c v".to_owned(), 2));
}

pub(crate) async fn what_cannot_be_searched_is_refused(db: Db) {
    let nothing = find(&db, request("x")).await;
    assert_eq!((nothing.hits.len(), nothing.total.exact), (0, true), "no type declares search");
    db.apply(&[car(1, "a", r#"{"t":"x"}"#)]).await;
    declare(&db, "Car", r#""data.t":1"#, "simple").await;
    let of = |name: &str| SearchRequest { types: vec![name.to_owned()], ..request("x") };
    let problem = refused(&db, of("Car")).await;
    assert_eq!(problem.kind, ProblemKind::Malformed);
    assert!(problem.detail.contains("\"Car\" is being built"), "{problem}");
    let left_out = find(&db, request("x")).await;
    assert_eq!(left_out.total, Total { value: 0, exact: false });
    build(&db).await;
    let page = find(&db, of("Car")).await;
    assert_eq!(ids(&page), ["a"]);
    let engine = match &db.beside {
        Some(_) => Engine::OpenSearch,
        None if db.url.starts_with("sqlite") => Engine::Sqlite,
        None => Engine::PostgreSql,
    };
    assert_eq!(page.engine, engine);
    let problem = refused(&db, of("Van")).await;
    assert!(problem.detail.contains("\"Van\" has no search"), "{problem}");

    if !engine.finds_typos() {
        let fuzzy = refused(&db, SearchRequest { fuzzy: true, ..request("x") }).await;
        assert_eq!(fuzzy.kind, ProblemKind::Validation);
    }
    let long = refused(&db, request(&"x".repeat(1025))).await;
    assert_eq!(long.kind, ProblemKind::Malformed);
    let nine = facets(&["data.a"; 9]);
    let nine = refused(&db, SearchRequest { facets: nine, ..request("x") }).await;
    assert!(nine.detail.contains("at most 8"), "{nine}");

    db.apply(&[car(2, "b", r#"{"t":"x y"}"#)]).await;
    let first = find(&db, SearchRequest { size: 1, ..request("x") }).await;
    let next = SearchRequest { token: first.next.clone(), ..request("x") };
    assert_eq!(find(&db, next.clone()).await.hits.len(), 1);
    for other in [
        SearchRequest { query: "y".into(), ..next.clone() },
        SearchRequest { filter: filter("version == 1"), ..next.clone() },
        SearchRequest { types: vec!["Car".into()], ..next.clone() },
        SearchRequest { token: Some("forged".into()), ..next },
    ] {
        let problem = refused(&db, other).await;
        assert!(problem.detail.starts_with("/pageToken must be"), "{problem}");
    }
}

pub(crate) async fn no_text_is_too_much(db: Db) {
    declare(&db, "Car", r#""data.t":4,"data.u":1"#, "english").await;
    build(&db).await;
    let distinct = |size: usize, letters: &[char]| -> String {
        (0_usize..)
            .flat_map(|n| {
                let mut n = n;
                let digits = std::iter::from_fn(move || {
                    let digit = n % letters.len();
                    n /= letters.len();
                    Some(letters[digit])
                });
                digits.take(3).chain([' ']).collect::<Vec<_>>()
            })
            .take(size)
            .collect()
    };
    let ascii: Vec<char> = ('a'..='z').chain('0'..='9').collect();
    let cyrillic: Vec<char> = ('а'..='я').collect();
    for (n, text) in [
        distinct(300_000, &ascii),
        distinct(250_000, &cyrillic),
        "x".repeat(500_000),
        "東京都庁".repeat(30_000),
        "a ".repeat(200_000),
        ('\u{4e00}'..='\u{9fff}').chain('\u{20000}'..='\u{2a6d0}').collect(),
        "\u{fdfa}".repeat(20_000),
        "\"\\\t\u{1}<>".repeat(10_000),
        String::new(),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("{n}{}", "😀".repeat(250));
        let item = json!({"entityType": "Car", "entityId": id,
            "updatedAttributes": {"t": format!("first {text}"), "u": text}});
        let verdicts = db.apply(&[event_of(n as u128, &[item])]).await;
        assert!(verdicts[0].is_stored(), "{n}: {verdicts:?}");
        let first = find(&db, SearchRequest { bytes: 1, size: 1, ..request("first") }).await;
        assert_eq!(first.total, Total { value: n as u64 + 1, exact: true });
    }
    assert_eq!(found(&db, "\"都庁東\"").await.len(), 1);
    let long = "x".repeat(900);
    let limited = SearchRequest { bytes: 1, ..request(&long) };
    assert_eq!(find(&db, limited).await.total.value, 1);
    // pages of large documents have few hits, and none is missing
    let limited = SearchRequest { bytes: 600_000, ..request("first") };
    let (all, _) = all(&db, &limited).await;
    assert_eq!(all.len(), 9);
}

pub(crate) async fn words_of_every_script(db: Db) {
    const WORDS: [&str; 24] = [
        "a",
        "ab",
        "abc",
        "1e5",
        "1e5e5",
        "12e",
        "0x1f",
        "é",
        "e\u{301}",
        "ﬁ",
        "東京",
        "京都",
        "ひらがな",
        "ไทย",
        "한국어",
        "हिन्दी",
        "שלום",
        "مرحبا",
        "ΟΔΟΣ",
        "straße",
        "İ",
        "🚀",
        "x_y",
        "j.k.",
    ];
    let definition = definition(r#""data.t":1,"data.l":4"#, "simple").search.unwrap();
    declare(&db, "Car", r#""data.t":1,"data.l":4"#, "simple").await;
    build(&db).await;
    // a small generator, so that each run is the same
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let text = |random: &mut dyn FnMut(usize) -> usize| {
        let words = (0..random(6)).map(|_| WORDS[random(WORDS.len())]);
        words.collect::<Vec<_>>().join(" ")
    };
    let documents: Vec<_> = (0..200)
        .map(|n: usize| {
            let (t, l) = (text(&mut random), [text(&mut random), text(&mut random)]);
            json!({"id": n.to_string(), "t": t, "l": l})
        })
        .collect();
    load(&db, "Car", 1, &documents).await;
    for _ in 0..150 {
        let leaf = |random: &mut dyn FnMut(usize) -> usize| {
            let sign = ["", "", "", "-", "OR "][random(5)];
            let (one, other) = (WORDS[random(WORDS.len())], WORDS[random(WORDS.len())]);
            match random(5) {
                0 => format!("{sign}\"{one} {other}\""),
                1 => format!("{sign}{one}*"),
                2 => format!("{sign}\"{one} {other}\"*"),
                _ => format!("{sign}{one}"),
            }
        };
        let leaves: Vec<_> = (0..1 + random(3)).map(|_| leaf(&mut random)).collect();
        let query = leaves.join(" ");
        let naive = Naive::new(&definition, &query);
        let expected = documents.iter().filter(|document| naive.matches(&document.to_string()));
        let mut expected: Vec<_> =
            expected.map(|document| document["id"].as_str().unwrap()).collect();
        expected.sort_unstable();
        let (mut hits, _) = all(&db, &request(&query)).await;
        hits.sort_unstable();
        assert_eq!(hits, expected, "{query}");
    }
}
