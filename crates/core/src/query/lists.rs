//! Lists of entities, page by page, and of the types that they have.

mod candidates;
mod count;
mod narrow;
mod pace;
mod page;
mod types;

use std::collections::HashMap;
use std::sync::Arc;

use self::candidates::Candidates;
use self::narrow::{Keys, keys};
use self::pace::Pace;
use self::page::{Judge, Page, bytes_of};
use self::types::TypeList;
use super::error::{QueryError, bad_parameter};
use super::list_order::{ListOrder, OrderBy};
use super::list_port::ListStore;
use super::list_request::{Count, CountKind, ListPage, ListRequest, TypesPage, TypesRequest};
use super::list_token::{Cursor, Place};
use super::page_token::{NOT_OURS, PageTokens};
use super::scans::{Scan, Scans};
use crate::model::{Clock, Entity, EntityKey, Problem, ProblemKind};

/// Keys that one call may ask for.
pub const MAX_KEYS: usize = 100;

/// Lists entities.
pub struct Lists {
    store: Arc<dyn ListStore>,
    scans: Arc<Scans>,
    clock: Clock,
}

impl Lists {
    /// Reads from `store`, in turns of `scans`.
    pub fn new(store: Arc<dyn ListStore>, scans: Arc<Scans>, clock: Clock) -> Self {
        Self { store, scans, clock }
    }

    /// A page of a list. It ends after half a second; then it may be short or empty.
    ///
    /// # Errors
    /// `Malformed` for a token of another list and an order over all types, `TooExpensive` for an order that
    /// nothing serves, `Overloaded`.
    pub async fn page(&self, request: ListRequest) -> Result<ListPage, QueryError> {
        let tokens = tokens_of(&request);
        let cursor =
            request.token.as_deref().map(|token| read_cursor(tokens, token)).transpose()?;
        let now = cursor.as_ref().map_or_else(|| self.clock.now(), |cursor| cursor.now);
        let after = cursor.map(|cursor| cursor.place);
        let judge = Judge { filter: request.filter.as_ref(), now };
        let descending = key_order(&request)?;
        let after_key = match &after {
            None => None,
            Some(Place::Key(key)) => Some(key),
            Some(Place::Sorted { .. }) => return Err(bad_token().into()),
        };
        let candidates = Candidates::new(self.keys(&request, judge), descending, after_key);
        let (mut scan, mut page) =
            (self.scans.begin().await?, Page::new(request.size, request.bytes));
        let pace = Pace::new(request.filter.is_none());
        page.fill(&*self.store, candidates, judge, pace, &mut scan).await?;
        let is_all = after.is_none() && page.next.is_none();
        let count = match request.count {
            None => None,
            Some(_) if is_all => Some(Count { value: page.entities.len() as u64, exact: true }),
            Some(kind) => Some(self.count(&request, kind, judge, &mut scan).await?),
        };
        let next = page.next.map(|place| tokens.seal(&Cursor { now, place }.to_bytes()));
        Ok(ListPage { entities: page.entities, next, count })
    }

    /// These entities, in this order; `None` for one that does not exist. At most [`MAX_KEYS`].
    ///
    /// # Errors
    /// `Malformed` for more keys, `TooExpensive` where the entities have more than `bytes` together,
    /// `Overloaded`.
    pub async fn entities(
        &self,
        wanted: &[EntityKey],
        bytes: usize,
    ) -> Result<Vec<Option<Entity>>, QueryError> {
        if wanted.len() > MAX_KEYS {
            let rule = format!("must be given at most {MAX_KEYS} times");
            return Err(bad_parameter("id", rule).into());
        }
        let mut places = HashMap::<&EntityKey, usize>::new();
        let mut keys = Vec::new();
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
        let found = wanted.iter().map(|key| states.get(places[key]).cloned());
        let mut room = bytes;
        let mut entities = Vec::with_capacity(wanted.len());
        for state in found {
            let needed = state.as_ref().map(|state| state.as_ref().map_or(0, bytes_of));
            let left = needed.and_then(|needed| room.checked_sub(needed));
            match (state, left) {
                (Some(state), Some(left)) => {
                    room = left;
                    entities.push(state);
                }
                // one alone is answered whatever its size
                (Some(state), None) if wanted.len() == 1 => entities.push(state),
                _ => return Err(too_large(entities.len()).into()),
            }
        }
        Ok(entities)
    }

    /// A page of the types that have entities. It ends after half a second; then it may be short or empty.
    ///
    /// # Errors
    /// `Malformed` for a token of another list, `Overloaded`.
    pub async fn types(&self, request: TypesRequest) -> Result<TypesPage, QueryError> {
        let tokens = PageTokens::of_types();
        let place = |token: String| match read_cursor(tokens, &token)?.place {
            Place::Key(key) => Ok(key),
            Place::Sorted { .. } => Err(bad_token()),
        };
        let after = request.token.map(place).transpose()?;
        let now = self.clock.now();
        let mut scan = self.scans.begin().await?;
        let mut list = TypeList::new(request.size);
        list.fill(&*self.store, after, &mut scan).await?;
        let cursor = |key| Cursor { now, place: Place::Key(key) };
        let next = list.next.map(|key| tokens.seal(&cursor(key).to_bytes()));
        Ok(TypesPage { types: list.types, next })
    }

    fn keys(&self, request: &ListRequest, judge: Judge<'_>) -> Keys {
        keys(request.entity_type.as_deref(), judge.filter, judge.now)
    }

    async fn count(
        &self,
        request: &ListRequest,
        kind: CountKind,
        judge: Judge<'_>,
        scan: &mut Scan<'_>,
    ) -> Result<Count, QueryError> {
        let store = &*self.store;
        if kind == CountKind::Estimated && judge.filter.is_none() {
            let entity_type = request.entity_type.as_deref();
            if let Some(count) = count::estimated(store, entity_type).await? {
                return Ok(count);
            }
        }
        Ok(match self.keys(request, judge) {
            Keys::Ranges(ranges) if judge.filter.is_none() => {
                count::all(store, ranges, scan).await?
            }
            keys => count::wanted(store, Candidates::new(keys, false, None), judge, scan).await?,
        })
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
    tokens.open(token).and_then(|bytes| Cursor::from_bytes(&bytes)).ok_or_else(bad_token)
}

fn bad_token() -> Problem {
    bad_parameter("pageToken", NOT_OURS)
}

/// Whether a list in the order of keys begins with the last one.
fn key_order(request: &ListRequest) -> Result<bool, Problem> {
    match (&request.entity_type, &request.order) {
        (_, None) => Ok(false),
        (None, Some(_)) => Err(bad_parameter(
            "orderBy",
            "is for the entities of one type; over all types there is no order",
        )),
        (Some(_), Some(ListOrder { by: OrderBy::Id, descending })) => Ok(*descending),
        (Some(_), Some(order)) => {
            let detail = format!("no index serves an order by {}", order.by);
            Err(Problem::new(ProblemKind::TooExpensive, detail))
        }
    }
}

fn too_large(fitting: usize) -> Problem {
    let detail =
        format!("only the first {fitting} of these entities fit into an answer; ask for fewer");
    Problem::new(ProblemKind::TooExpensive, detail)
}
