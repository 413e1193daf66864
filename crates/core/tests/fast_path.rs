//! Which batches PostgreSQL applies in one statement: speed that no result shows.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use producer_core::Event;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use support::types::declare;
use support::{Db, default, event_of, search};

/// No two events have the same.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// Notes the statement that wrote a row of the log; what is rolled back is not noted.
const NOTE: &str = r"
CREATE TABLE noted (statement text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noted VALUES (current_query());
    RETURN NEW;
END
$$;
CREATE TRIGGER note BEFORE INSERT ON event_log FOR EACH ROW EXECUTE FUNCTION note();";

fn item(id: &str, members: Value) -> Value {
    let mut item = json!({"entityType": "Car", "entityId": id});
    item.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    item
}

fn merge(id: &str, attributes: Value) -> Value {
    item(id, json!({"updatedAttributes": attributes}))
}

fn replace(id: &str, attributes: Value) -> Value {
    item(id, json!({"operation": "replace", "updatedAttributes": attributes}))
}

fn expecting(id: &str, version: u64) -> Value {
    item(id, json!({"expectedVersion": version, "updatedAttributes": {"a": version}}))
}

fn delete(id: &str) -> Value {
    item(id, json!({"operation": "delete"}))
}

fn existing(id: &str, exists: bool) -> Value {
    item(id, json!({"exists": exists, "updatedAttributes": {"e": exists}}))
}

#[tokio::test]
async fn usual_batches_take_one_statement() {
    let db = Db::postgres(default).await;
    let mut session = PgConnection::connect(&db.url).await.unwrap();
    session.execute(NOTE).await.unwrap();
    let nested = json!({"a": {"b": [null, 1]}});
    let with_null = json!({"a": {"b": null}});
    // each batch finds what those before it made
    let batches: Vec<(bool, Vec<Value>)> = vec![
        (true, vec![merge("a", json!({"x": 1}))]),
        (true, vec![merge("a", json!({"y": 1})), merge("b", json!({}))]),
        (false, vec![merge("a", nested.clone())]),
        (true, vec![replace("a", nested.clone())]),
        (false, vec![replace("a", with_null)]),
        (true, vec![expecting("a", 5)]),
        (true, vec![existing("a", true)]),
        (true, vec![existing("new", false)]),
        (true, vec![delete("new")]),
        // made anew
        (false, vec![merge("new", json!({}))]),
        (
            true,
            vec![replace("a", nested), merge("a", json!({"z": 1})), merge("b", json!({"b": 1}))],
        ),
        (true, vec![expecting("a", 9), expecting("a", 10), delete("b")]),
        (false, vec![merge("c", json!({})), delete("c")]),
        (true, vec![existing("e", false), expecting("e", 1), replace("d", json!({})), delete("d")]),
        (false, vec![delete("a"), merge("a", json!({}))]),
        (false, vec![item("a", json!({"condition": "version > 0", "updatedAttributes": {}}))]),
    ];
    for_each(&db, &mut session, batches).await;
}

#[tokio::test]
async fn batches_that_decide_keys_of_indexes_take_one_statement() {
    let db = Db::postgres(default).await;
    let mut session = PgConnection::connect(&db.url).await.unwrap();
    session.execute(NOTE).await.unwrap();
    declare(&db.store, r#""data.a", "data.b.c", ["data.d", "data.e"], ["data.f", "createdAt"]"#)
        .await;
    let batches: Vec<(bool, Vec<Value>)> = vec![
        (true, vec![merge("a", json!({"x": 1}))]),
        (true, vec![merge("a", json!({"a": 1}))]),
        (true, vec![merge("a", json!({"b": "below it is nothing"}))]),
        (true, vec![merge("a", json!({"d": 1, "e": 2})), merge("b", json!({"a": 1}))]),
        // the other value is in the database alone
        (false, vec![merge("a", json!({"d": 1}))]),
        (true, vec![merge("a", json!({"f": 1}))]),
        (true, vec![replace("a", json!({"x": 1}))]),
        (true, vec![replace("new", json!({"f": 1})), merge("a", json!({"f": 2}))]),
        (true, vec![delete("a")]),
        (true, vec![expecting("b", 1)]),
    ];
    for_each(&db, &mut session, batches).await;
    declare(&db.store, r#""createdAt", ["updatedAt", "createdAt"], ["data.a", "updatedAt"]"#).await;
    let batches: Vec<(bool, Vec<Value>)> = vec![
        // the writer learns of the definition
        (false, vec![merge("t", json!({"a": 1}))]),
        (true, vec![merge("t", json!({"a": 1})), merge("u", json!({"a": 1}))]),
        (true, vec![replace("t", json!({"x": 1}))]),
        (false, vec![merge("t", json!({"x": 1}))]),
        (true, vec![delete("t")]),
    ];
    for_each(&db, &mut session, batches).await;
    declare(&db.store, r#""data.a", "data.b.c""#).await;
    let batches: Vec<(bool, Vec<Value>)> = vec![
        // the writer learns of the definition
        (false, vec![merge("c", json!({"x": 1}))]),
        (true, vec![replace("c", json!({"b": {"c": 1}})), merge("c", json!({"a": 1}))]),
        (false, vec![merge("c", json!({"b": {"c": 1}}))]),
    ];
    for_each(&db, &mut session, batches).await;
}

#[tokio::test]
async fn batches_that_decide_the_words_that_are_searched_take_one_statement() {
    let db = Db::postgres(default).await;
    let mut session = PgConnection::connect(&db.url).await.unwrap();
    session.execute(NOTE).await.unwrap();
    search::declare(&db, "Car", r#""data.t":4,"data.u.v":1"#, "english").await;
    let batches: Vec<(bool, Vec<Value>)> = vec![
        (true, vec![merge("a", json!({"t": "red", "u": 1}))]),
        (true, vec![merge("a", json!({"x": 1})), merge("b", json!({"t": ["blue"], "u": []}))]),
        (false, vec![merge("a", json!({"t": "green"}))]),
        (true, vec![replace("a", json!({"u": {"v": "white"}}))]),
        (true, vec![delete("a")]),
        (false, vec![merge("a", json!({"t": "made anew", "u": 1}))]),
        (true, vec![expecting("b", 1)]),
    ];
    for_each(&db, &mut session, batches).await;
    let words = "SELECT words::text FROM entity_search ORDER BY entity_id";
    assert_eq!(db.texts(words).await, ["'1:anew':2A '1:made':1A '1:ʬ':3A", "'1:blue':1A '1:ʬ':2A"]);
}

/// After a restore the definitions have a lower generation than the one that running processes know.
#[tokio::test]
async fn batches_take_one_statement_again_after_a_restore() {
    let db = Db::postgres(default).await;
    let mut session = PgConnection::connect(&db.url).await.unwrap();
    session.execute(NOTE).await.unwrap();
    declare(&db.store, r#""data.a""#).await;
    declare(&db.store, r#""data.a", "data.b""#).await;
    for_each(&db, &mut session, vec![(true, vec![merge("a", json!({"x": 1}))])]).await;
    session.execute("UPDATE type_generation SET generation = 1").await.unwrap();
    let merges = |is_fast| (is_fast, vec![merge("a", json!({"x": 1}))]);
    for_each(&db, &mut session, vec![merges(false), merges(true), merges(true)]).await;
}

/// Each batch is fast or not.
async fn for_each(db: &Db, session: &mut PgConnection, batches: Vec<(bool, Vec<Value>)>) {
    let mut number = NUMBERS.fetch_add(1000, Ordering::Relaxed);
    for (is_fast, items) in batches {
        let events: Vec<Event> = items
            .iter()
            .map(|item| {
                number += 1;
                event_of(number.into(), std::slice::from_ref(item))
            })
            .collect();
        let verdicts = db.apply(&events).await;
        assert!(verdicts.iter().all(|verdict| verdict.is_stored()), "{items:?}: {verdicts:?}");
        let noted: Vec<String> = sqlx::query_scalar("DELETE FROM noted RETURNING statement")
            .fetch_all(&mut *session)
            .await
            .unwrap();
        assert_eq!(noted.len(), items.len());
        let took_one = noted.iter().all(|text| text.trim_start().starts_with("WITH changed AS ("));
        assert_eq!(took_one, is_fast, "{items:?}: {noted:?}");
    }
}
