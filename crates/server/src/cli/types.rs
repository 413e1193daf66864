//! `types apply`: declares what a file says, and waits until it is built.

use std::collections::HashMap;
use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use producer_core::json::{Location, Step};
use producer_core::model::Precondition;
use producer_core::store::{self, Store};
use producer_core::types::{
    BuilderSettings, Definition, PartKind, PartState, PartStatus, StoredType, Types,
};
use producer_core::{Clock, Problem};
use producer_maintenance::{Database, migrate};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::error::ExitError;
use crate::settings::Settings;

/// The pause between two looks at how far the parts are.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How often progress is reported where there is no terminal.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Types with their definitions.
type Definitions = [(String, Definition)];

pub(super) async fn apply(
    database: &Database,
    settings: &Settings,
    file: &Path,
    dry_run: bool,
) -> Result<ExitCode, ExitError> {
    let text = read(file).map_err(|reason| invalid(file, &reason))?;
    let definitions = Definition::read_by_type(&text).map_err(|problem| refused(file, problem))?;
    check_schema(database).await?;
    let store: Arc<dyn Store> =
        store::connect(&settings.common.database()).await.map_err(ExitError::new)?;
    let types = Types::new(store.clone(), Clock::system());
    let applied = apply_all(&types, file, &definitions, dry_run).await;
    store.close().await;
    applied.map(|()| ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map(|_| text).map_err(|error| format!("can't be read: {error}"))
}

async fn check_schema(database: &Database) -> Result<(), ExitError> {
    let steps = migrate::status(database).await?;
    if steps.iter().any(|step| step.applied.is_none()) {
        let line = format!("the schema of {database} is not that of this release: run `migrate`");
        return Err(ExitError::new(line));
    }
    Ok(())
}

/// Checks all before it stores the first.
async fn apply_all(
    types: &Types,
    file: &Path,
    definitions: &Definitions,
    dry_run: bool,
) -> Result<(), ExitError> {
    let mut changes = Vec::new();
    for (entity_type, definition) in definitions {
        let checked = types.check(entity_type, definition).await;
        checked.map_err(|problem| refused(file, below(entity_type, problem)))?;
        changes.push(change(types, entity_type, definition).await?);
    }
    if !dry_run {
        build(types, &store_all(types, definitions).await?).await?;
    }
    for ((entity_type, definition), change) in definitions.iter().zip(changes) {
        println!("{entity_type}: {}: {}", change.describe(dry_run), parts(definition));
    }
    Ok(())
}

/// What a definition does to the one that is there.
#[derive(Clone, Copy)]
enum Change {
    Created,
    Replaced,
    Unchanged,
}

impl Change {
    const fn describe(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::Unchanged, _) => "unchanged",
            (Self::Created, false) => "created",
            (Self::Replaced, false) => "replaced",
            (Self::Created, true) => "would be created",
            (Self::Replaced, true) => "would be replaced",
        }
    }
}

async fn change(
    types: &Types,
    entity_type: &str,
    definition: &Definition,
) -> Result<Change, ExitError> {
    let present = types.get(entity_type).await.map_err(|problem| failed(entity_type, &problem))?;
    Ok(match present {
        None => Change::Created,
        Some(present) if present.definition == *definition => Change::Unchanged,
        Some(_) => Change::Replaced,
    })
}

fn parts(definition: &Definition) -> String {
    let indexes = match definition.indexes.len() {
        0 => None,
        1 => Some("1 index".to_owned()),
        more => Some(format!("{more} indexes")),
    };
    let search = definition.search.as_ref().map(|_| "search".to_owned());
    let parts: Vec<String> = indexes.into_iter().chain(search).collect();
    if parts.is_empty() { "nothing to build".to_owned() } else { parts.join(" and ") }
}

async fn store_all(types: &Types, definitions: &Definitions) -> Result<Vec<StoredType>, ExitError> {
    let mut stored = Vec::new();
    for (entity_type, definition) in definitions {
        let replaced = types.replace(entity_type, definition, &Precondition::None).await;
        stored.push(replaced.map_err(|problem| failed(entity_type, &problem))?.0);
    }
    Ok(stored)
}

/// Builds beside the services, each part of which one process has the lease, until all is ready.
async fn build(types: &Types, declared: &[StoredType]) -> Result<(), ExitError> {
    let shutdown = CancellationToken::new();
    let builder = types.builder(BuilderSettings::default(), shutdown.clone());
    let builder = tokio::spawn(builder.run());
    let mut reporter = PartReporter::new();
    let built = wait(types, declared, &mut reporter).await;
    reporter.finish();
    shutdown.cancel();
    builder.await.map_err(ExitError::new)?;
    built
}

async fn wait(
    types: &Types,
    declared: &[StoredType],
    reporter: &mut PartReporter,
) -> Result<(), ExitError> {
    // also what is built within moments was shown
    declared.iter().flat_map(|declared| &declared.parts).for_each(|part| reporter.report(part));
    loop {
        let mut building = 0;
        for StoredType { entity_type, version, .. } in declared {
            let present = types.get(entity_type).await;
            let present = present.map_err(|problem| failed(entity_type, &problem))?;
            let Some(present) = present.filter(|present| present.version == *version) else {
                let line = format!("{entity_type}: the definition was changed by somebody else");
                return Err(ExitError::new(line));
            };
            present.parts.iter().for_each(|part| reporter.report(part));
            let is_building = |part: &&PartStatus| part.state == PartState::Building;
            building += present.parts.iter().filter(is_building).count();
        }
        if building == 0 {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A bar for each part that is being built on a terminal, else a line now and then on standard error.
struct PartReporter {
    on_terminal: bool,
    style: ProgressStyle,
    all: MultiProgress,
    bars: HashMap<i32, ProgressBar>,
    /// When a part without a bar was reported last.
    reported_at: HashMap<i32, Instant>,
}

impl PartReporter {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} {eta}");
        Self {
            on_terminal: std::io::stderr().is_terminal(),
            style: style.unwrap_or_else(|_| ProgressStyle::default_bar()),
            all: MultiProgress::new(),
            bars: HashMap::new(),
            reported_at: HashMap::new(),
        }
    }

    fn report(&mut self, status: &PartStatus) {
        if self.on_terminal {
            self.draw(status);
        } else if status.state == PartState::Building {
            let id = status.part.id;
            let reported = self.reported_at.entry(id).or_insert_with(Instant::now);
            if reported.elapsed() >= REPORT_EVERY {
                *reported = Instant::now();
                eprintln!("{}: {}", name(status), how_far(status));
            }
        }
    }

    fn draw(&mut self, status: &PartStatus) {
        if !self.bars.contains_key(&status.part.id) {
            if status.state != PartState::Building {
                return;
            }
            let bar = self.all.add(ProgressBar::new(0).with_style(self.style.clone()));
            bar.set_prefix(name(status));
            self.bars.insert(status.part.id, bar);
        }
        let Some(bar) = self.bars.get(&status.part.id) else { return };
        if status.state == PartState::Building {
            // the total is an estimate
            bar.set_length(status.total.unwrap_or(0).max(status.done));
            bar.set_position(status.done);
            bar.tick();
        } else if !bar.is_finished() {
            bar.finish();
        }
    }

    fn finish(self) {
        // a terminal that is gone needs no clearing
        let _cleared = self.all.clear();
    }
}

fn name(status: &PartStatus) -> String {
    let entity_type = &status.part.entity_type;
    match &status.part.kind {
        PartKind::Index(index) => format!("{entity_type} index {}", index.to_json()),
        PartKind::Search(_) => format!("{entity_type} search"),
    }
}

fn how_far(status: &PartStatus) -> String {
    match status.total {
        Some(total) => format!("{} of about {} entities", status.done, total.max(status.done)),
        None => "building has not begun".to_owned(),
    }
}

/// A broken rule of one type's definition, as one of the file.
fn below(entity_type: &str, problem: Problem) -> Problem {
    let place = Location(vec![Step::Key(entity_type.to_owned().into())]);
    Problem { violations: problem.violations.below(&place), ..problem }
}

/// The file breaks rules, or the database fails.
fn refused(file: &Path, problem: Problem) -> ExitError {
    if problem.kind.is_retryable() {
        return ExitError::new(problem);
    }
    if problem.violations.is_empty() {
        return invalid(file, &problem.detail);
    }
    let lines = problem.violations.listed().iter().map(|rule| line(file, &rule.to_string()));
    ExitError::invalid(lines.collect::<Vec<_>>().join("\n"))
}

fn invalid(file: &Path, reason: &str) -> ExitError {
    ExitError::invalid(line(file, reason))
}

fn line(file: &Path, reason: &str) -> String {
    let name =
        if file.as_os_str() == "-" { "standard input".into() } else { file.display().to_string() };
    format!("{name}: {reason}")
}

fn failed(entity_type: &str, problem: &Problem) -> ExitError {
    ExitError::new(format!("{entity_type}: {problem}"))
}
