//! Settings that both binaries share. Each is an environment variable and a flag of the same name;
//! flag over environment over `.env` over default.

use std::time::Duration;

use clap::Args;

/// Every setting of the contract but the port.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// postgres://… (14 or newer) or sqlite://FILE; without it the embedded data/producer.db
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL", global = true)]
    pub database_url: Option<String>,
    /// Address to listen on; there is no authentication, so widen it with care
    #[arg(
        long,
        env = "BIND_ADDRESS",
        default_value = "127.0.0.1",
        value_name = "IP",
        global = true
    )]
    pub bind_address: std::net::IpAddr,
    /// trace, debug, info, warn, error or off; RUST_LOG overrides it
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_name = "LEVEL", global = true)]
    pub log_level: tracing::level_filters::LevelFilter,
    /// Log "Persisted events count: N" whenever the count passes a multiple of this; 0 is off
    #[arg(long, env = "LOG_PROGRESS_EVERY", default_value_t = 10, value_name = "N", global = true)]
    pub log_progress_every: u64,
    /// Connections to PostgreSQL at most, writers included
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..), value_name = "N", global = true)]
    pub database_max_connections: u32,
    /// How long to wait for a connection
    #[arg(long, env = "DATABASE_ACQUIRE_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION", global = true)]
    pub database_acquire_timeout: Duration,
    /// How long one statement may take
    #[arg(long, env = "DATABASE_STATEMENT_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION", global = true)]
    pub database_statement_timeout: Duration,
    /// How long to wait for a row that a foreign session holds
    #[arg(long, env = "DATABASE_LOCK_TIMEOUT", default_value = "100ms", value_parser = duration, value_name = "DURATION", global = true)]
    pub database_lock_timeout: Duration,
    /// Whether starting migrates the database
    #[arg(long, env = "MIGRATE_ON_START", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL", global = true)]
    pub migrate_on_start: bool,
    /// Largest request body or message, on the wire and decoded; of NDJSON the longest line
    #[arg(long, env = "MAX_BODY_BYTES", default_value = "16MiB", value_parser = size, value_name = "SIZE", global = true)]
    pub max_body_bytes: usize,
    /// Largest document of an entity, as compact UTF-8
    #[arg(long, env = "MAX_ENTITY_BYTES", default_value = "1MiB", value_parser = size, value_name = "SIZE", global = true)]
    pub max_entity_bytes: usize,
    /// Open connections at most
    #[arg(
        long,
        env = "MAX_CONNECTIONS",
        default_value_t = 12_000,
        value_name = "N",
        global = true
    )]
    pub max_connections: usize,
    /// How long a client may take to the first byte and for the headers of a request
    #[arg(long, env = "HEADER_TIMEOUT", default_value = "10s", value_parser = duration, value_name = "DURATION", global = true)]
    pub header_timeout: Duration,
    /// How long a client may take for a body; for NDJSON and streams from byte to byte
    #[arg(long, env = "BODY_TIMEOUT", default_value = "30s", value_parser = duration, value_name = "DURATION", global = true)]
    pub body_timeout: Duration,
    /// Bytes of all requests read and not yet queued
    #[arg(long, env = "BODY_BUFFER_BYTES", default_value = "64MiB", value_parser = size, value_name = "SIZE", global = true)]
    pub body_buffer_bytes: usize,
    /// From the whole request to its answer; in bulk and streams the time without progress
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "3s", value_parser = duration, value_name = "DURATION", global = true)]
    pub request_timeout: Duration,
    /// Events that may wait for a writer
    #[arg(
        long,
        env = "INGEST_QUEUE_EVENTS",
        default_value_t = 20_000,
        value_name = "N",
        global = true
    )]
    pub ingest_queue_events: usize,
    /// Bytes of events that may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_BYTES", default_value = "64MiB", value_parser = size, value_name = "SIZE", global = true)]
    pub ingest_queue_bytes: usize,
    /// How long a single event may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_AGE", default_value = "2s", value_parser = duration, value_name = "DURATION", global = true)]
    pub ingest_queue_age: Duration,
    /// How long a stop may take to answer what is in flight
    #[arg(long, env = "SHUTDOWN_GRACE", default_value = "25s", value_parser = duration, value_name = "DURATION", global = true)]
    pub shutdown_grace: Duration,
}

/// Parses `500ms`, `2s`, `5m` or `1h`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(millis_per_unit))
        .filter(|&millis| millis > 0)
        .map(Duration::from_millis)
        .ok_or_else(|| "allowed is a duration above zero such as 500ms, 2s, 5m or 1h".into())
}

/// Parses bytes: `1048576`, `512KiB`, `16MiB` or `1GiB`.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn size(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let bytes_per_unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => 0,
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|n| n.checked_mul(bytes_per_unit))
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "allowed is a size above zero such as 1048576, 512KiB or 16MiB".into())
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}
