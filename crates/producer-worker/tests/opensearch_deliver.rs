//! Documents of the sink `opensearch`, on a real node.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use reqwest::Method;
use serde_json::{Value, json};
use support::opensearch::{Target, deleted, failed, left, refused, state};

#[tokio::test]
async fn a_document_is_the_entity_with_its_words() {
    let target = Target::new();
    target.searches.declare(3, "Car", r#""data.name":4,"data.notes":1"#, "english");
    let data = "{\"name\": \"Red Foxes\",\n \"notes\": [\"Été\"], \"price\": 1.10}";
    target.delivered(&[state("Car", "a/b c", 2, data), state("Van", "1", 1, "{}")]).await;
    let (version, document) = target.document("Car", "a/b c").await.unwrap();
    assert_eq!(version, 2);
    let expected = json!({
        "entityType": "Car", "entityId": "a/b c", "version": 2,
        "createdAt": "2026-01-01T00:00:00.000001Z", "updatedAt": "2026-01-01T00:00:00.000001Z",
        "data": {"name": "Red Foxes", "notes": ["Été"], "price": 1.10},
        "words": {"w1": {"english": "ete ʬ "}, "w4": {"english": "red foxes ʬ "}},
    });
    assert_eq!(document, expected);
    let (_, van) = target.document("Van", "1").await.unwrap();
    assert!(van.get("words").is_none() && van["data"] == json!({}), "{van}");

    let settings = target.call(Method::GET, &[&target.index("Car"), "_settings"], None).await;
    let settings = settings.unwrap()[target.index("Car")]["settings"]["index"].clone();
    assert_eq!(settings["gc_deletes"], "1h");
    let mapping = target.call(Method::GET, &[&target.index("Car"), "_mapping"], None).await;
    let mapping = mapping.unwrap()[target.index("Car")]["mappings"]["properties"].clone();
    let words = &mapping["words"]["properties"]["w4"]["properties"]["english"];
    assert_eq!(words["analyzer"], "producer-simple");
    assert_eq!(words["fields"]["stems"]["analyzer"], "producer-english");
}

/// Whoever writes, retries or comes late.
#[tokio::test]
async fn nothing_goes_back_to_an_older_version() {
    let target = Target::new();
    let version = async |id: &str| target.document("Car", id).await.map(|(version, _)| version);
    target.delivered(&[state("Car", "1", 5, r#"{"n":5}"#)]).await;
    target.delivered(&[state("Car", "1", 4, r#"{"n":4}"#)]).await;
    target.delivered(&[deleted("Car", "1", 4)]).await;
    assert_eq!(version("1").await, Some(5));
    // a delete is remembered, also of what was never there
    target.delivered(&[deleted("Car", "1", 6), deleted("Car", "2", 3)]).await;
    target.delivered(&[state("Car", "1", 5, "{}"), state("Car", "2", 2, "{}")]).await;
    assert_eq!((version("1").await, version("2").await), (None, None));
    // it exists again
    target.delivered(&[state("Car", "1", 7, r#"{"n":7}"#)]).await;
    assert_eq!(version("1").await, Some(7));
    // and does not match any more, nor does what is written late
    target.delivered(&[left("Car", "1", 8, r#"{"n":8}"#)]).await;
    target.delivered(&[state("Car", "1", 7, r#"{"n":7}"#)]).await;
    assert_eq!(version("1").await, None);
    // the filter was changed: the same version belongs there
    target.delivered(&[state("Car", "1", 8, r#"{"n":8}"#)]).await;
    assert_eq!(version("1").await, Some(8));
}

#[tokio::test]
async fn several_updates_of_an_entity_in_one_delivery() {
    let target = Target::new();
    let updates = [
        state("Car", "1", 1, r#"{"n":1}"#),
        state("Car", "2", 1, r#"{"n":1}"#),
        state("Car", "1", 2, r#"{"n":2}"#),
        deleted("Car", "2", 2),
        state("Car", "1", 3, r#"{"n":3}"#),
    ];
    target.delivered(&updates).await;
    let (version, document) = target.document("Car", "1").await.unwrap();
    assert_eq!((version, &document["data"]["n"]), (3, &json!(3)));
    assert_eq!(target.document("Car", "2").await, None);
}

#[tokio::test]
async fn what_does_not_fit_the_mapping_is_refused_alone() {
    let target = Target::new();
    target.delivered(&[state("Car", "1", 1, r#"{"n":1,"o":{"x":1},"d":"2026-01-01"}"#)]).await;
    let outcomes = target
        .deliver(&[
            state("Car", "2", 1, r#"{"n":"many"}"#),
            state("Car", "3", 1, r#"{"n":2,"d":"no date"}"#),
            state("Car", "4", 1, r#"{"o":"text"}"#),
            state("Car", "5", 1, r#"{"n":12345678901234567890123}"#),
        ])
        .await
        .unwrap();
    for place in [0, 2, 3] {
        let (detail, message) = refused(&outcomes[place]);
        assert!(detail.starts_with("mapper_parsing_exception: "), "{detail}");
        let document: Value = serde_json::from_slice(message).unwrap();
        assert_eq!(document["entityId"], (place + 2).to_string());
    }
    assert_eq!(outcomes[1], Ok(()), "a text that looked like a date once does not make it one");
    // a newer state that fits
    target.delivered(&[state("Car", "2", 2, r#"{"n":2}"#)]).await;
}

#[tokio::test]
async fn more_fields_than_an_index_has_are_refused() {
    let target = Target::new();
    let members: Vec<_> = (0..2600).map(|n| format!("\"f{n}\":1")).collect();
    let many = format!("{{{}}}", members.join(","));
    let fits = format!("{{{}}}", members[..1500].join(","));
    let updates = [state("Car", "1", 1, &many), state("Car", "2", 1, &fits)];
    let outcomes = target.deliver(&updates).await.unwrap();
    let (detail, _) = refused(&outcomes[0]);
    assert!(detail.contains("Limit of total fields [2500]"), "{detail}");
    assert_eq!(outcomes[1], Ok(()));
}

/// A full disk makes indexes read-only.
#[tokio::test]
async fn a_read_only_index_is_tried_again() {
    let target = Target::new();
    target.delivered(&[state("Car", "1", 1, "{}"), state("Van", "1", 1, "{}")]).await;
    let settings = [&*target.index("Car"), "_settings"];
    for block in ["read_only_allow_delete", "read_only", "write"] {
        let set = async |blocked: Value| {
            let body = json!({"index": {"blocks": {block: blocked}}});
            target.call(Method::PUT, &settings, Some(body)).await.unwrap();
        };
        set(json!(true)).await;
        let updates = [state("Car", "1", 2, "{}"), state("Van", "1", 2, "{}")];
        let outcomes = target.deliver(&updates).await.unwrap();
        let detail = failed(&outcomes[0]);
        assert!(detail.starts_with("cluster_block_exception: "), "{detail}");
        assert_eq!(outcomes[1], Ok(()), "the other index takes it");
        set(Value::Null).await;
        target.delivered(&updates).await;
    }
}

#[tokio::test]
async fn names_and_ids_of_every_kind() {
    let target = Target::new();
    let long = "😀".repeat(255);
    for name in ["Order", "order", "a/b \"c\" #1*", "ÄRGER", &long, "x,y", "-x"] {
        for id in ["1", &long, &"x".repeat(512), "a b/c?d=e&f%2F", "_update", "ключ"] {
            let update = state(name, id, 1, r#"{"n":1}"#);
            target.delivered(std::slice::from_ref(&update)).await;
            let stored = if id.len() > 512 {
                let index = target.index(name);
                target.call(Method::POST, &[&index, "_refresh"], None).await.unwrap();
                let query = json!({"query": {"term": {"entityId": id}}});
                let found = target.call(Method::POST, &[&index, "_search"], Some(query)).await;
                let hit = found.unwrap()["hits"]["hits"][0].clone();
                assert_eq!(hit["_id"].as_str().unwrap().len(), 64);
                hit["_source"].clone()
            } else {
                target.document(name, id).await.unwrap().1
            };
            assert_eq!((&stored["entityType"], &stored["entityId"]), (&json!(name), &json!(id)));
            target.delivered(&[deleted(name, id, 2)]).await;
        }
    }
}

#[tokio::test]
async fn a_template_of_the_users_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let template = json!({
        "composed_of": ["producer-entities"],
        "template": {
            "settings": {"index": {"number_of_replicas": 0}},
            "mappings": {"properties": {"data": {"type": "object", "enabled": false}}},
        },
    });
    std::fs::write(file.path(), template.to_string()).unwrap();
    let target = Target::with(Some(file.path().to_owned()), &[]);
    // nothing of the document is looked at
    let updates = [
        state("Car", "1", 1, r#"{"n":1e400,"":{"":1}}"#),
        state("Car", "2", 1, r#"{"n":"x","a.b":1,"a":2}"#),
    ];
    target.delivered(&updates).await;
    let path = [&*target.index("Car"), "_settings"];
    let settings = target.call(Method::GET, &path, None).await.unwrap();
    let settings = &settings[target.index("Car")]["settings"]["index"];
    assert_eq!(
        (&settings["gc_deletes"], &settings["number_of_replicas"]),
        (&json!("1h"), &json!("0"))
    );
}

#[tokio::test]
async fn bulks_are_limited_and_every_outcome_is_its_documents_own() {
    let target = Target::new();
    let text = "x ".repeat(300_000);
    let updates: Vec<_> = (0..25)
        .map(|n: usize| {
            let member = if n == 13 { "[{}]".to_owned() } else { format!("\"{text}\"") };
            state("Car", &n.to_string(), 1, &format!(r#"{{"t":{member}}}"#))
        })
        .collect();
    target.delivered(&updates[..1]).await;
    let outcomes = target.deliver(&updates).await.unwrap();
    for (n, outcome) in outcomes.iter().enumerate() {
        if n == 13 {
            refused(outcome);
        } else {
            assert_eq!(outcome, &Ok(()), "{n}");
            assert!(target.document("Car", &n.to_string()).await.is_some());
        }
    }
}

/// A server before the cluster takes bodies of 10,000 bytes alone, and wants a password.
#[tokio::test]
async fn bulks_that_are_too_large_for_a_server_are_split() {
    let bulk = async |headers: HeaderMap, body: String| {
        assert_eq!(headers["authorization"], "Basic bWU6cyBjcmV0");
        if body.len() > 10_000 {
            return (StatusCode::PAYLOAD_TOO_LARGE, String::new());
        }
        let count = body.lines().count() / 2;
        let items = vec![json!({"index": {"status": 201}}); count];
        (StatusCode::OK, json!({"errors": false, "items": items}).to_string())
    };
    let app = Router::new()
        .route("/es/_bulk", axum::routing::post(bulk))
        .fallback(async || "{}")
        .layer(DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    let url = format!("http://me:s%20cret@{address}/es");
    let target = Target::at(&url, "a-{type}", None, &[]);
    let text = "x".repeat(3000);
    let updates: Vec<_> = (0..20)
        .map(|n: usize| {
            let text = if n == 7 { text.repeat(5) } else { text.clone() };
            state("Car", &n.to_string(), 1, &format!(r#"{{"t":"{text}"}}"#))
        })
        .collect();
    let outcomes = target.deliver(&updates).await.unwrap();
    for (n, outcome) in outcomes.iter().enumerate() {
        if n == 7 {
            let (detail, message) = refused(outcome);
            assert!(detail.contains("too large for the server") && message.len() > 15_000);
        } else {
            assert_eq!(outcome, &Ok(()), "{n}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_away_fails_all_of_it() {
    let port = producer_test_support::free_port();
    let target = Target::at(&format!("http://me:secret@127.0.0.1:{port}"), "a-{type}", None, &[]);
    let failure = target.deliver(&[state("Car", "1", 1, "{}")]).await.unwrap_err();
    assert!(failure.detail.starts_with("it can't be reached: "), "{failure}");
    assert!(!failure.detail.contains("secret"), "{failure}");
    target.sink.check().await.unwrap_err();
}

#[tokio::test]
async fn check_looks_at_the_server() {
    Target::new().sink.check().await.unwrap();
}
