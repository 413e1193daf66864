//! `check`: reads the file, and reaches the database and everything that it names.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use producer_core::model::UnavailableKind;
use producer_core::{Clock, store};
use producer_maintenance::Database;
use producer_server::cli::{CommandLine, ExitError};
use producer_server::settings::CommonSettings;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::args::Cli;
use super::config_file;
use super::table::printable;
use crate::config::{SinkConfig, SourceConfig};
use crate::{sinks, sources};

/// How long one answer may take: all are asked at once, so the whole check ends soon after.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// The name that sources are opened with. No worker has it, and nothing is read under it.
const CHECKER: &str = "check";

/// The exit status where something failed.
const FAILED: u8 = 1;

pub(super) async fn check(line: &CommandLine<Cli>) -> Result<ExitCode, ExitError> {
    let config = config_file::read(line)?;
    let sinks = config.sinks.iter().map(|sink| sink.name.len());
    let names = sinks.chain(config.sources.iter().map(|source| source.name.len()));
    let width = names.max().unwrap_or(0);
    // all at once: the answers are printed in the file's order
    let mut checks = vec![Check::database(&line.program.common, &line.database)];
    checks.extend(config.sinks.into_iter().map(|sink| Check::sink(sink, width)));
    checks.extend(config.sources.into_iter().map(|source| Check::source(source, width)));
    let mut code = ExitCode::SUCCESS;
    for Check { role, what, asked } in checks {
        let answer = asked.await.unwrap_or_else(|error| Err(error.to_string()));
        let (word, note) = match answer {
            Ok(note) => ("ok", note),
            Err(why) => ("failed", why),
        };
        if word != "ok" {
            code = ExitCode::from(FAILED);
        }
        let note = if note.is_empty() { note } else { format!(": {}", printable(&note)) };
        println!("{word:<6}  {role:<8}  {what}{note}");
    }
    Ok(code)
}

/// Something that is being asked whether it can be used.
struct Check {
    role: &'static str,
    what: String,
    /// A remark, or why not.
    asked: JoinHandle<Result<String, String>>,
}

impl Check {
    fn new(
        role: &'static str,
        what: String,
        ask: impl Future<Output = Result<String, String>> + Send + 'static,
    ) -> Self {
        let late = || Err(format!("no answer within {ANSWER_TIMEOUT:?}"));
        let asked =
            tokio::spawn(
                async move { timeout(ANSWER_TIMEOUT, ask).await.unwrap_or_else(|_| late()) },
            );
        Self { role, what, asked }
    }

    fn database(settings: &CommonSettings, database: &Database) -> Self {
        let (settings, migrates) = (settings.database(), settings.migrate_on_start);
        Self::new("database", database.to_string(), async move {
            let store = store::connect(&settings).await.map_err(|error| error.to_string())?;
            let pinged = store.ping().await;
            store.close().await;
            match pinged {
                Ok(()) => Ok(String::new()),
                Err(error) if error.kind == UnavailableKind::Schema && migrates => {
                    Ok("the start of a worker will migrate it".to_owned())
                }
                Err(error) => Err(error.text),
            }
        })
    }

    fn sink(config: SinkConfig, width: usize) -> Self {
        let what = format!("{:<width$}  {}", config.name, config.kind.as_str());
        Self::new("sink", what, async move {
            let sink =
                sinks::open(&config, &sinks::no_searches()).map_err(|error| error.to_string())?;
            sink.check().await.map_err(|failure| failure.detail)?;
            Ok(String::new())
        })
    }

    fn source(config: SourceConfig, width: usize) -> Self {
        let what = format!("{:<width$}  {}", config.name, config.kind.as_str());
        Self::new("source", what, async move {
            let opened = sources::open(&config, CHECKER, &Clock::system());
            let mut source = opened.map_err(|error| error.to_string())?;
            let checked = source.check().await;
            source.close().await;
            checked.map_err(|failure| failure.detail)?;
            Ok(String::new())
        })
    }
}
