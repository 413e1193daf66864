//! Applies migrations to PostgreSQL one statement at a time. sqlx's own migrator sends each file as one
//! text, which some engines that speak PostgreSQL's protocol refuse (Citus with sharding by schema).

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, Executor, PgConnection};

/// Which way the schema goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    Up,
    DownTo(i64),
}

/// Applies what is pending, or reverts what is above the target.
///
/// # Errors
/// As [`up`].
pub(crate) async fn run(
    connection: &mut PgConnection,
    migrator: &Migrator,
    direction: Direction,
) -> Result<(), MigrateError> {
    match direction {
        Direction::Up => up(connection, migrator).await,
        Direction::DownTo(target) => down(connection, migrator, target).await,
    }
}

/// The tables that reverting step `version` drops.
pub(crate) fn dropped_tables(migrator: &Migrator, version: i64) -> Vec<String> {
    let down =
        |step: &&Migration| step.version == version && step.migration_type.is_down_migration();
    let sql = migrator.iter().find(down).map(|step| step.sql.as_str()).unwrap_or_default();
    let dropped = sql.lines().filter_map(|line| line.strip_prefix("DROP TABLE "));
    dropped.map(|table| table.trim_end_matches(';').to_owned()).collect()
}

/// Applies every pending migration, each in a transaction of its own.
///
/// # Errors
/// A statement failed, or an applied migration differs from ours; what was applied before is kept.
async fn up(connection: &mut PgConnection, migrator: &Migrator) -> Result<(), MigrateError> {
    let applied = applied(connection, migrator).await?;
    for migration in migrator.iter().filter(|step| step.migration_type.is_up_migration()) {
        match applied.iter().find(|done| done.version == migration.version) {
            Some(done) if done.checksum != migration.checksum => {
                return Err(MigrateError::VersionMismatch(migration.version));
            }
            Some(_) => {}
            None => apply(connection, migrator, migration).await?,
        }
    }
    Ok(())
}

/// Reverts every applied migration above `target`, the newest first.
///
/// # Errors
/// As [`up`].
async fn down(
    connection: &mut PgConnection,
    migrator: &Migrator,
    target: i64,
) -> Result<(), MigrateError> {
    let applied = applied(connection, migrator).await?;
    let is_applied = |step: &&Migration| applied.iter().any(|done| done.version == step.version);
    let downs = migrator.iter().filter(|step| step.migration_type.is_down_migration());
    let mut reverted: Vec<_> =
        downs.filter(|step| step.version > target).filter(is_applied).collect();
    reverted.sort_by_key(|step| std::cmp::Reverse(step.version));
    for migration in reverted {
        revert(connection, migrator, migration).await?;
    }
    Ok(())
}

async fn applied(
    connection: &mut PgConnection,
    migrator: &Migrator,
) -> Result<Vec<AppliedMigration>, MigrateError> {
    connection.ensure_migrations_table(&migrator.table_name).await?;
    if let Some(version) = connection.dirty_version(&migrator.table_name).await? {
        return Err(MigrateError::Dirty(version));
    }
    connection.list_applied_migrations(&migrator.table_name).await
}

async fn apply(
    connection: &mut PgConnection,
    migrator: &Migrator,
    migration: &Migration,
) -> Result<(), MigrateError> {
    let mut transaction = connection.begin().await?;
    execute(&mut transaction, migration).await?;
    // records the migration without running its text again
    transaction.skip(&migrator.table_name, migration).await?;
    Ok(transaction.commit().await?)
}

async fn revert(
    connection: &mut PgConnection,
    migrator: &Migrator,
    migration: &Migration,
) -> Result<(), MigrateError> {
    let mut transaction = connection.begin().await?;
    execute(&mut transaction, migration).await?;
    let delete = format!("DELETE FROM {} WHERE version = $1", migrator.table_name);
    let delete = sqlx::query(AssertSqlSafe(delete)).bind(migration.version).persistent(false);
    delete.execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

async fn execute(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
    for statement in split(migration.sql.as_str()) {
        let executed = connection.execute(AssertSqlSafe(statement.to_owned())).await;
        executed.map_err(|error| MigrateError::ExecuteMigration(error, migration.version))?;
    }
    Ok(())
}

/// The statements of a migration: each ends with a semicolon before an empty line, or at the end.
fn split(sql: &str) -> impl Iterator<Item = &str> {
    let has_code =
        |part: &&str| part.lines().any(|line| !line.is_empty() && !line.starts_with("--"));
    sql.trim_end().split_inclusive(";\n\n").filter(has_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dropped_tables_are_found_by_name() {
        for migrator in
            [sqlx::migrate!("../../migrations/postgres"), sqlx::migrate!("../../migrations/sqlite")]
        {
            let downs = migrator.iter().filter(|step| step.migration_type.is_down_migration());
            for step in downs {
                let found = dropped_tables(&migrator, step.version);
                assert_eq!(found.len(), step.sql.as_str().matches("DROP TABLE").count());
                assert!(
                    found.iter().all(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
                );
            }
        }
    }

    #[test]
    fn this_releases_newest_step_is_the_one_that_health_checks() {
        for migrator in
            [sqlx::migrate!("../../migrations/postgres"), sqlx::migrate!("../../migrations/sqlite")]
        {
            let newest = migrator.iter().map(|step| step.version).max();
            assert_eq!(newest, Some(producer_core::store::SCHEMA_VERSION));
        }
    }

    #[test]
    fn every_part_of_a_migration_is_one_whole_statement() {
        let migrator = sqlx::migrate!("../../migrations/postgres");
        for migration in migrator.iter() {
            let statements: Vec<_> = split(migration.sql.as_str()).collect();
            assert!(statements.len() > 1, "{}", migration.description);
            for statement in statements {
                let code: Vec<_> =
                    statement.lines().map(|line| line.split("--").next().unwrap_or("")).collect();
                let code = code.join("\n");
                // a semicolon that is not within $$ … $$ ends the statement
                let outside: String = code.split("$$").step_by(2).collect();
                assert_eq!(outside.matches(';').count(), 1, "{statement}");
                assert!(outside.trim_end().ends_with(';'), "{statement}");
                assert_eq!(code.matches("$$").count() % 2, 0, "{statement}");
            }
        }
    }
}
