//! The smallest service: the tests of the command line run it.

use std::net::SocketAddr;
use std::process::ExitCode;

use producer_server::serve::Listener;
use producer_server::{Api, App, Connection, cli};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Tiny;

#[derive(Debug, Clone, clap::Args)]
struct TinyArgs {
    /// Port to listen on
    #[arg(long, env = "SERVER_PORT", default_value = "9083",
          value_parser = producer_server::settings::port, value_name = "PORT")]
    server_port: u16,
}

impl Api for Tiny {
    const NAME: &'static str = "tiny";
    const API: &'static str = "tiny";
    const PORT_SETTING: &'static str = "SERVER_PORT";
    const DOCS: Option<&'static str> = Some("/docs");
    const PROTOCOLS: &'static [&'static [u8]] = &[];
    type Args = TinyArgs;

    fn port(args: &TinyArgs) -> u16 {
        args.server_port
    }

    async fn serve(app: App<TinyArgs>, listener: Listener) -> std::io::Result<()> {
        // kept open: a test counts how many there may be
        let mut connections = Vec::new();
        loop {
            let (mut connection, _) = tokio::select! {
                () = app.shutdown.cancelled() => return Ok(()),
                accepted = listener.socket().accept() => accepted?,
            };
            connection.write_all(b"ready").await?;
            connections.push(connection);
        }
    }

    async fn healthcheck(_: SocketAddr, mut connection: Connection) -> Result<(), String> {
        connection.read_u8().await.map(drop).map_err(|error| error.to_string())
    }
}

fn main() -> ExitCode {
    cli::main::<Tiny>()
}
