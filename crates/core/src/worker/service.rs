//! Connectors and dead letters: what users see of them, and how they steer them.

use std::sync::Arc;

use super::connector::{Connector, Role, check_connector_name};
use super::dead_letter::{DeadLetter, DeadLetterPlace, DeadLetterQuery, DeadLetterState};
use super::port::{Deleted, WorkerStore};
use crate::feed::{Feed, ReaderKind, Start, Token, Types, WatchRequest};
use crate::json::{Location, Step, Violations};
use crate::model::{Problem, ProblemKind};
use crate::query::{MAX_PAGE_SIZE, PageTokens, ReadError, bad_parameter};

/// Dead letters that one request replays or deletes where it does not say how many.
pub const DEAD_LETTERS_AT_ONCE: u32 = 1_000;
/// Dead letters that one request replays or deletes at most.
pub const MAX_DEAD_LETTERS_AT_ONCE: u32 = 10_000;

/// The token of a sink that is to take a snapshot.
const SNAPSHOT: &str = "snapshot";

/// Connectors and dead letters of one database. Cheap to clone.
///
/// A worker does what is asked of a connector as soon as it renews its lease: within about a second.
#[derive(Clone)]
pub struct Connectors {
    store: Arc<dyn WorkerStore>,
    feed: Feed,
}

/// Which dead letters are asked for, newest first.
#[derive(Debug, Clone, Default)]
pub struct DeadLettersRequest {
    /// Only those of this connector.
    pub connector: Option<(Role, String)>,
    /// So many at most, from 1.
    pub size: u32,
    /// Where the page begins, from the page before.
    pub token: Option<String>,
}

/// A page of dead letters.
#[derive(Debug, Clone)]
pub struct DeadLettersPage {
    /// Newest first, without their messages.
    pub letters: Vec<SeenDeadLetter>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<String>,
}

/// A dead letter as users see it.
#[derive(Debug, Clone)]
pub struct SeenDeadLetter {
    /// What is stored.
    pub letter: DeadLetter,
    /// Of a change: the token that goes on behind it.
    pub token: Option<Token>,
}

impl Connectors {
    /// Those that `store` has. `feed` reads the log of the same database.
    pub fn new(store: Arc<dyn WorkerStore>, feed: Feed) -> Self {
        Self { store, feed }
    }

    /// All connectors of a role in the order of their names.
    ///
    /// # Errors
    /// `Unavailable`
    pub async fn list(&self, role: Role) -> Result<Vec<Connector>, Problem> {
        self.store.connectors(role, None).await.map_err(unavailable)
    }

    /// A connector.
    ///
    /// # Errors
    /// `Malformed` for what no connector is called, `NotFound`, `Unavailable`.
    pub async fn get(&self, role: Role, name: &str) -> Result<Connector, Problem> {
        check_name("name", name)?;
        self.find(role, name).await
    }

    /// Pauses or resumes a connector; nothing where it is so already.
    ///
    /// # Errors
    /// As [`Connectors::get`].
    pub async fn set_paused(
        &self,
        role: Role,
        name: &str,
        paused: bool,
    ) -> Result<Connector, Problem> {
        check_name("name", name)?;
        let is_known = self.store.set_paused(role, name, paused).await.map_err(unavailable)?;
        self.steered(role, name, is_known).await
    }

    /// Asks a sink to give up the change that it can't get past: it becomes a dead letter. `token` says which
    /// one is meant, since the sink may have got past it meanwhile.
    ///
    /// # Errors
    /// `PreconditionFailed` where its current change is another one; as [`Connectors::get`].
    pub async fn skip(&self, sink: &str, token: &str) -> Result<Connector, Problem> {
        let current = self.get(Role::Sink, sink).await?.report.current;
        let unmet = match current {
            Some(current) if current.token == token => None,
            Some(_) => Some("the sink's current change has another token"),
            None => Some("the sink has no current change that it can't get past"),
        };
        if let Some(detail) = unmet {
            return Err(Problem::new(ProblemKind::PreconditionFailed, detail));
        }
        let is_known = self.store.skip(sink, token).await.map_err(unavailable)?;
        self.steered(Role::Sink, sink, is_known).await
    }

    /// Puts a sink elsewhere: `start`, `now`, `snapshot`, a time or a token.
    ///
    /// # Errors
    /// `Validation` where `from` is none of these; `Gone` where the log is not kept from there on; `Overloaded`;
    /// as [`Connectors::get`].
    pub async fn reset(&self, sink: &str, from: &str) -> Result<Connector, Problem> {
        check_name("name", sink)?;
        let start = Start::parse(from).map_err(|rule| {
            Problem::validation(Violations::one(Location(vec![Step::Key("from".into())]), rule))
        })?;
        self.find(Role::Sink, sink).await?;
        let (token, position) = self.resolve(start).await?;
        let reset = self.store.reset(sink, &token, position).await;
        self.steered(Role::Sink, sink, reset.map_err(unavailable)?).await
    }

    /// Forgets a connector, its position and its dead letters.
    ///
    /// # Errors
    /// `InUse` while a worker runs it; as [`Connectors::get`].
    pub async fn delete(&self, role: Role, name: &str) -> Result<(), Problem> {
        check_name("name", name)?;
        match self.store.delete_connector(role, name).await.map_err(unavailable)? {
            Deleted::Deleted => Ok(()),
            Deleted::NotFound => Err(unknown(role)),
            Deleted::InUse(worker) => {
                let role = role.as_str();
                let detail = format!(
                    "the worker {worker} runs the {role}; take the {role} out of its configuration and \
                     restart it first"
                );
                Err(Problem::new(ProblemKind::InUse, detail))
            }
        }
    }

    /// A page of dead letters.
    ///
    /// # Errors
    /// `Malformed` for a token of another list and for what no connector is called, `NotFound` for a connector
    /// that is not known, `Unavailable`.
    pub async fn dead_letters(
        &self,
        request: DeadLettersRequest,
    ) -> Result<DeadLettersPage, Problem> {
        let connector = request.connector.as_ref().map(|(role, name)| (*role, name.as_str()));
        let list = connector.map(|(role, name)| (role.as_str(), name));
        let tokens = PageTokens::of_dead_letters(list);
        let before = request.token.map(|token| tokens.read(&token)).transpose();
        let before = before.map_err(|rule| bad_parameter("pageToken", rule))?;
        if let Some((role, name)) = connector {
            self.find_named(role, name).await?;
        }
        // one more than asked for shows whether there is another page
        let query = DeadLetterQuery { connector, before, rows: request.size.saturating_add(1) };
        let mut letters = self.store.dead_letters(query).await.map_err(unavailable)?;
        let size = usize::try_from(request.size).unwrap_or(usize::MAX);
        let is_last = letters.len() <= size;
        letters.truncate(size);
        let next = letters.last().filter(|_| !is_last).map(|last| tokens.write(last.id));
        Ok(DeadLettersPage { letters: self.seen(letters).await?, next })
    }

    /// A dead letter with its message.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn dead_letter(&self, id: u64) -> Result<SeenDeadLetter, Problem> {
        let letter = self.store.dead_letter(id).await.map_err(unavailable)?;
        let mut seen = self.seen(letter.into_iter().collect()).await?;
        seen.pop().ok_or_else(no_dead_letter)
    }

    /// Asks for a dead letter to be delivered again, before what waits behind it. Returns how many are: 1.
    ///
    /// # Errors
    /// `InUse` for a change that waits behind another one, `NotFound`, `Unavailable`.
    pub async fn replay_dead_letter(&self, id: u64) -> Result<u64, Problem> {
        match self.store.replay_dead_letter(id).await.map_err(unavailable)? {
            None => Err(no_dead_letter()),
            Some(DeadLetterState::Dead | DeadLetterState::Replaying) => Ok(1),
            Some(DeadLetterState::Waiting) => Err(self.waits(id).await?),
        }
    }

    /// Gives a dead letter up.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_dead_letter(&self, id: u64) -> Result<(), Problem> {
        let is_deleted = self.store.delete_dead_letter(id).await.map_err(unavailable)?;
        is_deleted.then_some(()).ok_or_else(no_dead_letter)
    }

    /// Asks for up to `limit` dead letters of a connector to be delivered again, the oldest first. Returns how
    /// many are.
    ///
    /// # Errors
    /// `Malformed` for what no connector is called, `NotFound` for one that is not known, `Unavailable`.
    pub async fn replay_dead_letters(
        &self,
        role: Role,
        name: &str,
        limit: u32,
    ) -> Result<u64, Problem> {
        self.find_named(role, name).await?;
        self.store.replay_dead_letters((role, name), limit).await.map_err(unavailable)
    }

    /// Gives up to `limit` dead letters of a connector up, the oldest first. Returns how many were there.
    ///
    /// # Errors
    /// As [`Connectors::replay_dead_letters`].
    pub async fn delete_dead_letters(
        &self,
        role: Role,
        name: &str,
        limit: u32,
    ) -> Result<u64, Problem> {
        self.find_named(role, name).await?;
        self.store.delete_dead_letters((role, name), limit).await.map_err(unavailable)
    }

    async fn find(&self, role: Role, name: &str) -> Result<Connector, Problem> {
        let found = self.store.connectors(role, Some(name)).await.map_err(unavailable)?;
        found.into_iter().next().ok_or_else(|| unknown(role))
    }

    /// As [`Connectors::get`], where the request names it by the parameter `sink` or `source`.
    async fn find_named(&self, role: Role, name: &str) -> Result<Connector, Problem> {
        check_name(role.as_str(), name)?;
        self.find(role, name).await
    }

    /// The connector after a change of it.
    async fn steered(&self, role: Role, name: &str, is_known: bool) -> Result<Connector, Problem> {
        if is_known { self.find(role, name).await } else { Err(unknown(role)) }
    }

    /// What a sink keeps of where it is to begin: a token, and the position of the log behind which it goes on.
    /// Words and times are resolved now, since the sink may be run much later.
    async fn resolve(&self, start: Start) -> Result<(String, u64), Problem> {
        let takes_snapshot = start == Start::Snapshot;
        let request = WatchRequest {
            kind: ReaderKind::Page,
            start: if takes_snapshot { Start::Now } else { start },
            until_now: false,
            types: Types::all(),
            filter: None,
            include_data: false,
        };
        let token = self.feed.watch(request).await?.token();
        let position = token.position();
        Ok((if takes_snapshot { SNAPSHOT.to_owned() } else { token.to_string() }, position))
    }

    /// Dead letters with their tokens.
    async fn seen(&self, letters: Vec<DeadLetter>) -> Result<Vec<SeenDeadLetter>, Problem> {
        let of_log = letters.iter().any(|letter| position(letter).is_some());
        let epoch = if of_log { Some(self.feed.epoch().await?) } else { None };
        let seen = letters.into_iter().map(|letter| {
            let token = epoch.zip(position(&letter));
            let token = token.map(|(epoch, position)| Token::in_log(epoch, position));
            SeenDeadLetter { letter, token }
        });
        Ok(seen.collect())
    }

    /// The problem of replaying a change that waits.
    async fn waits(&self, id: u64) -> Result<Problem, Problem> {
        let detail = match self.before(id).await? {
            Some(first) => format!(
                "it waits behind the dead letter {first} of its entity; replay or delete that one"
            ),
            None => {
                "nothing is before it any more; it is delivered as soon as a worker runs its sink"
                    .to_owned()
            }
        };
        Ok(Problem::new(ProblemKind::InUse, detail))
    }

    /// The last dead letter of the same entity before a change that waits. A connector has a limited number of
    /// dead letters, and who asks is a person, so there is no index for it.
    async fn before(&self, id: u64) -> Result<Option<u64>, Problem> {
        let waiting = self.store.dead_letter(id).await.map_err(unavailable)?;
        let waiting = waiting.ok_or_else(no_dead_letter)?;
        let DeadLetterPlace::Change { key, .. } = &waiting.letter.place else { return Ok(None) };
        let connector = Some((waiting.role, waiting.connector.as_str()));
        let mut before = Some(id);
        while before.is_some() {
            let query = DeadLetterQuery { connector, before, rows: MAX_PAGE_SIZE };
            let letters = self.store.dead_letters(query).await.map_err(unavailable)?;
            let found = letters.iter().find(|earlier| {
                let place = &earlier.letter.place;
                let is_of_entity =
                    matches!(place, DeadLetterPlace::Change { key: of, .. } if of == key);
                is_of_entity && earlier.letter.state != DeadLetterState::Waiting
            });
            if let Some(found) = found {
                return Ok(Some(found.id));
            }
            before = letters.last().map(|last| last.id);
        }
        Ok(None)
    }
}

/// Checks what the parameter `parameter` calls a connector.
fn check_name(parameter: &'static str, name: &str) -> Result<(), Problem> {
    check_connector_name(name).map_err(|rule| bad_parameter(parameter, rule))
}

/// The position of a change.
fn position(letter: &DeadLetter) -> Option<u64> {
    match letter.letter.place {
        DeadLetterPlace::Change { position, .. } => Some(position),
        DeadLetterPlace::Message(_) => None,
    }
}

fn unknown(role: Role) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("no such {}", role.as_str()))
}

fn no_dead_letter() -> Problem {
    Problem::new(ProblemKind::NotFound, "no such dead letter")
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: ReadError) -> Problem {
    tracing::warn!(%error, "connectors could not be read or changed");
    error.problem()
}
