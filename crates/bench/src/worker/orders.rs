//! The orders of the backlog: as SQL makes them, and as a client writes them.

/// `entityType`
pub(super) const ENTITY_TYPE: &str = "Order";
/// Versions of each entity.
const VERSIONS: u64 = 10;
/// The part of an id before the number, which has seven digits.
const ID_PREFIX: &str = "order-";
/// The document: about 300 bytes as PostgreSQL's json keeps it.
pub(super) const DOCUMENT: &str = r#"{"status":"paid","currency":"EUR","total":184.90,"customer":{"id":"customer-48151","name":"Ada Lovelace","country":"GB"},"lines":[{"sku":"KB-2210-UK","quantity":1,"price":129.90},{"sku":"MS-0042","quantity":2,"price":27.50}],"shipping":{"method":"express","promised":"2024-01-17"},"paidAt":"2024-01-15T10:30:00Z"}"#;

/// The entities that so many changes are of.
pub(super) fn entities(changes: u64) -> u64 {
    (changes / VERSIONS).max(1)
}

/// The version that the last of so many changes makes.
pub(super) fn last_version(changes: u64) -> u64 {
    changes / entities(changes)
}

/// The id of an entity.
pub(super) fn id(number: u64) -> String {
    format!("{ID_PREFIX}{number:07}")
}

/// The same in SQL, of the number that an expression has.
pub(super) fn id_in_sql(number: &str) -> String {
    format!("'{ID_PREFIX}' || lpad(({number})::text, 7, '0')")
}
