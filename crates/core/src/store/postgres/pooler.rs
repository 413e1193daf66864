//! Detects a connection pooler in front of PostgreSQL, so that a missing `DATABASE_POOLER` is an error
//! and not a silent loss of settings.

use sqlx::postgres::PgConnection;
use sqlx::{Error, Row};

use crate::store::settings::Pooler;

/// One line where a pooler refused the connection for a startup parameter; `None` for other errors.
pub fn refusal(error: &Error, set: Pooler) -> Option<String> {
    let Error::Database(refusal) = error else { return None };
    let said = refusal.message();
    said.starts_with("unsupported startup parameter").then(|| match set {
        Pooler::None => invalid(&format!("the server is a pooler: {said}")),
        Pooler::Transaction => {
            format!("DATABASE_URL: the pooler says: {said}; leave its options out of the URL")
        }
    })
}

fn invalid(why: &str) -> String {
    format!(
        "DATABASE_POOLER: \"none\" is invalid: {why}; \
         allowed is transaction, for PgBouncer in transaction mode"
    )
}

/// An option that every connection sets, to check whether options reach the server.
pub const PROBE_OPTION: (&str, &str) = ("producer.options", "arrive");

/// Whether the connection's options reached the server; the inner error is one line. A pooler may
/// drop them silently, and with them `synchronous_commit`.
pub async fn check_options(connection: &mut PgConnection) -> Result<Result<(), String>, Error> {
    let mark = sqlx::raw_sql("SELECT coalesce(current_setting('producer.options', true), '')");
    let mark: String = mark.fetch_one(connection).await?.try_get(0)?;
    let why = "the connection's options do not reach the server, as if through a pooler";
    Ok(if mark == PROBE_OPTION.1 { Ok(()) } else { Err(invalid(why)) })
}
