//! Lists of entities, page by page, and of the types that they have.
//!
//! SQL narrows, memory decides: a list looks at the candidates that its type, the keys or an index leave, and
//! the filter judges each of them in memory. So an index makes a list fast and never changes what is in it.

mod catalog;
mod chunk;
mod count;
mod index_walk;
mod judge;
mod key_walk;
mod narrow;
mod pace;
mod page;
mod plan;
mod problems;
mod ranges;
mod sort;
mod sort_key;
mod types;
mod walk;

use std::collections::HashMap;
use std::sync::Arc;

use self::catalog::{Catalog, DeclaredIndex};
use self::judge::Judge;
use self::pace::Pace;
use self::page::{Page, bytes_of};
use self::plan::{Plan, Wanted};
use self::sort::{SortError, SortedPage};
use self::sort_key::SortKey;
use self::types::{Read, TypeList};
use self::walk::WalkError;
use super::error::{QueryError, bad_parameter};
use super::list_order::ListOrder;
use super::list_port::ListStore;
use super::list_request::{Count, CountKind, ListPage, ListRequest, TypesPage, TypesRequest};
use super::list_token::{Cursor, Place};
use super::page_token::PageTokens;
use super::scans::{Scan, Scans};
use crate::model::{Clock, Entity, EntityKey, Problem};
use crate::types::TypeStore;

/// Keys that one call may ask for.
pub const MAX_KEYS: usize = 100;

/// Lists entities.
pub struct Lists {
    store: Arc<dyn ListStore>,
    definitions: Arc<dyn TypeStore>,
    catalog: Catalog,
    scans: Arc<Scans>,
    clock: Clock,
}

/// What a page has: its entities, and where the next one goes on.
type Filled = (Vec<Entity>, Option<Place>);

/// A page of a list that is being made.
struct Listing<'a> {
    request: &'a ListRequest,
    wanted: Wanted<'a>,
    sort_key: Option<SortKey>,
    after: Option<Place>,
}

impl Listing<'_> {
    fn judge(&self) -> Judge<'_> {
        Judge { filter: self.wanted.filter, now: self.wanted.now, has: None }
    }
}

/// Why a plan did not work out.
enum Missed {
    Refused(QueryError),
    /// The index is not ready, or there is none any more.
    NotReady,
    /// There are too many entities to sort.
    TooMany,
}

impl Lists {
    /// Reads entities and definitions from two ports of one database, in turns of `scans`.
    pub fn new(
        store: Arc<dyn ListStore>,
        definitions: Arc<dyn TypeStore>,
        scans: Arc<Scans>,
        clock: Clock,
    ) -> Self {
        let catalog = Catalog::new(Arc::clone(&definitions));
        Self { store, definitions, catalog, scans, clock }
    }

    /// A page of a list. It ends after half a second; then it may be short or empty.
    ///
    /// # Errors
    /// `Malformed` for a token of another list, an order over all types, and an order by an index that is
    /// being built; `TooExpensive` for an order that nothing serves, `Overloaded`.
    pub async fn page(&self, request: ListRequest) -> Result<ListPage, QueryError> {
        if request.entity_type.is_none() && request.order.is_some() {
            return Err(problems::order_over_all_types().into());
        }
        let tokens = tokens_of(&request);
        let cursor =
            request.token.as_deref().map(|token| read_cursor(tokens, token)).transpose()?;
        let now = cursor.as_ref().map_or_else(|| self.clock.now(), |cursor| cursor.now);
        let listing = Listing {
            wanted: Wanted {
                entity_type: request.entity_type.as_deref(),
                filter: request.filter.as_ref(),
                order: request.order.as_ref(),
                now,
            },
            sort_key: request.order.as_ref().map(SortKey::new),
            after: cursor.map(|cursor| cursor.place),
            request: &request,
        };
        let mut scan = self.scans.begin().await?;
        let (entities, next) = self.fill(&listing, &mut scan).await?;
        if !scan.has_turn() && request.count.is_some() {
            scan = self.scans.begin().await?;
        }
        let is_all = listing.after.is_none() && next.is_none();
        let count = match request.count {
            None => None,
            Some(_) if is_all => Some(Count { value: entities.len() as u64, exact: true }),
            Some(kind) => Some(self.count(&listing, kind, &mut scan).await?),
        };
        let next = next.map(|place| tokens.seal(&Cursor { now, place }.to_bytes()));
        Ok(ListPage { entities, next, count })
    }

    /// These entities, in this order; `None` for one that does not exist. At most [`MAX_KEYS`].
    ///
    /// # Errors
    /// `Malformed` for more keys, `TooExpensive` where several have more than `bytes` together, `Overloaded`.
    pub async fn entities(
        &self,
        wanted: &[EntityKey],
        bytes: usize,
    ) -> Result<Vec<Option<Entity>>, QueryError> {
        if wanted.len() > MAX_KEYS {
            return Err(
                bad_parameter("id", format!("must be given at most {MAX_KEYS} times")).into()
            );
        }
        let (mut places, mut keys) = (HashMap::<&EntityKey, usize>::new(), Vec::new());
        for key in wanted {
            places.entry(key).or_insert_with(|| {
                keys.push(key);
                keys.len() - 1
            });
        }
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.scans.begin().await?;
        let states = self.store.states(&keys, bytes).await?;
        let (mut room, mut entities) = (bytes, Vec::with_capacity(wanted.len()));
        for key in wanted {
            // the store returns what fits
            let state =
                states.get(places[key]).ok_or_else(|| problems::too_large(entities.len()))?;
            let needed = state.as_ref().map_or(0, bytes_of);
            if needed > room && wanted.len() > 1 {
                return Err(problems::too_large(entities.len()).into());
            }
            room = room.saturating_sub(needed);
            entities.push(state.clone());
        }
        Ok(entities)
    }

    /// A page of the types that have entities or a definition. It ends after half a second; then it may be short
    /// or empty.
    ///
    /// # Errors
    /// `Malformed` for a token of another list, `Overloaded`.
    pub async fn types(&self, request: TypesRequest) -> Result<TypesPage, QueryError> {
        let tokens = PageTokens::of_types();
        let place = |token: String| match read_cursor(tokens, &token)?.place {
            Place::Key(key) => Ok(key),
            Place::Index { .. } | Place::Sorted { .. } => Err(problems::bad_token()),
        };
        let after = request.token.map(place).transpose()?;
        let now = self.clock.now();
        let mut scan = self.scans.begin().await?;
        let mut list = TypeList::new(request.size);
        let read = Read { store: &*self.store, definitions: &*self.definitions };
        list.fill(read, after, &mut scan).await?;
        let cursor = |key| Cursor { now, place: Place::Key(key) };
        let next = list.next.map(|key| tokens.seal(&cursor(key).to_bytes()));
        Ok(TypesPage { types: list.types, next })
    }

    /// Looks for a page, by an index where one serves.
    async fn fill(&self, listing: &Listing<'_>, scan: &mut Scan<'_>) -> Result<Filled, QueryError> {
        let wanted = listing.wanted;
        let Some(entity_type) = wanted.entity_type.filter(|_| wanted.may_use_index()) else {
            let plan = wanted.plan(&[], listing.after.as_ref());
            return self.run(plan, listing, scan).await.map_err(|missed| match missed {
                Missed::Refused(error) => error,
                Missed::NotReady | Missed::TooMany => problems::bad_token().into(),
            });
        };
        // what is known may be out of date: it decides nothing but by which index to look
        if let Some(known) = self.catalog.known(entity_type) {
            let plan = wanted.plan(&known, listing.after.as_ref());
            if plan.by_index && plan.walk.is_some() {
                match self.run(plan, listing, scan).await {
                    Ok(filled) => return Ok(filled),
                    Err(Missed::Refused(error)) => return Err(error),
                    Err(Missed::NotReady | Missed::TooMany) => {}
                }
            }
        }
        let indexes = self.catalog.read(entity_type).await?;
        let plan = wanted.plan(&indexes, listing.after.as_ref());
        self.run(plan, listing, scan).await.map_err(|missed| match missed {
            Missed::Refused(error) => error,
            Missed::NotReady if listing.after.is_some() => problems::index_is_gone().into(),
            Missed::NotReady => problems::definitions_change().into(),
            Missed::TooMany => too_many(entity_type, wanted, &indexes).into(),
        })
    }

    async fn run(
        &self,
        plan: Plan,
        listing: &Listing<'_>,
        scan: &mut Scan<'_>,
    ) -> Result<Filled, Missed> {
        let Plan { sort, walk, by_index } = plan;
        let ListRequest { size, bytes, .. } = *listing.request;
        if let (Some(all), Some(by), Some(order)) = (sort, &listing.sort_key, listing.wanted.order)
        {
            let after = match &listing.after {
                Some(Place::Sorted { key, id }) => Some((key.clone(), id.clone())),
                _ => None,
            };
            let mut page = SortedPage::new(size, bytes, order.descending);
            match page.fill(&*self.store, all, listing.judge(), by, after.as_ref(), scan).await {
                Ok(()) => return Ok(page.into_page()),
                Err(SortError::TooMany) if walk.is_some() => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut page = Page::new(size, bytes);
        // most of what an index leaves is wanted
        let pace = Pace::new(by_index || listing.request.filter.is_none());
        let walk = walk.ok_or(Missed::NotReady)?;
        page.fill(&*self.store, walk, listing.judge(), pace, scan).await?;
        Ok((page.entities, page.next))
    }

    async fn count(
        &self,
        listing: &Listing<'_>,
        kind: CountKind,
        scan: &mut Scan<'_>,
    ) -> Result<Count, QueryError> {
        let (store, wanted) = (&*self.store, listing.wanted);
        let lists_all = wanted.lists_all();
        if kind == CountKind::Estimated
            && lists_all
            && let Some(count) = count::estimated(store, wanted.entity_type).await?
        {
            return Ok(count);
        }
        if lists_all {
            return Ok(count::all(store, wanted.entity_type, scan).await?);
        }
        let judge = Judge { has: listing.sort_key.as_ref(), ..listing.judge() };
        let indexes = match wanted.entity_type {
            Some(entity_type) => self.catalog.read(entity_type).await?,
            None => [].into(),
        };
        match count::wanted(store, wanted.counted(&indexes), judge, scan).await {
            Ok(count) => Ok(count),
            Err(WalkError::Read(error)) => Err(error.into()),
            Err(WalkError::NotReady) => Err(problems::definitions_change().into()),
        }
    }
}

impl From<WalkError> for Missed {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Read(error) => Self::Refused(error.into()),
            WalkError::NotReady => Self::NotReady,
        }
    }
}

impl From<SortError> for Missed {
    fn from(error: SortError) -> Self {
        match error {
            SortError::Walk(error) => error.into(),
            SortError::TooMany => Self::TooMany,
        }
    }
}

fn tokens_of(request: &ListRequest) -> PageTokens {
    // a type is not empty
    let entity_type = request.entity_type.as_deref().unwrap_or("");
    let filter = request.filter.as_ref().map_or("", |filter| filter.text());
    let order = request.order.as_ref().map(ListOrder::to_string).unwrap_or_default();
    PageTokens::of_entities(&[entity_type, filter, &order])
}

fn read_cursor(tokens: PageTokens, token: &str) -> Result<Cursor, Problem> {
    let cursor = tokens.open(token).and_then(|bytes| Cursor::from_bytes(&bytes));
    cursor.ok_or_else(problems::bad_token)
}

/// The problem of an order that would have to sort too many entities.
fn too_many(entity_type: &str, wanted: Wanted<'_>, indexes: &[DeclaredIndex]) -> Problem {
    let Some(order) = wanted.order else { return problems::bad_token() };
    let building = indexes.iter().find(|index| !index.is_ready && wanted.is_served_by(index));
    match building {
        Some(index) => problems::index_is_building(index.progress),
        None => problems::no_index(entity_type, order),
    }
}
