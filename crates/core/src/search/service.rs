//! Searching: finds, judges, ranks, counts, and reads the hits of a page.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::facets::Counter;
use super::highlights::Highlights;
use super::port::{MatchQuery, Matched, Needed, SearchEngine, SearchPart, SearchParts};
use super::query::{Query, Terms};
use super::request::{
    Hit, MAX_FACETS, MAX_HITS, MAX_SEARCH_PAGE, SearchError, SearchPage, SearchRequest, Total,
};
use super::token::{LAST_HIT, Start};
use crate::filter::{Facts, Filter, JudgingTime, State};
use crate::json::{Location, Step, Violations};
use crate::model::{Clock, Entity, EntityKey, Problem, ProblemKind, Timestamp};
use crate::query::{ListStore, PageTokens, Scans, bad_parameter};

/// How long a search looks for hits, unless another time is set.
const FIND_TIME: Duration = Duration::from_millis(700);
/// How often a search begins anew because a definition changed meanwhile.
const ATTEMPTS: u32 = 3;

/// Full-text search.
pub struct Search {
    engine: Arc<dyn SearchEngine>,
    parts: Arc<dyn SearchParts>,
    store: Arc<dyn ListStore>,
    scans: Arc<Scans>,
    clock: Clock,
    find_time: Duration,
}

/// A hit before its entity is read.
struct Ranked {
    /// The place of its part.
    part: usize,
    entity_id: String,
    score: f64,
}

/// The hits of all parts.
#[derive(Default)]
struct Ranking {
    hits: Vec<Ranked>,
    /// Whether anything matched, whatever the filter says.
    has_matches: bool,
    is_complete: bool,
}

/// What is looked for in one type.
struct Lookup {
    part: SearchPart,
    terms: Terms,
}

impl Search {
    /// Finds by `engine` what `parts` declare, and reads the hits from `store`, unless the engine has them itself,
    /// in turns of `scans`.
    pub fn new(
        engine: Arc<dyn SearchEngine>,
        parts: Arc<dyn SearchParts>,
        store: Arc<dyn ListStore>,
        scans: Arc<Scans>,
        clock: Clock,
    ) -> Self {
        Self { engine, parts, store, scans, clock, find_time: FIND_TIME }
    }

    /// The same with another limit than 700 milliseconds for finding hits.
    #[must_use]
    pub fn with_find_time(self, find_time: Duration) -> Self {
        Self { find_time, ..self }
    }

    /// A page of hits. What an answered write did is found, unless the engine lags.
    ///
    /// At most [`MAX_HITS`] are ranked and counted, of what 700 milliseconds find. Where the request names no
    /// types, one whose search is being built is left out, and the total is not exact.
    ///
    /// # Errors
    /// `Malformed` with the parameter's name for what is no query, for types that cannot be searched (yet),
    /// too many facets, and tokens of other searches; `Validation` for what the engine cannot do;
    /// `TooExpensive` where the time was over before the engine had found anything; `Overloaded`.
    pub async fn search(&self, request: SearchRequest) -> Result<SearchPage, SearchError> {
        let query = Query::parse(&request.query).map_err(|rule| bad_parameter("query", rule))?;
        self.check(&request)?;
        let (tokens, start) = self.start(&request)?;
        let _turn = self.scans.begin().await?;
        let types: Vec<&str> = request.types.iter().map(String::as_str).collect();
        let indexed_up_to = self.engine.indexed_up_to(&types).await?;
        let judge = Judge { request: &request, now: start.now };
        let (lookups, ranking, counter) = self.find(&judge, &query).await?;
        let total = ranking.total();
        let (hits, next) = self.page(&lookups, &ranking.hits, &judge, start).await?;
        Ok(SearchPage {
            hits,
            total,
            facets: counter.finish(),
            engine: self.engine.engine(),
            indexed_up_to,
            next: next.map(|hits| Start { hits, ..start }.write(tokens)),
        })
    }

    fn check(&self, request: &SearchRequest) -> Result<(), Problem> {
        if request.facets.len() > MAX_FACETS {
            return Err(bad_parameter("facet", format!("must occur at most {MAX_FACETS} times")));
        }
        if request.fuzzy && !self.engine.engine().finds_typos() {
            let rule = format!("is not supported by the engine {}", self.engine.engine().as_str());
            let place = Location(vec![Step::Key("fuzzy".into())]);
            let violations = Violations::one(place, rule);
            return Err(Problem::validation(violations));
        }
        Ok(())
    }

    /// Where the page begins, and the tokens of this search.
    fn start(&self, request: &SearchRequest) -> Result<(PageTokens, Start), Problem> {
        let filter = request.filter.as_ref().map_or("", Filter::text);
        let types = request.types.iter().map(String::as_str);
        // no type has this name
        let fuzzy = request.fuzzy.then_some("");
        let parts = [request.query.as_str(), filter].into_iter().chain(types).chain(fuzzy);
        let tokens = PageTokens::of_search(parts);
        let start = match &request.token {
            None => Start::first(self.clock.now()),
            Some(token) => {
                Start::read(tokens, token).map_err(|rule| bad_parameter("pageToken", rule))?
            }
        };
        Ok((tokens, start))
    }

    /// All hits, in their order, and what is counted of them. Rows of a part are deleted after it is no longer
    /// declared: what was found counts only where the parts are the same afterwards.
    async fn find(
        &self,
        judge: &Judge<'_>,
        query: &Query,
    ) -> Result<(Vec<Lookup>, Ranking, Counter), SearchError> {
        let request = judge.request;
        let mut parts = self.parts.search_parts().await?;
        for _ in 0..ATTEMPTS {
            let (lookups, leaves_out) = lookups(parts.clone(), request, query)?;
            let mut counter = Counter::new(&request.facets, request.filter.as_ref());
            let mut ranking = self.rank(&lookups, judge, &mut counter).await?;
            ranking.is_complete &= !leaves_out;
            let after = self.parts.search_parts().await?;
            let is_there = |lookup: &Lookup| after.contains(&lookup.part);
            if lookups.iter().all(is_there) {
                return Ok((lookups, ranking, counter));
            }
            parts = after;
        }
        let detail = "the definitions of types change all the time; try again later";
        Err(Problem::new(ProblemKind::Unavailable, detail).into())
    }

    /// The hits of every type, each with its share of the time, in their order.
    async fn rank(
        &self,
        lookups: &[Lookup],
        judge: &Judge<'_>,
        counter: &mut Counter,
    ) -> Result<Ranking, SearchError> {
        let end = Instant::now() + self.find_time;
        let members = judge.members_of_facets();
        let mut ranking = Ranking { is_complete: true, ..Ranking::default() };
        for (place, lookup) in lookups.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let share = u32::try_from(lookups.len() - place).unwrap_or(u32::MAX);
            let query = MatchQuery {
                part: &lookup.part,
                terms: &lookup.terms,
                fuzzy: judge.request.fuzzy,
                needed: judge.needed(&members),
                deadline: Instant::now() + left / share,
            };
            let before = ranking.hits.len();
            let mut time = JudgingTime::default();
            let (hits, has_matches) = (&mut ranking.hits, &mut ranking.has_matches);
            let mut each = |matched: Matched| {
                *has_matches = true;
                if hits.len() - before == MAX_HITS {
                    return ControlFlow::Break(());
                }
                let entity_type = &lookup.part.entity_type;
                let judged = || judge.lets_through(entity_type, &matched, counter);
                if time.spend(judge.longest(&matched), judged) {
                    let Matched { entity_id, score, .. } = matched;
                    hits.push(Ranked { part: place, entity_id, score });
                }
                ControlFlow::Continue(())
            };
            ranking.is_complete &= self.engine.matches(query, &mut each).await?;
        }
        if !ranking.is_complete && !ranking.has_matches {
            return Err(too_expensive().into());
        }
        // parts are in the order of their types
        ranking.hits.sort_by(|left, right| {
            let by_score = right.score.total_cmp(&left.score);
            by_score.then_with(|| (left.part, &left.entity_id).cmp(&(right.part, &right.entity_id)))
        });
        Ok(ranking)
    }

    /// The entities of a page's hits, and where the next page begins. What was deleted meanwhile, or changed so
    /// that the filter does not hold any more, is left out.
    async fn page(
        &self,
        lookups: &[Lookup],
        ranked: &[Ranked],
        judge: &Judge<'_>,
        start: Start,
    ) -> Result<(Vec<Hit>, Option<usize>), SearchError> {
        let request = judge.request;
        let last = ranked.len().min(LAST_HIT);
        let size = usize::try_from(request.size.clamp(1, MAX_SEARCH_PAGE)).unwrap_or(1);
        let page = &ranked[start.hits.min(last)..(start.hits + size).min(last)];
        let keys: Vec<_> = page
            .iter()
            .map(|hit| {
                EntityKey::new_unchecked(&lookups[hit.part].part.entity_type, &hit.entity_id)
            })
            .collect();
        let keys: Vec<_> = keys.iter().collect();
        let states = match keys.as_slice() {
            [] => Vec::new(),
            keys => match self.engine.hit_states(keys, request.bytes) {
                Some(states) => states.await?,
                None => self.store.states(keys, request.bytes).await?,
            },
        };
        let end = start.hits + states.len();
        let mut hits: Vec<(usize, Hit)> = Vec::with_capacity(page.len());
        for (ranked, entity) in page.iter().zip(states) {
            if let Some(entity) = entity.filter(|entity| judge.holds_of(entity)) {
                let hit = Hit { entity, score: ranked.score, highlights: Vec::new() };
                hits.push((ranked.part, hit));
            }
        }
        if request.highlight {
            self.highlight(lookups, request.fuzzy, &mut hits).await?;
        }
        let hits = hits.into_iter().map(|(_, hit)| hit).collect();
        Ok((hits, (end < last).then_some(end)))
    }

    async fn highlight(
        &self,
        lookups: &[Lookup],
        fuzzy: bool,
        hits: &mut [(usize, Hit)],
    ) -> Result<(), SearchError> {
        for (place, Lookup { part, terms }) in lookups.iter().enumerate() {
            let of_part = hits.iter().filter(|(part, _)| *part == place);
            let entities: Vec<&Entity> = of_part.map(|(_, hit)| &hit.entity).collect();
            if entities.is_empty() {
                continue;
            }
            let highlights = Highlights::new(&*self.engine, part, terms, fuzzy, &entities).await?;
            for (_, hit) in hits.iter_mut().filter(|(part, _)| *part == place) {
                hit.highlights = highlights.of(&hit.entity);
            }
        }
        Ok(())
    }
}

/// What to look for in which types, and whether a type is left out that declares search.
fn lookups(
    mut parts: Vec<SearchPart>,
    request: &SearchRequest,
    query: &Query,
) -> Result<(Vec<Lookup>, bool), Problem> {
    parts.sort_by(|left, right| left.entity_type.cmp(&right.entity_type));
    for name in &request.types {
        let rule = match parts.iter().find(|part| part.entity_type == *name) {
            Some(part) if part.is_ready => continue,
            Some(_) => "is being built for search; it can be searched as soon as it is ready",
            None => "has no search in its definition",
        };
        return Err(bad_parameter("type", format!("{} {rule}", quoted(name))));
    }
    if !request.types.is_empty() {
        parts.retain(|part| request.types.contains(&part.entity_type));
    }
    let leaves_out = parts.iter().any(|part| !part.is_ready);
    let ready = parts.into_iter().filter(|part| part.is_ready);
    let lookups = ready.map(|part| {
        let terms = query.terms(&part.definition.language);
        Lookup { part, terms }
    });
    Ok((lookups.filter(|lookup| lookup.terms != Terms::Nothing).collect(), leaves_out))
}

impl Ranking {
    fn total(&self) -> Total {
        let counted = self.hits.len().min(MAX_HITS);
        let exact = self.is_complete && counted == self.hits.len();
        Total { value: counted as u64, exact }
    }
}

/// Judges by filter and facets.
struct Judge<'r> {
    request: &'r SearchRequest,
    now: Timestamp,
}

impl Judge<'_> {
    /// The names of the members that the facets' paths begin with.
    fn members_of_facets(&self) -> Vec<&str> {
        let facets = self.request.facets.iter();
        let names: BTreeSet<&str> = facets.filter_map(|facet| facet.path.keys().next()).collect();
        names.into_iter().collect()
    }

    /// What is judged: a filter may ask for anything, facets for their members alone.
    fn needed<'n>(&self, members_of_facets: &'n [&'n str]) -> Needed<'n> {
        match (&self.request.filter, members_of_facets) {
            (Some(_), _) => Needed::State,
            (None, []) => Needed::Nothing,
            (None, members) => Needed::Members(members),
        }
    }

    /// How long the filter and the facets take at most, about, with what was found. A facet has most of the
    /// filter's conditions.
    fn longest(&self, matched: &Matched) -> Duration {
        let bytes = matched.state.as_ref().map_or(0, |found| found.data.len());
        let SearchRequest { filter, facets, .. } = self.request;
        let longest = filter.as_ref().map_or(Duration::ZERO, |filter| filter.longest(bytes));
        longest * u32::try_from(1 + facets.len()).unwrap_or(u32::MAX)
    }

    /// Whether the filter holds of what was found; counts it for the facets.
    fn lets_through(&self, entity_type: &str, matched: &Matched, counter: &mut Counter) -> bool {
        let Some(found) = &matched.state else { return true };
        let state =
            State { created_at: found.created_at, updated_at: found.updated_at, data: &found.data };
        let facts = Facts {
            entity_type,
            entity_id: &matched.entity_id,
            version: found.version,
            state: Some(state),
            change: None,
            now: self.now,
        };
        let is_hit = self.holds(&facts);
        counter.add(&facts, &found.data, is_hit);
        is_hit
    }

    fn holds_of(&self, entity: &Entity) -> bool {
        self.holds(&entity.facts(self.now))
    }

    fn holds(&self, facts: &Facts<'_>) -> bool {
        self.request
            .filter
            .as_ref()
            .is_none_or(|filter| JudgingTime::default().matches(filter, facts))
    }
}

fn too_expensive() -> Problem {
    let detail = "the query's words are in too many entities to be looked up in time; use more words, or \
                  longer ones";
    Problem::new(ProblemKind::TooExpensive, detail)
}

fn quoted(name: &str) -> String {
    let mut quoted = String::new();
    crate::json::write_string(&mut quoted, name);
    quoted
}
