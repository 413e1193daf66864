//! Pages of rows whose size is limited.

use futures_util::{Stream, TryStreamExt};

use crate::query::LOG_BYTES;

/// Rows of a stream, at least one if there is any, up to about [`LOG_BYTES`].
pub(crate) async fn page<T>(
    mut rows: impl Stream<Item = Result<T, sqlx::Error>> + Unpin,
    bytes: impl Fn(&T) -> usize,
) -> Result<Vec<T>, sqlx::Error> {
    let (mut page, mut sum) = (Vec::new(), 0);
    while sum < LOG_BYTES
        && let Some(row) = rows.try_next().await?
    {
        sum += bytes(&row);
        page.push(row);
    }
    Ok(page)
}
