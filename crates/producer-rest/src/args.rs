//! The settings of this binary alone.

use http::HeaderValue;
use producer_server::settings;

/// Settings that this binary alone has.
#[derive(Debug, Clone, clap::Args)]
pub struct RestArgs {
    /// Port to listen on
    #[arg(long, env = "SERVER_PORT", default_value_t = 9083, value_parser = settings::port, value_name = "PORT", global = true)]
    pub server_port: u16,
    /// Origins whose scripts may call, separated by commas, or * for all; writes other than events are open
    /// only to origins that are named, and to the service's own
    #[arg(
        long,
        env = "CORS_ALLOWED_ORIGINS",
        default_value = "*",
        value_parser = origins,
        value_name = "ORIGINS",
        global = true
    )]
    pub cors_allowed_origins: Origins,
}

/// Origins whose scripts may call; an empty list means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins(pub(crate) Vec<HeaderValue>);

fn origins(text: &str) -> Result<Origins, String> {
    if text.trim() == "*" {
        return Ok(Origins(Vec::new()));
    }
    let origin = |part: &str| {
        let part = part.trim();
        let host = part.split_once("://").map_or("", |(_, host)| host);
        let is_origin = !host.is_empty() && !host.contains(['/', '*', '?', '#', ' ']);
        HeaderValue::from_str(part).ok().filter(|_| is_origin)
    };
    text.split(',')
        .map(origin)
        .collect::<Option<_>>()
        .map(Origins)
        .ok_or_else(|| "allowed is * or origins such as https://a.example,https://b.example".into())
}
