//! Settings that both binaries share. Each is an environment variable and a flag of the same name;
//! flag over environment over `.env` over default.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgAction, Args};
use producer_core::ingest::Limits;
use producer_core::store::{DatabaseSettings, Pooler};
use tracing::level_filters::LevelFilter;

/// Every setting of the contract but the port. The command line makes each of them global and
/// reads the environment for it.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// postgres://… (14 or newer) or sqlite://FILE; without it the embedded data/producer.db
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// File that holds DATABASE_URL's value instead; one of the two
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// Address to listen on; there is no authentication, so widen it with care
    #[arg(long, env = "BIND_ADDRESS", default_value = "127.0.0.1", value_parser = ip, value_name = "IP")]
    pub bind_address: IpAddr,
    /// PEM file with the certificate and its chain: the API's port serves TLS; ADMIN_PORT stays plain
    #[arg(long, env = "TLS_CERT_FILE", value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file with the certificate's private key; both or neither
    #[arg(long, env = "TLS_KEY_FILE", value_name = "FILE")]
    pub tls_key_file: Option<PathBuf>,
    /// trace, debug, info, warn, error or off; RUST_LOG overrides it
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = level, value_name = "LEVEL")]
    pub log_level: LevelFilter,
    /// Log "Persisted events count: N" whenever the count passes a multiple of this; 0 is off
    #[arg(long, env = "LOG_PROGRESS_EVERY", default_value = "10", value_parser = whole, value_name = "N")]
    pub log_progress_every: u64,
    /// A request that takes longer is named in the log, with where its time went; 0 is off
    #[arg(long, env = "SLOW_REQUEST", default_value = "1s", value_parser = duration_or_off, value_name = "DURATION")]
    pub slow_request: Duration,
    /// Connections to PostgreSQL at most, writers included
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", default_value = "10", value_parser = connections, value_name = "N")]
    pub database_max_connections: u32,
    /// How long to wait for a connection
    #[arg(long, env = "DATABASE_ACQUIRE_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub database_acquire_timeout: Duration,
    /// How long a connection may idle before it is closed
    #[arg(long, env = "DATABASE_IDLE_TIMEOUT", default_value = "10m", value_parser = duration, value_name = "DURATION")]
    pub database_idle_timeout: Duration,
    /// How old a connection may become before another takes its place
    #[arg(long, env = "DATABASE_MAX_LIFETIME", default_value = "30m", value_parser = duration, value_name = "DURATION")]
    pub database_max_lifetime: Duration,
    /// none, or transaction where DATABASE_URL leads through PgBouncer in that mode
    #[arg(long, env = "DATABASE_POOLER", default_value = "none", value_parser = pooler, value_name = "MODE")]
    pub database_pooler: Pooler,
    /// How long one statement may take
    #[arg(long, env = "DATABASE_STATEMENT_TIMEOUT", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub database_statement_timeout: Duration,
    /// How long to wait for a row that a foreign session holds; below the statement's timeout
    #[arg(long, env = "DATABASE_LOCK_TIMEOUT", default_value = "100ms", value_parser = duration, value_name = "DURATION")]
    pub database_lock_timeout: Duration,
    /// Whether starting migrates the database
    #[arg(long, env = "MIGRATE_ON_START", default_value = "true", value_parser = truth, value_name = "BOOL", action = ArgAction::Set)]
    pub migrate_on_start: bool,
    /// Largest request body or message, on the wire and decoded; of NDJSON the longest line
    #[arg(long, env = "MAX_BODY_BYTES", default_value = "16MiB", value_parser = size, value_name = "SIZE")]
    pub max_body_bytes: usize,
    /// Largest document of an entity, as compact UTF-8; up to 32MiB
    #[arg(long, env = "MAX_ENTITY_BYTES", default_value = "1MiB", value_parser = document_size, value_name = "SIZE")]
    pub max_entity_bytes: usize,
    /// Open connections at most
    #[arg(long, env = "MAX_CONNECTIONS", default_value = "12000", value_parser = count, value_name = "N")]
    pub max_connections: usize,
    /// Requests in hand at most, gRPC streams and questions after health aside; more are refused at once
    #[arg(long, env = "MAX_CONCURRENT_REQUESTS", default_value = "12000", value_parser = count, value_name = "N")]
    pub max_concurrent_requests: usize,
    /// How long a client may take to the first byte, its TLS handshake included, and for the head of each request
    #[arg(long, env = "HEADER_TIMEOUT", default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub header_timeout: Duration,
    /// How long a connection may idle between two requests; longer than its clients keep it
    #[arg(long, env = "IDLE_TIMEOUT", default_value = "75s", value_parser = duration, value_name = "DURATION")]
    pub idle_timeout: Duration,
    /// How long a client may take for a body; for NDJSON and streams from byte to byte
    #[arg(long, env = "BODY_TIMEOUT", default_value = "30s", value_parser = duration, value_name = "DURATION")]
    pub body_timeout: Duration,
    /// Bytes of all requests read and not yet queued
    #[arg(long, env = "BODY_BUFFER_BYTES", default_value = "64MiB", value_parser = size, value_name = "SIZE")]
    pub body_buffer_bytes: usize,
    /// From the whole request to its answer; in bulk and streams the time without progress
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "3s", value_parser = duration, value_name = "DURATION")]
    pub request_timeout: Duration,
    /// Events that may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_EVENTS", default_value = "20000", value_parser = count, value_name = "N")]
    pub ingest_queue_events: usize,
    /// Bytes of events that may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_BYTES", default_value = "64MiB", value_parser = size, value_name = "SIZE")]
    pub ingest_queue_bytes: usize,
    /// How long a single event may wait for a writer
    #[arg(long, env = "INGEST_QUEUE_AGE", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub ingest_queue_age: Duration,
    /// Port for /metrics, the pool's figures and CPU profiles; unset: none, and /metrics is on the REST port
    #[arg(long, env = "ADMIN_PORT", value_parser = port, value_name = "PORT")]
    pub admin_port: Option<u16>,
    /// Address that ADMIN_PORT listens on; nobody is asked who they are, so widen it with care
    #[arg(long, env = "ADMIN_BIND_ADDRESS", default_value = "127.0.0.1", value_parser = ip, value_name = "IP")]
    pub admin_bind_address: IpAddr,
    /// How long a stop may take to answer what is in flight
    #[arg(long, env = "SHUTDOWN_GRACE", default_value = "25s", value_parser = duration, value_name = "DURATION")]
    pub shutdown_grace: Duration,
}

impl Settings {
    /// Those of the database.
    pub fn database(&self) -> DatabaseSettings {
        DatabaseSettings {
            url: self.database_url.clone(),
            max_connections: self.database_max_connections,
            acquire_timeout: self.database_acquire_timeout,
            idle_timeout: self.database_idle_timeout,
            max_lifetime: self.database_max_lifetime,
            pooler: self.database_pooler,
            statement_timeout: self.database_statement_timeout,
            lock_timeout: self.database_lock_timeout,
            max_entity_bytes: self.max_entity_bytes,
            ..DatabaseSettings::default()
        }
    }

    /// Those of the queue.
    pub fn limits(&self) -> Limits {
        Limits {
            queue_events: self.ingest_queue_events,
            queue_bytes: self.ingest_queue_bytes,
            queue_age: self.ingest_queue_age,
            request_timeout: self.request_timeout,
            log_progress_every: self.log_progress_every,
        }
    }

    /// Takes `DATABASE_URL` out of `DATABASE_URL_FILE`, where that is set.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed; never what the file holds.
    pub fn read_url_file(&mut self) -> Result<(), String> {
        let Some(file) = &self.database_url_file else { return Ok(()) };
        let unusable = |why: &str| {
            format!(
                "DATABASE_URL_FILE: {file:?} is unusable: {why}; \
                 allowed is a file that holds the URL, instead of DATABASE_URL"
            )
        };
        if self.database_url.is_some() {
            return Err(unusable("DATABASE_URL is set too"));
        }
        let text = std::fs::read_to_string(file).map_err(|error| unusable(&error.to_string()))?;
        match text.trim() {
            "" => Err(unusable("it is empty")),
            url => {
                self.database_url = Some(url.to_owned());
                Ok(())
            }
        }
    }

    /// Holds settings against each other.
    ///
    /// # Errors
    /// One line that names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        let (lock, statement) = (self.database_lock_timeout, self.database_statement_timeout);
        // else a foreign session's row fails the statement, and with it everybody in the batch
        if lock >= statement {
            return Err(format!(
                "DATABASE_LOCK_TIMEOUT: \"{lock:?}\" is unusable: \
                 allowed is less than DATABASE_STATEMENT_TIMEOUT, which is {statement:?}"
            ));
        }
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(file), None) => Err(half_of_tls("TLS_CERT_FILE", file, "TLS_KEY_FILE")),
            (None, Some(file)) => Err(half_of_tls("TLS_KEY_FILE", file, "TLS_CERT_FILE")),
            _ => Ok(()),
        }
    }
}

fn half_of_tls(name: &str, file: &Path, missing: &str) -> String {
    format!("{name}: {file:?} is unusable: {missing} isn't set; allowed are both or neither")
}

/// A day. PostgreSQL counts timeouts in milliseconds of 32 bits.
const LONGEST_MILLIS: u64 = 24 * 3_600_000;

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
        .filter(|millis| (1..=LONGEST_MILLIS).contains(millis))
        .map(Duration::from_millis)
        .ok_or_else(|| "allowed is a duration from 1ms to 24h such as 500ms, 2s, 5m or 1h".into())
}

fn duration_or_off(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => duration(text).map_err(|allowed| format!("{allowed}, or 0 for off")),
    }
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

/// The largest text that PostgreSQL takes as jsonb whatever it holds: an array there has room for
/// 2^24 items while it is parsed, of which the shortest have two bytes.
const LARGEST_DOCUMENT: usize = 32 << 20;

fn document_size(text: &str) -> Result<usize, String> {
    size(text).ok().filter(|&bytes| bytes <= LARGEST_DOCUMENT).ok_or_else(|| {
        "allowed is a size above zero up to 32MiB such as 1048576, 512KiB or 16MiB".into()
    })
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// Parses a port to listen on; 0 lets the system choose one.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "allowed is a port from 0 to 65535".into())
}

/// Parses a count of at least one.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn count(text: &str) -> Result<usize, String> {
    let positive = text.parse().ok().filter(|&n| n > 0);
    positive.ok_or_else(|| "allowed is a whole number from 1".into())
}

/// Parses `true`, `false`, `1`, `0`, `yes` or `no`, in any case.
///
/// # Errors
/// A sentence that says what is allowed.
pub fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err("allowed is true, false, 1, 0, yes or no".into()),
    }
}

fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "allowed is a whole number from 0".into())
}

fn connections(text: &str) -> Result<u32, String> {
    // one that writes and one that reads
    let enough = text.parse().ok().filter(|&n| n >= 2);
    enough.ok_or_else(|| "allowed is a whole number from 2 to 4294967295".into())
}

fn pooler(text: &str) -> Result<Pooler, String> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Ok(Pooler::None),
        "transaction" => Ok(Pooler::Transaction),
        _ => Err("allowed is none or transaction".into()),
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "allowed is an IP address such as 127.0.0.1, 0.0.0.0 or ::".into())
}

fn level(text: &str) -> Result<LevelFilter, String> {
    // LevelFilter's own parser takes numbers and the empty text too
    const WORDS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];
    let known = WORDS.contains(&text.to_ascii_lowercase().as_str());
    let level = text.parse().ok().filter(|_| known);
    level.ok_or_else(|| "allowed is trace, debug, info, warn, error or off".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_above_zero() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for wrong in [
            "400h",
            "86400001ms",
            "",
            "2",
            "0s",
            "-1s",
            "1.5s",
            "2 s",
            "99999999999999999999s",
            "2S",
        ] {
            assert!(duration(wrong).is_err_and(|e| e.contains("500ms")), "{wrong}");
        }
    }

    #[test]
    fn what_may_be_off_takes_a_zero() {
        assert_eq!(duration_or_off("0"), Ok(Duration::ZERO));
        assert_eq!(duration_or_off("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration_or_off("0s").is_err_and(|e| e.contains("or 0 for off")));
    }

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        assert_eq!(size("1048576"), Ok(1 << 20));
        assert_eq!(size("16MiB"), Ok(16 << 20));
        for wrong in ["", "0", "16MB", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(size(wrong).is_err_and(|e| e.contains("16MiB")), "{wrong}");
        }
    }

    #[test]
    fn a_document_is_no_larger_than_any_jsonb_can_be() {
        assert_eq!(document_size("32MiB"), Ok(LARGEST_DOCUMENT));
        for wrong in ["33554433", "1GiB", "0", "1MB"] {
            assert!(document_size(wrong).is_err_and(|e| e.contains("up to 32MiB")), "{wrong}");
        }
    }

    #[test]
    fn truth_has_six_words() {
        for (word, meaning) in [
            ("true", true),
            ("1", true),
            ("YES", true),
            ("false", false),
            ("0", false),
            ("no", false),
        ] {
            assert_eq!(truth(word), Ok(meaning));
        }
        assert!(truth("on").is_err());
    }

    #[test]
    fn a_pooler_is_none_or_lends_sessions_for_a_transaction() {
        assert_eq!(pooler("none"), Ok(Pooler::None));
        assert_eq!(pooler("Transaction"), Ok(Pooler::Transaction));
        assert!(pooler("session").is_err_and(|e| e == "allowed is none or transaction"));
    }

    #[test]
    fn levels_are_words() {
        assert_eq!(level("Debug"), Ok(LevelFilter::DEBUG));
        assert!(level("3").is_err() && level("").is_err() && level("verbose").is_err());
    }
}
