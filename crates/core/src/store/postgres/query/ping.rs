//! Whether the server answers.

use crate::store::postgres::read_pool::Lender;

/// Whether the server answers.
pub(in crate::store::postgres) async fn ping(lender: &Lender) -> Result<(), sqlx::Error> {
    let mut lent = lender.lend().await?;
    let statement = sqlx::query("SELECT 1").persistent(lender.keeps_statements());
    statement.execute(&mut *lent.connection).await?;
    lent.give_back().await
}
