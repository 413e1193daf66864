//! What both adapters share of definitions of types: their rows, and the sizes of steps.

use sqlx::FromRow;
use uuid::Uuid;

use super::numbers::{from_bigint, to_bigint};
use crate::model::Timestamp;
use crate::types::{
    ChangeOutcome, Definition, Job, KeptParts, Part, PartKind, PartState, PartStatus, SearchRow,
    StoredType, Task, TypeChange, TypeIndexes, TypeSearch,
};

/// Entities that one step of building walks at most.
pub(crate) const STEP_ENTITIES: i64 = 500;
/// Bytes of documents that one step of building reads, but for the first of them, which may be larger.
pub(crate) const STEP_BYTES: i64 = 2 << 20;
/// Rows that one step of dropping deletes.
pub(crate) const STEP_ROWS: i64 = 1000;

/// A definition with one of its parts.
#[derive(FromRow)]
pub(crate) struct TypeRow<T> {
    entity_type: String,
    version: i64,
    definition: String,
    created_at: T,
    updated_at: T,
    part_id: Option<i32>,
    kind: Option<i16>,
    spec: Option<String>,
    state: Option<i16>,
    done: Option<i64>,
    total: Option<i64>,
}

/// The definitions of rows that are ordered by type.
pub(crate) fn into_types<T>(
    rows: Vec<TypeRow<T>>,
    moment: impl Fn(T) -> Timestamp,
) -> Result<Vec<StoredType>, sqlx::Error> {
    let mut types: Vec<StoredType> = Vec::new();
    for row in rows {
        let part = part_status(&row)?;
        if types.last().is_none_or(|last| last.entity_type != row.entity_type) {
            types.push(StoredType {
                entity_type: row.entity_type,
                version: from_bigint(row.version),
                definition: parse(&row.definition)?,
                created_at: moment(row.created_at),
                updated_at: moment(row.updated_at),
                parts: Vec::new(),
            });
        }
        if let Some(last) = types.last_mut() {
            last.parts.extend(part);
        }
    }
    types.iter_mut().for_each(in_order_of_definition);
    Ok(types)
}

fn in_order_of_definition(stored: &mut StoredType) {
    let kinds: Vec<PartKind> = stored.definition.parts().collect();
    stored.parts.sort_by_key(|status| kinds.iter().position(|kind| *kind == status.part.kind));
}

fn part_status<T>(row: &TypeRow<T>) -> Result<Option<PartStatus>, sqlx::Error> {
    let (Some(id), Some(kind), Some(spec)) = (row.part_id, row.kind, &row.spec) else {
        return Ok(None);
    };
    let done = row.done.map_or(0, from_bigint);
    Ok(Some(PartStatus {
        part: part(id, row.entity_type.clone(), kind, spec)?,
        state: PartState::from_code(row.state.unwrap_or_default()),
        done,
        // PostgreSQL's estimate of a table that it has not analysed since it grew may be far too low
        total: row.total.map(|total| from_bigint(total).max(done)),
    }))
}

fn part(id: i32, entity_type: String, kind: i16, spec: &str) -> Result<Part, sqlx::Error> {
    let kind = PartKind::from_columns(kind, spec).map_err(undecodable)?;
    Ok(Part { id, entity_type, kind })
}

fn parse(definition: &str) -> Result<Definition, sqlx::Error> {
    Definition::parse(definition).map_err(|_| {
        undecodable(format!("a definition of a type that this release does not know: {definition}"))
    })
}

fn undecodable(text: String) -> sqlx::Error {
    sqlx::Error::Decode(text.into())
}

/// A part that writers keep, with the generation of all.
#[derive(FromRow)]
pub(crate) struct KeptRow {
    generation: i64,
    part_id: Option<i32>,
    entity_type: Option<String>,
    kind: Option<i16>,
    spec: Option<String>,
}

/// What writers keep up. There is a row, with nulls, also where there is no part.
pub(crate) fn into_kept(rows: Vec<KeptRow>) -> Result<KeptParts, sqlx::Error> {
    let generation = rows.first().ok_or(sqlx::Error::RowNotFound)?.generation;
    let mut parts = Vec::new();
    for row in rows {
        if let (Some(id), Some(entity_type), Some(kind), Some(spec)) =
            (row.part_id, row.entity_type, row.kind, row.spec)
        {
            parts.push(part(id, entity_type, kind, &spec)?);
        }
    }
    Ok(KeptParts::new(generation, parts))
}

/// A part that was taken.
#[derive(FromRow)]
pub(crate) struct JobRow {
    part_id: i32,
    entity_type: String,
    kind: i16,
    spec: String,
    state: i16,
    place: String,
    done: i64,
    total: Option<i64>,
    is_taken_over: bool,
}

/// The job of the parts that were taken together.
pub(crate) fn into_job(rows: Vec<JobRow>, lease: Uuid) -> Result<Option<Job>, sqlx::Error> {
    let mut job: Option<Job> = None;
    for row in rows {
        let part = part(row.part_id, row.entity_type, row.kind, &row.spec)?;
        let is_drop = PartState::from_code(row.state) == PartState::Dropping;
        let job = job.get_or_insert_with(|| Job {
            lease,
            task: if is_drop { Task::Drop } else { Task::Build },
            entity_type: part.entity_type.clone(),
            parts: Vec::new(),
            place: row.place,
            done: from_bigint(row.done),
            total: row.total.map(from_bigint),
            log_position: 0,
            is_taken_over: row.is_taken_over,
        });
        job.parts.push(part);
    }
    Ok(job)
}

/// The ids of a job's parts.
pub(crate) fn part_ids(job: &Job) -> Vec<i32> {
    job.parts.iter().map(|part| part.id).collect()
}

/// The indexes that a job builds.
pub(crate) fn indexes_of(job: &Job) -> TypeIndexes {
    let index = |part: &Part| match &part.kind {
        PartKind::Index(index) => Some((part.id, index.clone())),
        PartKind::Search(_) => None,
    };
    TypeIndexes::new(job.parts.iter().filter_map(index).collect())
}

/// The search that a job builds.
fn search_of(job: &Job) -> Option<TypeSearch> {
    job.parts.iter().find_map(|part| match &part.kind {
        PartKind::Search(search) => Some(TypeSearch::new(part.id, search)),
        PartKind::Index(_) => None,
    })
}

/// The rows of search of those entities, given as id and document, that have words: where one has none, no
/// row of it can be there that has any.
pub(crate) fn search_rows<'e>(
    job: &Job,
    entities: impl IntoIterator<Item = (&'e str, Option<&'e str>)>,
) -> Vec<(&'e str, SearchRow)> {
    let Some(search) = search_of(job) else { return Vec::new() };
    let rows = entities.into_iter().map(|(id, document)| (id, search.row(document)));
    rows.filter(|(_, row)| !row.is_empty()).collect()
}

/// What a change does to the definition that is there, with its version.
pub(crate) enum Judged {
    /// Nothing is to be written.
    Ended(ChangeOutcome),
    /// It is to be published.
    Publish,
}

/// Compares a change with what is there.
pub(crate) fn judge(change: &TypeChange<'_>, present: Option<&(i64, String)>) -> Judged {
    let current_version = present.map(|(version, _)| from_bigint(*version));
    if !change.precondition.holds(current_version) {
        return Judged::Ended(ChangeOutcome::Refused { current_version });
    }
    let present = present.map(|(_, definition)| definition.as_str());
    if present == change.definition.map(Definition::to_json).as_deref() {
        return Judged::Ended(ChangeOutcome::Unchanged);
    }
    Judged::Publish
}

/// The columns `kind` and `spec` of a definition's parts; of none where it is deleted.
pub(crate) fn part_columns(change: &TypeChange<'_>) -> (Vec<i16>, Vec<String>) {
    let parts = change.definition.into_iter().flat_map(Definition::parts);
    parts.map(|part| (part.code(), part.spec())).unzip()
}

/// A count for a column.
pub(crate) fn count(rows: usize) -> i64 {
    to_bigint(rows as u64)
}
