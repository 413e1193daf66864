//! Definitions of types: what clients do with them.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::builder::{Builder, BuilderSettings};
use super::definition::Definition;
use super::port::{ChangeOutcome, StoredType, TypeChange, TypeStore};
use crate::json::{Location, Step, Violations};
use crate::model::{Clock, FailedPrecondition, Precondition, Problem, ProblemKind, check_id};

/// The definitions of types. Cheap to clone.
#[derive(Clone)]
pub struct Types {
    store: Arc<dyn TypeStore>,
    clock: Clock,
    /// Is notified of what this process declares.
    changes: Arc<Notify>,
}

impl Types {
    /// The definitions that `store` has.
    pub fn new(store: Arc<dyn TypeStore>, clock: Clock) -> Self {
        Self { store, clock, changes: Arc::default() }
    }

    /// Builds what is declared, by this process or another one, until `shutdown`. A process needs one.
    pub fn builder(&self, settings: BuilderSettings, shutdown: CancellationToken) -> Builder {
        Builder::new(Arc::clone(&self.store), Arc::clone(&self.changes), settings, shutdown)
    }

    /// Stores a definition, or replaces the one that is there; also returns whether there was none. One that is
    /// the same changes nothing, not even the version.
    ///
    /// # Errors
    /// `Validation` for a name that no type can have, and for a language that the database doesn't know;
    /// `PreconditionFailed`, `Unavailable`.
    pub async fn replace(
        &self,
        entity_type: &str,
        definition: &Definition,
        precondition: &Precondition,
    ) -> Result<(StoredType, bool), Problem> {
        self.check(entity_type, definition).await?;
        let created = match self.change(entity_type, Some(definition), precondition).await? {
            ChangeOutcome::Changed { created } => created,
            ChangeOutcome::Unchanged | ChangeOutcome::Refused { .. } => false,
        };
        match self.get(entity_type).await? {
            Some(stored) => Ok((stored, created)),
            None => Err(Problem::new(
                ProblemKind::Unavailable,
                "the definition was deleted in the same moment; try again",
            )),
        }
    }

    /// Whether a definition may be stored under this name.
    ///
    /// # Errors
    /// `Validation` for a name that no type can have, and for a language that the database doesn't know;
    /// `Unavailable`.
    pub async fn check(&self, entity_type: &str, definition: &Definition) -> Result<(), Problem> {
        check_name(entity_type)?;
        self.check_language(definition).await
    }

    /// Deletes a definition and what it built; false where there is none.
    ///
    /// # Errors
    /// `PreconditionFailed`, `Unavailable`.
    pub async fn delete(
        &self,
        entity_type: &str,
        precondition: &Precondition,
    ) -> Result<bool, Problem> {
        let outcome = self.change(entity_type, None, precondition).await?;
        Ok(matches!(outcome, ChangeOutcome::Changed { .. }))
    }

    /// A type's definition, with the state of its parts.
    ///
    /// # Errors
    /// `Unavailable`
    pub async fn get(&self, entity_type: &str) -> Result<Option<StoredType>, Problem> {
        self.store.type_definition(entity_type).await.map_err(|error| error.problem())
    }

    /// Up to `most` definitions of the types behind `after`, in the order of their names.
    ///
    /// # Errors
    /// `Unavailable`
    pub async fn list(&self, after: &str, most: u32) -> Result<Vec<StoredType>, Problem> {
        self.store.type_definitions(after, most).await.map_err(|error| error.problem())
    }

    async fn change(
        &self,
        entity_type: &str,
        definition: Option<&Definition>,
        precondition: &Precondition,
    ) -> Result<ChangeOutcome, Problem> {
        let now = self.clock.now();
        let change = TypeChange { entity_type, definition, precondition, now };
        let outcome = self.store.change_type(change).await.map_err(|error| error.problem())?;
        match outcome {
            ChangeOutcome::Changed { .. } => self.changes.notify_one(),
            ChangeOutcome::Unchanged => {}
            ChangeOutcome::Refused { current_version } => {
                return Err(refused(FailedPrecondition { current_version }, precondition));
            }
        }
        Ok(outcome)
    }

    async fn check_language(&self, definition: &Definition) -> Result<(), Problem> {
        let Some(search) = &definition.search else { return Ok(()) };
        let known = self.store.knows_language(&search.language).await;
        if known.map_err(|error| error.problem())? {
            return Ok(());
        }
        let place = [Step::Key("search".into()), Step::Key("language".into())];
        let detail = "must be a language that the database knows, such as simple or english";
        Err(Problem::validation(Violations::one(Location(place.to_vec()), detail)))
    }
}

fn check_name(entity_type: &str) -> Result<(), Problem> {
    check_id(entity_type).map_err(|detail| {
        let place = Location(vec![Step::Key(Cow::Borrowed("entityType"))]);
        Problem::validation(Violations::one(place, detail))
    })
}

fn refused(failed: FailedPrecondition, expected: &Precondition) -> Problem {
    let detail = format!("the definition {}", failed.detail(expected));
    Problem { precondition: Some(failed), ..Problem::new(ProblemKind::PreconditionFailed, detail) }
}
