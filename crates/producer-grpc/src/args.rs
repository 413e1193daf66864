//! The settings of this binary alone.

use producer_server::settings;

/// The settings of this binary alone.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Port to listen on
    #[arg(long, env = "GRPC_SERVER_PORT", default_value = "9092", value_parser = settings::port, value_name = "PORT")]
    pub grpc_server_port: u16,
}
