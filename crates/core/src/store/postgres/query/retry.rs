//! Reads outlive broken connections of the pool.

use std::future::Future;
use std::time::Duration;

use crate::query::{ReadError, ReadErrorKind};
use crate::store::postgres::error::{StatementError, read_error};

/// Runs `read`, and again while the pooled connection write_lock out broken, up to `broken` times: the
/// pool doesn't look at a connection before it lends it, which would cost a round trip each time. A
/// server that restarted has broken every idle one.
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
            match read().await.map_err(read_error) {
                Err((StatementError::ConnectionLost(_), _)) => {}
                other => return other,
            }
        }
        read().await.map_err(read_error)
    };
    match tokio::time::timeout(deadline, attempts).await {
        Ok(result) => result.map_err(|(error, kind)| ReadError { kind, text: error.text() }),
        Err(_) => Err(ReadError {
            kind: ReadErrorKind::Unreachable,
            text: "the server doesn't answer".to_owned(),
        }),
    }
}
