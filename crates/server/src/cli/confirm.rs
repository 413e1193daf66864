//! The question before something is done that can't be undone.

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
        if self.yes { Ok(()) } else { ask(what, "--yes to confirm, or --dry-run to only see it") }
    }
}

/// Asks on a terminal. `what` says what would be done, `options` which options there are instead.
///
/// # Errors
/// There is no terminal to ask on, or the answer isn't "yes".
pub(super) fn ask(what: &str, options: &str) -> Result<(), ExitError> {
    if !stdin().is_terminal() {
        return Err(ExitError::invalid(format!("this {what}: pass {options}")));
    }
    eprint!("This {what}. Type \"yes\" to confirm: ");
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(ExitError::new)?;
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(ExitError::new("not confirmed: nothing was changed")),
    }
}
