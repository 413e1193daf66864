//! Runs a scenario on both databases.

/// Defines two tests for each scenario, an `async fn(&Database)`.
macro_rules! on_both_databases {
    ($($scenario:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $scenario() {
                    super::$scenario(&producer_e2e::Database::sqlite()).await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test]
                async fn $scenario() {
                    super::$scenario(&producer_e2e::Database::postgres().await).await;
                }
            )+
        }
    };
}

pub(crate) use on_both_databases;
