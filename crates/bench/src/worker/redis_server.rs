//! A Redis server with a connection to it.

use producer_test_support::Redis;
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};

use crate::Result;

/// A new server, without persistence.
pub(super) struct RedisServer {
    server: Redis,
    pub(super) connection: MultiplexedConnection,
}

impl RedisServer {
    /// Starts it.
    pub(super) async fn start() -> Result<Self> {
        let server = Redis::start();
        let connection = connect(&server.url()).await?;
        Ok(Self { server, connection })
    }

    /// Its URL.
    pub(super) fn url(&self) -> String {
        self.server.url()
    }

    /// Another connection.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection> {
        connect(&self.url()).await
    }

    /// The entries of a stream.
    pub(super) async fn entries(&mut self, stream: &str) -> Result<u64> {
        Ok(cmd("XLEN").arg(stream).query_async(&mut self.connection).await?)
    }

    /// All keys.
    pub(super) async fn keys(&mut self) -> Result<u64> {
        Ok(cmd("DBSIZE").query_async(&mut self.connection).await?)
    }
}

async fn connect(url: &str) -> Result<MultiplexedConnection> {
    Ok(Client::open(url)?.get_multiplexed_async_connection().await?)
}
