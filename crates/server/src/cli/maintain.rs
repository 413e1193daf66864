//! `migrate` and `rebuild`.

use std::process::ExitCode;

use producer_core::config::Settings;
use producer_core::maintenance::{Database, MaintenanceError, migrate};

use super::Failure;
use super::line::Migrate;

impl From<MaintenanceError> for Failure {
    fn from(error: MaintenanceError) -> Self {
        Self::new(error)
    }
}

pub(super) async fn migrate(
    database: &Database,
    command: Migrate,
    _settings: &Settings,
) -> Result<ExitCode, Failure> {
    match command {
        Migrate::Up => {
            migrate::up(database).await?;
            println!("{database} is up to date");
        }
        Migrate::Down { to } => {
            migrate::down(database, to).await?;
            println!("{database} is at {to}");
        }
        Migrate::Status => print_status(&migrate::status(database).await?),
        Migrate::Adopt => return Err(Failure::new("not built yet")),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_status(steps: &[migrate::Step]) {
    for step in steps {
        let state = match (step.applied, step.known) {
            (None, _) => "pending".to_owned(),
            (Some(when), true) => format!("applied {}", when.format("%Y-%m-%dT%H:%M:%SZ")),
            (Some(when), false) => {
                format!("applied {} by a newer release", when.format("%Y-%m-%dT%H:%M:%SZ"))
            }
        };
        println!("{} {} {state}", step.version, step.description);
    }
}

pub(super) async fn rebuild(_database: &Database, _write: bool) -> Result<ExitCode, Failure> {
    Err(Failure::new("not built yet"))
}
