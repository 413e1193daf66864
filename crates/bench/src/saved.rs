//! `producer-bench save` and `compare`: keeps the results of a run under a name, and compares later
//! results with them, cell by cell.

mod comparison;
mod report;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use comparison::Comparison;

use crate::Result;
use crate::report::{to_html, to_markdown};
use crate::results::Results;

/// The name where none is given.
const DEFAULT_NAME: &str = "baseline";
const DEFAULT_RESULTS: &str = "bench/results/bench.json";

/// The arguments of `save`.
#[derive(Debug, clap::Args)]
pub(crate) struct SaveArgs {
    /// The baseline's name: letters, digits, `-`, `_` and `.`
    #[arg(default_value = DEFAULT_NAME, value_parser = name)]
    name: String,
    /// The results to keep: the JSON file of `run`
    #[arg(long, value_name = "FILE", default_value = DEFAULT_RESULTS)]
    results: PathBuf,
}

/// The arguments of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// The baseline's name, as it was saved
    #[arg(default_value = DEFAULT_NAME, value_parser = name)]
    name: String,
    /// The results to compare: the JSON file of `run`
    #[arg(long, value_name = "FILE", default_value = DEFAULT_RESULTS)]
    results: PathBuf,
}

/// Saves results as a baseline.
pub(crate) fn save(args: &SaveArgs) -> Result<()> {
    let results = read(&args.results)?;
    let path = baseline_path(&args.results, &args.name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(&args.results, &path)?;
    let cells = results.summaries().len();
    println!("saved: {cells} cells of {} as {}", args.results.display(), path.display());
    if results.has_errors() {
        println!("some of their measurements failed; those are not compared");
    }
    Ok(())
}

/// Compares results with a baseline, and writes the report.
pub(crate) fn compare(args: &CompareArgs) -> Result<()> {
    let path = baseline_path(&args.results, &args.name);
    if !path.is_file() {
        return Err(unknown_baseline(&path, &args.name).into());
    }
    let (baseline, now) = (read(&path)?, read(&args.results)?);
    let comparison = Comparison::new(&baseline, &now);
    let document = report::document(&args.name, &baseline, &now, &comparison);
    let output = args.results.with_file_name(format!("compare-{}", args.name));
    // not with_extension: a name may have a point
    let file = |extension| PathBuf::from(format!("{}.{extension}", output.display()));
    std::fs::write(file("md"), to_markdown(&document))?;
    std::fs::write(file("html"), to_html(&document)?)?;
    println!("{}", report::to_text(&comparison));
    for warning in &document.warnings {
        println!("\n{warning}");
    }
    println!("\n{}\nwritten: {}.{{html,md}}", document.summary, output.display());
    Ok(())
}

/// Results with at least one measurement.
fn read(path: &Path) -> Result<Results> {
    let results = Results::read(path);
    if results.measurements.is_empty() {
        return Err(format!("{} has no results: measure with `run` first", path.display()).into());
    }
    Ok(results)
}

fn baseline_path(results: &Path, name: &str) -> PathBuf {
    results.with_file_name("baselines").join(format!("{name}.json"))
}

/// An error that lists the baselines that there are.
fn unknown_baseline(path: &Path, name: &str) -> String {
    let folder = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let files = folder.into_iter().flatten().flatten().map(|entry| entry.path());
    let mut names: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|file| Some(file.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let known = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    format!("there is no baseline {name:?} ({}); saved are: {known}", path.display())
}

/// A name that is a plain file name everywhere.
fn name(text: &str) -> std::result::Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.starts_with('.') || !text.chars().all(allowed) {
        return Err("use letters, digits, `-`, `_` and `.`, not first".to_owned());
    }
    Ok(text.to_owned())
}
