//! Plans that PostgreSQL keeps for a statement whatever its parameters are.
#![expect(clippy::unwrap_used, clippy::panic, reason = "so a test fails")]

mod support;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use support::lists::{Asked, lists, of_type};
use support::types::{build, declare, until};
use support::{Db, default};

/// One large type, and many small ones: on average a type is small.
const ENTITIES: &str = r#"
INSERT INTO entities (entity_type, entity_id, version, size, data, created_at, updated_at)
SELECT 'Car', 'car' || i, 1, 400, jsonb_build_object('dealer', i % 10000, 'note', note), now(), now()
FROM generate_series(1, 20000) AS i, repeat('note', 90) AS note
UNION ALL
SELECT 'Type' || i, 'one', 1, 2, '{}', now(), now() FROM generate_series(1, 1000) AS i"#;

/// How often the index was looked into, and how many rows look-ups by the key of `entities` have returned. A
/// session counts both of a page at once.
const LOOKED: &str =
    "SELECT idx_scan::text FROM pg_stat_user_indexes WHERE indexrelname = 'entity_index_by_key'";
const READ: &str =
    "SELECT idx_tup_read::text FROM pg_stat_user_indexes WHERE indexrelname = 'entities_pkey'";

/// A plan is kept from the sixth execution on.
const PAGES: usize = 100;

#[tokio::test]
async fn a_page_by_an_index_looks_its_entities_up_one_by_one() {
    let db = Db::postgres(default).await;
    let mut session = PgConnection::connect(db.direct_url()).await.unwrap();
    session.execute(ENTITIES).await.unwrap();
    declare(&db.store, r#""data.dealer""#).await;
    build(&db).await;
    session.execute("VACUUM (ANALYZE)").await.unwrap();
    let lists = lists(&db);
    for dealer in 0..PAGES {
        let request = of_type("Car").filtered(&format!("data.dealer == {dealer}"));
        assert_eq!(lists.page(request).await.unwrap().entities.len(), 2);
    }
    // a session that ends says what it has counted
    db.store.close().await;
    let number = async |query| db.texts(query).await[0].parse::<usize>().unwrap();
    until(async || number(LOOKED).await >= PAGES).await;
    let read = number(READ).await;
    // building reads each some times; a plan that reads the type as a whole does it for every page
    assert!(read < 20 * 20_000, "{read} rows for {PAGES} pages of two");
}
