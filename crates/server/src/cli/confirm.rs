//! The question before data is deleted.

use std::io::{IsTerminal, stdin};

use super::error::ExitError;

/// What the command line says about deleting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consent {
    /// Only show what would be deleted.
    pub(super) dry_run: bool,
    /// Delete without a question.
    pub(super) yes: bool,
}

impl Consent {
    /// Asks on a terminal, unless that was answered by `--yes`. `what` says what would be done.
    ///
    /// # Errors
    /// There is no terminal to ask on, or the answer isn't "yes".
    pub(super) fn confirm(self, what: &str) -> Result<(), ExitError> {
        if self.yes {
            return Ok(());
        }
        if !stdin().is_terminal() {
            let line = format!("this {what}: pass --yes to confirm, or --dry-run to only see it");
            return Err(ExitError::invalid(line));
        }
        eprint!("This {what}. Type \"yes\" to confirm: ");
        let mut answer = String::new();
        stdin().read_line(&mut answer).map_err(ExitError::new)?;
        match answer.trim() {
            "yes" => Ok(()),
            _ => Err(ExitError::new("not confirmed: nothing was changed")),
        }
    }
}
