//! Logs: JSON lines on standard output, or human-readable lines where that is a terminal. The lines of
//! a request have its id, and its trace's id where it has one.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::{SetGlobalDefaultError, set_global_default};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use super::log_format::{Style, WithRequestFields};

/// Which events are logged.
#[derive(Debug)]
pub enum Filter {
    /// `LOG_LEVEL`
    Level(LevelFilter),
    /// `RUST_LOG`
    Directives(Box<EnvFilter>),
}

impl Filter {
    /// `RUST_LOG` where it is set, else the level.
    ///
    /// # Errors
    /// What is wrong with `RUST_LOG`.
    pub fn new(level: LevelFilter, rust_log: Option<&str>) -> Result<Self, String> {
        let Some(directives) = rust_log else {
            return Ok(Self::Level(level));
        };
        let filter = EnvFilter::builder().parse(directives);
        filter.map(|filter| Self::Directives(Box::new(filter))).map_err(|error| error.to_string())
    }

    fn into_layer(self) -> Box<dyn Layer<Registry> + Send + Sync> {
        match self {
            // The libraries log every frame and statement at debug.
            Self::Level(level) => layer(
                Targets::new()
                    .with_default(level.min(LevelFilter::WARN))
                    .with_target("producer", level),
            ),
            Self::Directives(filter) => layer(*filter),
        }
    }
}

/// Starts logging, once in a process.
///
/// # Errors
/// When it was started before.
pub fn init(filter: Filter) -> Result<(), SetGlobalDefaultError> {
    set_global_default(Registry::default().with(filter.into_layer()))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic is logged like any other event, with the id of its request.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let reason = panic.payload_as_str().unwrap_or_default();
    tracing::error!(place, reason, "panic");
}

fn layer<F>(filter: F) -> Box<dyn Layer<Registry> + Send + Sync>
where
    F: tracing_subscriber::layer::Filter<Registry> + Send + Sync + 'static,
{
    if std::io::stdout().is_terminal() {
        let layer =
            fmt::layer().map_event_format(|inner| WithRequestFields { inner, style: Style::Human });
        layer.with_filter(filter).boxed()
    } else {
        let layer = fmt::layer().json().flatten_event(true).with_ansi(false);
        let layer = layer.map_event_format(|inner| WithRequestFields { inner, style: Style::Json });
        layer.with_filter(filter).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_log_overrides_the_level() {
        assert!(matches!(Filter::new(LevelFilter::INFO, None), Ok(Filter::Level(_))));
        let filter = Filter::new(LevelFilter::INFO, Some("warn,producer_core=trace"));
        assert!(matches!(filter, Ok(Filter::Directives(_))));
        assert!(Filter::new(LevelFilter::INFO, Some("producer=loud")).is_err());
    }
}
