//! Makes two tests of one scenario.

/// Names scenarios, `async fn(&Database)`, each of which must hold on both databases.
macro_rules! on_both_databases {
    ($($scenario:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $scenario() {
                    super::$scenario(&e2e::Database::sqlite()).await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test]
                async fn $scenario() {
                    super::$scenario(&e2e::Database::postgres().await).await;
                }
            )+
        }
    };
}

pub(crate) use on_both_databases;
