//! Retries reads that meet a broken connection of the pool.

use std::future::Future;
use std::time::Duration;

use crate::model::UnavailableKind;
use crate::query::ReadError;
use crate::store::postgres::error::StatementError;

/// Runs `read`, and again while its pooled connection is broken, up to `broken` times: the pool does
/// not test a connection each time, which would cost a round trip, and a server that restarted has
/// broken every idle one.
pub(in crate::store::postgres) async fn with_retry<T, F>(
    deadline: Duration,
    broken: u32,
    read: impl Fn() -> F,
) -> Result<T, ReadError>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let attempts = async {
        for _ in 0..broken {
            match read().await.map_err(StatementError::from) {
                Err(StatementError::OutcomeUnknown(_)) => {}
                other => return other,
            }
        }
        read().await.map_err(StatementError::from)
    };
    match tokio::time::timeout(deadline, attempts).await {
        Ok(result) => result.map_err(StatementError::into_read_error),
        Err(_) => Err(ReadError {
            kind: UnavailableKind::Unreachable,
            text: "the server doesn't answer".to_owned(),
        }),
    }
}
