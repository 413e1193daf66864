//! How sessions of the server are set up: by options of the connection, or, where a pooler lends a
//! session for one transaction alone, at the head of each transaction.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, SqlSafeStr, SqlStr};

use super::pooler;
use crate::store::settings::{DatabaseSettings, Pooler};

/// What a client-side deadline allows beyond the server's own.
pub(super) const SLACK: Duration = Duration::from_millis(500);

fn session_settings(settings: &DatabaseSettings) -> [(&'static str, String); 7] {
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    [
        ("statement_timeout", millis(settings.statement_timeout)),
        ("lock_timeout", millis(settings.lock_timeout)),
        // a writer that stands still between two statements is stuck
        ("idle_in_transaction_session_timeout", millis(settings.statement_timeout * 2)),
        // an acknowledged event is on disk, whatever the server's default says
        ("synchronous_commit", "on".to_owned()),
        // every statement looks rows up by their keys; a plan made when a table was small must not
        // scan it for ever
        ("enable_seqscan", "off".to_owned()),
        ("enable_hashjoin", "off".to_owned()),
        ("enable_mergejoin", "off".to_owned()),
    ]
}

/// How every connection of ours is set up. Without a pooler the settings are options of the
/// connection, so that they hold from its first statement on, without a round trip.
pub(super) fn options(base: PgConnectOptions, settings: &DatabaseSettings) -> PgConnectOptions {
    let options = base.application_name("producer").disable_statement_logging();
    match settings.pooler {
        Pooler::None => options
            .options(session_settings(settings))
            .options([("default_transaction_isolation", "read committed"), pooler::MARK]),
        // a pooler refuses what it can't carry from one session to the next
        Pooler::Transaction => options.extra_float_digits(None),
    }
}

/// How transactions begin, and what a statement may leave behind in its session.
#[derive(Debug, Clone)]
pub(super) struct Transactions {
    /// The session is ours for one transaction alone: even a statement that would be its own
    /// transaction stands in one, since preparing and running it are two messages.
    pub(super) always: bool,
    pub(super) begin: SqlStr,
    /// Waits for no row lock; what can't be skipped (a key that another session is just inserting,
    /// and a lock on the table) is waited for a little.
    pub(super) begin_skip_locked: SqlStr,
}

impl Transactions {
    pub(super) fn new(settings: &DatabaseSettings) -> Self {
        let always = settings.pooler == Pooler::Transaction;
        let mut begin = "BEGIN".to_owned();
        if always {
            begin += " ISOLATION LEVEL READ COMMITTED";
            for (name, value) in session_settings(settings) {
                begin += &format!("; SET LOCAL {name} = '{value}'");
            }
        }
        let begin_skip_locked = format!("{begin}; SET LOCAL lock_timeout = '10ms'");
        // made of numbers and names of our own
        let sql = |text| AssertSqlSafe(text).into_sql_str();
        Self { always, begin: sql(begin), begin_skip_locked: sql(begin_skip_locked) }
    }

    /// Whether prepared statements may stay in the session, under a name, for the next time.
    pub(super) fn keep_statements(&self) -> bool {
        !self.always
    }
}
