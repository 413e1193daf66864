//! What tells a pooler from PostgreSQL itself, for whoever has to set `DATABASE_POOLER`.

use sqlx::postgres::PgConnection;
use sqlx::{Error, Row};

use crate::store::settings::Pooler;

/// One line where a pooler refused the connection for what it asked; `None` for other errors.
pub fn refusal(error: &Error, set: Pooler) -> Option<String> {
    let Error::Database(refusal) = error else { return None };
    let said = refusal.message();
    said.starts_with("unsupported startup parameter").then(|| match set {
        Pooler::None => unusable(&format!("the server is a pooler: {said}")),
        Pooler::Transaction => {
            format!("DATABASE_URL: the pooler says: {said}; leave its options out of the URL")
        }
    })
}

fn unusable(why: &str) -> String {
    format!(
        "DATABASE_POOLER: \"none\" is unusable: {why}; \
         allowed is transaction, for PgBouncer in transaction mode"
    )
}

/// An option that every connection sets, to see whether the others arrive.
pub const MARK: (&str, &str) = ("producer.options", "arrive");

/// Whether the server has got the connection's options; the inner error is one line. A pooler may
/// drop them in silence, and with them the promise that what is acknowledged is on disk.
pub async fn options_arrive(connection: &mut PgConnection) -> Result<Result<(), String>, Error> {
    let mark = sqlx::raw_sql("SELECT coalesce(current_setting('producer.options', true), '')");
    let mark: String = mark.fetch_one(connection).await?.try_get(0)?;
    let why = "the connection's options don't arrive, as if a pooler stood before the server";
    Ok(if mark == MARK.1 { Ok(()) } else { Err(unusable(why)) })
}
