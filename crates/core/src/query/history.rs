//! Entities as they were: what the log says about one entity.

use std::sync::Arc;
use std::time::Duration;

use super::error::HistoryError;
use super::fold::Fold;
use super::port::{LOG_BYTES, PAGE_SIZE, ReadError, ReadStore};
use super::scans::{Scan, Scans};
use crate::filter::{Facts, Filter, JudgingTime};
use crate::json::{Document, Path, Written};
use crate::model::{
    AsOf, Entity, EntityKey, EntryKind, LogEntry, LogPoint, LogRange, Problem, ProblemKind,
    Timestamp,
};

/// Updates that one read folds at most.
const MAX_FOLDED: u64 = 100_000;
/// How long one read folds at most, rests not counted.
const FOLD_TIME: Duration = Duration::from_secs(1);
/// How long a page looks for updates that match its filter.
const FILTER_TIME: Duration = Duration::from_millis(500);
/// Bytes of paths, and of what is said of each, that an answer has at most. Both grow faster than the
/// document: each leaf repeats the keys above it and the names of its update.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Entries that are read at once.
const PAGE_ENTRIES: u32 = 1000;

/// Reads the history of single entities.
pub struct History {
    store: Arc<dyn ReadStore>,
    scans: Arc<Scans>,
}

/// A page of an entity's updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// In the order that was asked for.
    pub updates: Vec<LogEntry>,
    /// The last version that was looked at, where there may be more. The page may be shorter than what was asked
    /// for, or empty: it ends early where its patches are large, and where few updates match the filter.
    pub next: Option<u64>,
}

/// What to list of an entity's updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryQuery<'f> {
    /// Only updates that match. Its scope is that of the history.
    pub filter: Option<&'f Filter>,
    /// Begins with the last one.
    pub descending: bool,
    /// The last version of the page before.
    pub after: Option<u64>,
    /// How many at most.
    pub size: u32,
}

/// How two states of an entity differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The version of the first state.
    pub from: u64,
    /// The version of the second state.
    pub to: u64,
    /// The merge patch that makes the second of the first, a JSON object.
    pub patch: String,
    /// Each leaf that differs: its path, and the JSON text in either state that has it.
    pub changes: Vec<(Path, Option<String>, Option<String>)>,
}

/// Where the value of a leaf comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The leaf.
    pub path: Path,
    /// The update that wrote it last; `None` where that is no longer kept.
    pub update: Option<Arc<LogEntry>>,
}

impl Origin {
    /// Bytes of the path and of the names of its update.
    fn bytes(&self) -> usize {
        self.path.bytes() + self.update.as_ref().map_or(0, |update| update.names_bytes())
    }
}

impl History {
    /// Reads from `store`; folds in turns of `scans`.
    pub fn new(store: Arc<dyn ReadStore>, scans: Arc<Scans>) -> Self {
        Self { store, scans }
    }

    /// An entity as it was.
    ///
    /// # Errors
    /// `NotFound` where it did not exist then, `Gone`, `TooExpensive`.
    pub async fn entity(&self, key: &EntityKey, as_of: AsOf) -> Result<Entity, HistoryError> {
        let mut scan = self.scans.begin().await?;
        let point = self.point(key, as_of).await?;
        if matches!(as_of, AsOf::Version(version) if version > point.version) {
            return Err(not_found("the entity has no such version yet").into());
        }
        let fold = self.fold(&mut scan, key, point, |_, _| {}).await?;
        existing(key, fold)
    }

    /// A page of an entity's updates; also of one that is deleted.
    ///
    /// # Errors
    /// `NotFound` where there are none, `Gone` where the page would follow on updates that pruning deleted;
    /// with a filter `Overloaded`.
    pub async fn updates(
        &self,
        key: &EntityKey,
        query: HistoryQuery<'_>,
    ) -> Result<HistoryPage, HistoryError> {
        match query.filter {
            None => self.page(key, query).await,
            Some(filter) => self.matching(key, filter, query).await,
        }
    }

    /// The next updates that match, from as many pages as [`FILTER_TIME`] allows.
    async fn matching(
        &self,
        key: &EntityKey,
        filter: &Filter,
        query: HistoryQuery<'_>,
    ) -> Result<HistoryPage, HistoryError> {
        let mut scan = self.scans.begin().await?;
        // most filters match much or little: after one look at about as many as are asked for, the rest at once
        let mut looking = HistoryQuery { size: query.size.max(PAGE_SIZE), ..query };
        let (mut updates, mut bytes, mut time) = (Vec::new(), 0, JudgingTime::default());
        loop {
            let page = self.page(key, looking).await?;
            let last = page.updates.last().map(|entry| entry.version);
            for entry in page.updates {
                if !matches(filter, key, &entry, &mut time) {
                    continue;
                }
                let version = entry.version;
                bytes += entry.patch.len();
                updates.push(entry);
                if updates.len() >= query.size as usize {
                    let next = page.next.or(last.filter(|last| *last != version)).map(|_| version);
                    return Ok(HistoryPage { updates, next });
                }
            }
            let is_over = page.next.is_none() || bytes >= LOG_BYTES;
            // a page may end where no further turn comes in time
            if is_over || scan.rest(FILTER_TIME).await.is_err() {
                return Ok(HistoryPage { updates, next: page.next });
            }
            looking = HistoryQuery { after: page.next, size: PAGE_ENTRIES, ..query };
        }
    }

    /// A page of all updates.
    async fn page(
        &self,
        key: &EntityKey,
        query: HistoryQuery<'_>,
    ) -> Result<HistoryPage, HistoryError> {
        let (after, up_to) = match (query.descending, query.after) {
            (false, after) => (after.unwrap_or(0), u64::MAX),
            (true, None) => (0, u64::MAX),
            (true, Some(before)) => (0, before.saturating_sub(1)),
        };
        // one more shows whether there is a next page, and one may be a checkpoint
        let entries = query.size.saturating_add(2);
        let range = LogRange { after, up_to, descending: query.descending, entries };
        let mut updates = self.store.log(key, range).await?;
        if updates.is_empty() {
            self.require_kept(key, query).await?;
        }
        if let (false, Some(after), Some(first)) = (query.descending, query.after, updates.first())
            && (first.version != after + 1 || first.kind == EntryKind::Checkpoint)
        {
            return Err(gone(first.version).into());
        }
        let bytes: usize = updates.iter().map(|entry| entry.patch.len()).sum();
        let read = updates.len();
        updates.truncate(without_gap(&updates, query.descending));
        let is_complete = updates.len() == read && read < entries as usize && bytes < LOG_BYTES;
        let mut last = updates.last().map(|entry| entry.version);
        updates.retain(|entry| entry.kind != EntryKind::Checkpoint);
        let has_more = updates.len() > query.size as usize;
        if has_more {
            updates.truncate(query.size as usize);
            last = updates.last().map(|entry| entry.version);
        }
        let next = last.filter(|_| has_more || !is_complete);
        Ok(HistoryPage { updates, next })
    }

    /// How an entity differs between two versions; `to` is the present where there is none.
    ///
    /// # Errors
    /// As [`History::entity`]; `TooExpensive` also where the paths of the leaves that differ are too much.
    pub async fn compare(
        &self,
        key: &EntityKey,
        from: u64,
        to: Option<u64>,
    ) -> Result<Comparison, HistoryError> {
        let first = self.entity(key, AsOf::Version(from)).await?;
        let second = match to {
            Some(to) => self.entity(key, AsOf::Version(to)).await?,
            None => {
                let present = self.store.entity(key).await?;
                present.ok_or_else(|| not_found("no such entity"))?
            }
        };
        let documents = (document(&first)?, document(&second)?);
        let differences = documents.0.differences(&documents.1, MAX_ANSWER_BYTES);
        let differences =
            differences.ok_or_else(|| too_large("the two differ in too many paths"))?;
        let changes = differences.into_iter().map(|difference| {
            let text = |raw: Option<&str>| raw.map(str::to_owned);
            (difference.path, text(difference.from), text(difference.to))
        });
        Ok(Comparison {
            from: first.version,
            to: second.version,
            patch: documents.0.patch_to(&documents.1).to_json(),
            changes: changes.collect(),
        })
    }

    /// For each leaf at `path` and below it the update that wrote it last.
    ///
    /// # Errors
    /// `NotFound` where the entity does not exist, `TooExpensive`, also where the answer would be too large.
    pub async fn provenance(
        &self,
        key: &EntityKey,
        path: &Path,
    ) -> Result<Vec<Origin>, HistoryError> {
        let mut scan = self.scans.begin().await?;
        let present = self.point(key, AsOf::Version(u64::MAX)).await?;
        let (mut written, mut updates) = (Written::default(), Vec::<Arc<LogEntry>>::new());
        let fold = self
            .fold(&mut scan, key, present, |entry, patch| {
                if entry.is_base() {
                    updates.clear();
                    written.replace(patch, entry.version);
                } else {
                    written.merge(patch, entry.version);
                }
                updates.push(Arc::new(entry.without_patch()));
                if updates.len() % PAGE_ENTRIES as usize == 0 {
                    let versions = written.versions();
                    updates.retain(|entry| versions.contains(&entry.version));
                }
            })
            .await?;
        existing(key, fold)?;
        let origin = |(path, version): (Path, u64)| {
            let found = updates.binary_search_by_key(&version, |entry| entry.version).ok();
            let update = found.map(|index| Arc::clone(&updates[index]));
            Origin { path, update: update.filter(|entry| entry.kind != EntryKind::Checkpoint) }
        };
        let too_many = || too_large("too many leaves; ask for a part of the document with a path");
        let leaves = written.leaves(path, MAX_ANSWER_BYTES).ok_or_else(too_many)?;
        let origins: Vec<_> = leaves.into_iter().map(origin).collect();
        if origins.iter().map(Origin::bytes).sum::<usize>() > MAX_ANSWER_BYTES {
            return Err(too_many().into());
        }
        Ok(origins)
    }

    /// The entry of a moment.
    async fn point(&self, key: &EntityKey, as_of: AsOf) -> Result<LogPoint, HistoryError> {
        if let Some(point) = self.store.log_point(key, as_of, MAX_FOLDED).await? {
            return Ok(point);
        }
        Err(match self.first(key, 0).await? {
            Some(oldest) if oldest.kind == EntryKind::Checkpoint => gone(oldest.version).into(),
            Some(_) => not_found("the entity did not exist then").into(),
            None => not_found("no such entity").into(),
        })
    }

    /// The first entry after a version.
    async fn first(&self, key: &EntityKey, after: u64) -> Result<Option<LogEntry>, ReadError> {
        let range = LogRange { after, up_to: u64::MAX, descending: false, entries: 1 };
        Ok(self.store.log(key, range).await?.into_iter().next())
    }

    /// Whether an empty page is right: it is where it follows on the last update, unless that one was pruned
    /// together with the entity.
    async fn require_kept(
        &self,
        key: &EntityKey,
        query: HistoryQuery<'_>,
    ) -> Result<(), HistoryError> {
        match query.after {
            Some(_) if query.descending => return Ok(()),
            Some(last) if self.first(key, last.saturating_sub(1)).await?.is_some() => return Ok(()),
            _ => {}
        }
        Err(self.pruned(key).await?.into())
    }

    /// The problem of what was pruned, maybe together with the entity.
    async fn pruned(&self, key: &EntityKey) -> Result<Problem, ReadError> {
        let oldest = self.first(key, 0).await?;
        Ok(oldest.map_or_else(|| not_found("no such entity"), |oldest| gone(oldest.version)))
    }

    /// Folds the log from the point's base to its version; `each` gets every entry and its patch.
    async fn fold(
        &self,
        scan: &mut Scan<'_>,
        key: &EntityKey,
        point: LogPoint,
        mut each: impl FnMut(&LogEntry, &Document<'_>),
    ) -> Result<Fold, HistoryError> {
        let mut fold = Fold::before(point).ok_or_else(too_expensive)?;
        while fold.version < point.version {
            if scan.worked() > FOLD_TIME {
                return Err(too_expensive().into());
            }
            scan.rest(FOLD_TIME * 2).await?;
            let range = LogRange {
                after: fold.version,
                up_to: point.version,
                descending: false,
                entries: PAGE_ENTRIES,
            };
            let page = self.store.log(key, range).await?;
            if !fold.continues_with(&page) {
                // pruned meanwhile
                return Err(self.pruned(key).await?.into());
            }
            fold.extend(&page, &mut each).map_err(broken)?;
        }
        Ok(fold)
    }
}

/// How many entries follow on each other. A store reads them in several statements: what pruning did
/// between two of them shows as a gap, or as a checkpoint behind other entries.
fn without_gap(entries: &[LogEntry], descending: bool) -> usize {
    let is_gap = |pair: &[LogEntry]| match pair {
        [first, second] if descending => first.version != second.version + 1,
        [first, second] => {
            second.version != first.version + 1 || second.kind == EntryKind::Checkpoint
        }
        _ => false,
    };
    entries.windows(2).position(is_gap).map_or(entries.len(), |place| place + 1)
}

fn matches(filter: &Filter, key: &EntityKey, entry: &LogEntry, time: &mut JudgingTime) -> bool {
    let facts = Facts {
        entity_type: key.entity_type(),
        entity_id: key.entity_id(),
        version: entry.version,
        state: None,
        change: Some(entry.facts()),
        // filters of the history have no `now`
        now: Timestamp::from_micros(0),
    };
    time.matches(filter, &facts)
}

fn existing(key: &EntityKey, fold: Fold) -> Result<Entity, HistoryError> {
    if !fold.exists {
        return Err(not_found("the entity did not exist then").into());
    }
    Ok(Entity {
        key: key.clone(),
        version: fold.version,
        created_at: fold.made_at,
        updated_at: fold.updated_at,
        data: fold.data,
    })
}

fn document(entity: &Entity) -> Result<Document<'_>, Problem> {
    Document::parse(&entity.data).map_err(|error| broken(error.to_string()))
}

fn not_found(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::NotFound, detail)
}

fn gone(oldest: u64) -> Problem {
    let detail = format!("the log is kept from version {oldest} on; what was before is pruned");
    Problem::new(ProblemKind::Gone, detail)
}

fn too_expensive() -> Problem {
    let detail = "more than 100,000 updates or a second of reading; ask for a version after a replace \
                  or for pages of the history";
    Problem::new(ProblemKind::TooExpensive, detail)
}

fn too_large(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::TooExpensive, detail)
}

fn broken(error: String) -> Problem {
    tracing::error!(error, "the log can't be folded");
    Problem::new(ProblemKind::Internal, "the entity's log can't be read")
}
