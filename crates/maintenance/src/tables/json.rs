//! Parameters of SQLite's statements that are lists: as JSON.

use serde::Serialize;

use crate::error::MaintenanceError;

pub(super) fn json(rows: &impl Serialize) -> Result<String, MaintenanceError> {
    serde_json::to_string(rows).map_err(|error| MaintenanceError::Statement(error.to_string()))
}
