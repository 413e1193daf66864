//! Pages of rows, bounded in number and bytes.

use futures_util::TryStreamExt;

/// Log rows of one page: at most so many, and about so many bytes, so that memory is bounded
/// however long the log is.
pub(crate) const PAGE_ROWS: i64 = 500;
pub(crate) const PAGE_BYTES: usize = 8 << 20;

/// Rows of a stream up to about [`PAGE_BYTES`]; a page is empty only at the end.
pub(crate) async fn page<T>(
    mut rows: impl futures_util::Stream<Item = Result<T, sqlx::Error>> + Unpin,
    bytes: impl Fn(&T) -> usize,
) -> Result<Vec<T>, sqlx::Error> {
    let (mut page, mut held) = (Vec::new(), 0);
    while held < PAGE_BYTES
        && let Some(row) = rows.try_next().await?
    {
        held += bytes(&row);
        page.push(row);
    }
    Ok(page)
}
