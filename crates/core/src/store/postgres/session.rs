//! How sessions of the server are set up: by options of the connection or, behind a pooler that assigns
//! a session for one transaction only, at the start of each transaction.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, SqlSafeStr, SqlStr};

use super::pooler;
use crate::store::settings::{DatabaseSettings, Pooler};

/// What a client-side deadline allows beyond the server's own.
pub(super) const SLACK: Duration = Duration::from_millis(500);

fn session_settings(settings: &DatabaseSettings) -> [(&'static str, String); 9] {
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    [
        ("statement_timeout", millis(settings.statement_timeout)),
        ("lock_timeout", millis(settings.lock_timeout)),
        // a writer that is idle within a transaction is stuck
        ("idle_in_transaction_session_timeout", millis(settings.statement_timeout * 2)),
        // an acknowledged event is on disk, whatever the server's default says
        ("synchronous_commit", "on".to_owned()),
        // every statement looks rows up by their keys; a plan cached when a table was small must not
        // go on scanning it
        ("enable_seqscan", "off".to_owned()),
        ("enable_hashjoin", "off".to_owned()),
        ("enable_mergejoin", "off".to_owned()),
        // a cached plan takes a type for as large as types are on average: where that is small, it would
        // read a large one as a whole, once, instead of looking each entity up
        ("enable_material", "off".to_owned()),
        // a scan that is off, but the only way (a table of one row), has such costs in the plan that the
        // server would compile the statement, for half a second
        ("jit", "off".to_owned()),
    ]
}

/// How every connection of ours is set up. Without a pooler the settings are options of the
/// connection, so that they hold from its first statement on, without a round trip.
pub(super) fn options(base: PgConnectOptions, settings: &DatabaseSettings) -> PgConnectOptions {
    let options = base.application_name("producer").disable_statement_logging();
    match settings.pooler {
        Pooler::None => options
            .options(session_settings(settings))
            .options([("default_transaction_isolation", "read committed"), pooler::PROBE_OPTION]),
        // a pooler refuses options that it can't keep per session
        Pooler::Transaction => options.extra_float_digits(None),
    }
}

/// How transactions begin, and whether statements may stay prepared in their session.
#[derive(Debug, Clone)]
pub(super) struct Transactions {
    /// A session lasts for one transaction only: even a single statement needs a transaction, since
    /// preparing and executing it are two messages.
    pub(super) always: bool,
    pub(super) begin: SqlStr,
    /// Locked rows are skipped; what can't be skipped (a key that another session is inserting, a lock
    /// on the table) is waited for briefly.
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
        // built from our own numbers and names only
        let sql = |text| AssertSqlSafe(text).into_sql_str();
        Self { always, begin: sql(begin), begin_skip_locked: sql(begin_skip_locked) }
    }

    /// Whether prepared statements may stay in the session, under a name, for the next time.
    pub(super) fn caches_statements(&self) -> bool {
        !self.always
    }
}
