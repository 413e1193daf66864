//! The port of types: what is declared, and building it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::definition::Definition;
use super::part::{Part, PartStatus};
use crate::feed::OpenWriter;
use crate::model::{Precondition, Timestamp};
use crate::query::ReadError;

/// A database that keeps definitions of types.
pub trait TypeStore: Send + Sync + 'static {
    /// Stores, replaces or deletes a definition, and publishes what that changes of its parts: those that are
    /// the same in both definitions stay as they are. Of two changes at once one comes after the other.
    fn change_type<'a>(
        &'a self,
        change: TypeChange<'a>,
    ) -> BoxFuture<'a, Result<ChangeOutcome, ReadError>>;

    /// A type's definition and its parts.
    fn type_definition<'a>(
        &'a self,
        entity_type: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredType>, ReadError>>;

    /// Up to `most` definitions of the types behind `after`, in the order of their names (bytewise).
    fn type_definitions<'a>(
        &'a self,
        after: &'a str,
        most: u32,
    ) -> BoxFuture<'a, Result<Vec<StoredType>, ReadError>>;

    /// Whether the database can search texts of this language.
    fn knows_language<'a>(&'a self, language: &'a str) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// Takes something to build or to drop that no other process has a lease on, for as long as `lease`.
    fn take_job(&self, lease: Duration) -> BoxFuture<'_, Result<Option<Job>, ReadError>>;

    /// The transactions that may be writing entities now, with whatever they know of definitions.
    fn writers_of_entities(&self) -> BoxFuture<'_, Result<Vec<OpenWriter>, ReadError>>;

    /// Who one of them is, and what an operator can do, for the log.
    fn describe_writer<'a>(
        &'a self,
        writer: &'a OpenWriter,
    ) -> BoxFuture<'a, Result<String, ReadError>>;

    /// Renews the lease, and estimates how many entities there are to walk where the job doesn't know that;
    /// false where another process has taken the job, or there is nothing to do any more.
    fn renew<'a>(
        &'a self,
        job: &'a mut Job,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, ReadError>>;

    /// Goes one step in one short transaction, and renews the lease with it.
    fn step<'a>(
        &'a self,
        job: &'a mut Job,
        lease: Duration,
    ) -> BoxFuture<'a, Result<StepOutcome, ReadError>>;

    /// Ends the lease early, so that another process goes on at once.
    fn release<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<(), ReadError>>;
}

/// A change of a type's definition.
#[derive(Debug, Clone, Copy)]
pub struct TypeChange<'a> {
    /// The type.
    pub entity_type: &'a str,
    /// What it is from now on; `None` deletes it.
    pub definition: Option<&'a Definition>,
    /// What must hold of the present definition's version.
    pub precondition: &'a Precondition,
    /// The time of the change.
    pub now: Timestamp,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// It is stored; whether there was no definition before.
    Changed {
        /// Whether there was none before.
        created: bool,
    },
    /// It was so already.
    Unchanged,
    /// The precondition does not hold of this version (`None`: there is no definition).
    Refused {
        /// The present definition's version.
        current_version: Option<u64>,
    },
}

/// A definition as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredType {
    /// The type.
    pub entity_type: String,
    /// Rises with every change; none has the same, also after a delete.
    pub version: u64,
    /// What is declared.
    pub definition: Definition,
    /// When the definition was made.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Its parts in the order in which the definition has them.
    pub parts: Vec<PartStatus>,
}

/// What is to be done with parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Walk the type's entities and write the parts' rows.
    Build,
    /// Delete the rows of a part, and then the part.
    Drop,
}

/// Parts of one type that are built together, or one that is dropped, with a lease on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Tells this lease from earlier and later ones.
    pub lease: Uuid,
    /// What is done.
    pub task: Task,
    /// Of this type.
    pub entity_type: String,
    /// The parts.
    pub parts: Vec<Part>,
    /// The id up to which all is done.
    pub place: String,
    /// How many entities or rows that were.
    pub done: u64,
    /// Of how many entities, about; `None` before it is estimated.
    pub total: Option<u64>,
    /// Whether another process had begun.
    pub is_taken_over: bool,
    /// The last position of the log at the last step of building: it rises where somebody writes.
    pub log_position: i64,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// There may be more to do; the job says up to where all is done.
    Went,
    /// All is done.
    Finished,
    /// Nothing: a writer has an entity for long. The lease is to be renewed.
    Locked,
    /// Nothing: the job is another process's, or there is nothing to do any more.
    Lost,
}
