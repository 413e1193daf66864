//! Readers of the change feed in every form, which are dropped at random and go on elsewhere from their
//! last token, or begin anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use producer_e2e::{
    Beginning, Binary, ChangeItem, ChangesReader, ChangesRequest, Committed, CopyFilter, EntityKey,
    Form, ReaderError, Received, StateSource,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::environment::Addresses;
use crate::holders::HELD_TYPE;
use crate::random::Random;

/// The type of the entity whose update is the last one of a round.
pub(crate) const MARKER_TYPE: &str = "Marker";
pub(crate) const MARKER_ID: &str = "end";

const SECOND: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_secs(10);
/// A stream has a bookmark every 15 s by contract; slack for the machine, and for a service that is frozen
/// by [`crate::faults::ServiceFault::Frozen`], which takes up to 2.5 s.
const BOOKMARK_DEADLINE: Duration = Duration::from_millis(15_000 + 2000 + 2500);
/// The time limit for an answer: a page waits for [`WAIT`].
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// How long readers may take to the end of the log when all faults are over. Those that have just begun
/// anew read much.
const END_DEADLINE: Duration = Duration::from_secs(120);
/// The pause before a reader connects again after an error.
const BACKOFF: Duration = Duration::from_millis(100);
/// How many of the last tokens a problem names.
const LAST_TOKENS: usize = 3;
/// How many problems of one reader are printed.
const MAX_PROBLEMS: usize = 5;
/// A document may be long.
const MAX_PROBLEM_CHARS: usize = 600;
/// A reader begins at the start of the log less often once it has more changes, and with still more never:
/// it would not be at the end in time.
const REREAD: usize = 20_000;
const MOST_REREAD: usize = 60_000;
/// The feed has what was committed within a second by contract; with slack.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(3);

/// Entities begin and cease to match it all the time, by updates of every kind. The marker always matches.
const FLAGGED: CopyFilter = CopyFilter {
    text: "type == 'Marker' || data.flag == true",
    matches: |key, document| key.entity_type == MARKER_TYPE || document["flag"] == true,
};

/// Counts of a whole run.
#[derive(Default)]
pub(crate) struct ReaderTotals {
    connections: AtomicU64,
    dropped: AtomicU64,
    /// Connections that ended with 503, `unavailable`, or broke.
    unavailable: AtomicU64,
    anew: AtomicU64,
    changes: AtomicU64,
    left: AtomicU64,
    snapshots: AtomicU64,
    bookmarks: AtomicU64,
    longest_gap_millis: AtomicU64,
    slowest_end_millis: AtomicU64,
}

impl ReaderTotals {
    /// The counts in one line.
    pub(crate) fn summary(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let seconds = |count: &AtomicU64| Duration::from_millis(get(count)).as_secs_f64();
        format!(
            "changes {}, left {}, snapshots {}, bookmarks {}, connections {}, dropped {}, unavailable {}, \
             begun anew {}, longest time without a bookmark {:.1} s, slowest to the end {:.1} s",
            get(&self.changes),
            get(&self.left),
            get(&self.snapshots),
            get(&self.bookmarks),
            get(&self.connections),
            get(&self.dropped),
            get(&self.unavailable),
            get(&self.anew),
            seconds(&self.longest_gap_millis),
            seconds(&self.slowest_end_millis),
        )
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn note_longest(longest: &AtomicU64, took: Duration) {
    longest.fetch_max(took.as_millis() as u64, Ordering::Relaxed);
}

/// All readers of a database. They keep their copies and tokens from one round to the next.
pub(crate) struct Readers(Vec<Reader>);

/// Running readers.
pub(crate) struct RunningReaders {
    /// What ends the round.
    marker: watch::Sender<Option<Marker>>,
    tasks: JoinSet<Reader>,
}

impl Readers {
    pub(crate) fn new(seed: u64, totals: &Arc<ReaderTotals>) -> Self {
        use Beginning::{Snapshot, Start};
        use StateSource::{Data, Patches};
        const POLL: Form = Form::Pages(Duration::ZERO);
        const CALL: Form = Form::Calls(Duration::ZERO);
        const ALL: &[Form] = &[Form::Pages(WAIT), Form::Sse, Form::Ndjson, CALL, Form::Stream];
        let every_type = || Types::All;
        let readers = [
            (&[POLL][..], Start, Patches, every_type()),
            (&[Form::Pages(WAIT)], Snapshot, Data, every_type()),
            (&[Form::Sse], Start, Patches, every_type()),
            (&[Form::Sse], Snapshot, Data, every_type()),
            // a bookmark is the most that comes for long
            (&[Form::Sse], Start, Patches, Types::Rare),
            (&[Form::Ndjson], Start, Data, every_type()),
            (&[Form::Ndjson], Snapshot, Patches, every_type()),
            (&[Form::Ndjson], Snapshot, Patches, Types::Round),
            (&[Form::Stream], Start, Patches, every_type()),
            (&[Form::Stream], Snapshot, Data, Types::Round),
            (&[CALL], Snapshot, Patches, every_type()),
            (&[Form::Calls(WAIT)], Start, Patches, Types::Rare),
            (ALL, Start, Patches, every_type()),
            (ALL, Snapshot, Data, every_type()),
        ];
        let readers = readers.map(|(forms, first, source, types)| {
            (forms, first, Wanted { source, types, filter: None })
        });
        let filtered = [
            (&[Form::Pages(WAIT), Form::Sse][..], Start),
            (&[Form::Ndjson], Snapshot),
            (&[CALL, Form::Stream], Start),
            (&[Form::Stream], Snapshot),
        ];
        let filtered = filtered.map(|(forms, first)| {
            (forms, first, Wanted { source: Data, types: every_type(), filter: Some(FLAGGED) })
        });
        let reader = |(number, (forms, first, wanted))| {
            let random = Random::new(seed.wrapping_mul(1000) + number as u64);
            Reader::new(number, forms, first, wanted, random, Arc::clone(totals))
        };
        Self(readers.into_iter().chain(filtered).enumerate().map(reader).collect())
    }

    /// Starts them, or lets them go on. `round_type` is the type of the round's entities.
    pub(crate) fn start(
        &mut self,
        addresses: &Addresses,
        round_type: &str,
        log: usize,
    ) -> RunningReaders {
        let marker = watch::Sender::new(None);
        let mut tasks = JoinSet::new();
        for mut reader in self.0.drain(..) {
            reader.begin_round(round_type, log);
            tasks.spawn(reader.read_until(addresses.clone(), marker.subscribe()));
        }
        RunningReaders { marker, tasks }
    }

    /// Compares what they got with what was committed.
    pub(crate) fn check(&mut self, committed: &Committed) -> Vec<String> {
        let mut problems = committed.problems();
        problems.extend(self.0.iter_mut().flat_map(|reader| reader.check(committed)));
        problems
    }
}

impl RunningReaders {
    /// Waits until each has read up to this version of the marker, which was just committed.
    pub(crate) async fn read_to(mut self, version: u64) -> Readers {
        self.marker.send_replace(Some(Marker { version, committed: Instant::now() }));
        let mut readers = Vec::new();
        while let Some(reader) = self.tasks.join_next().await {
            readers.push(reader.expect("a reader doesn't panic"));
        }
        readers.sort_by_key(|reader| reader.number);
        Readers(readers)
    }
}

/// The last update of a round.
#[derive(Debug, Clone, Copy)]
struct Marker {
    version: u64,
    committed: Instant,
}

/// Ends when a reader should have read to the marker.
async fn end_deadline(mut marker: watch::Receiver<Option<Marker>>) {
    // without a sender the round is over
    let _ = marker.wait_for(Option::is_some).await;
    sleep(END_DEADLINE).await;
}

/// Which types a reader wants, besides the marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Types {
    All,
    /// Those of the open sessions.
    Rare,
    /// The one of the round's entities.
    Round,
}

impl Types {
    fn names(self, round_type: &str) -> Vec<String> {
        match self {
            Self::All => Vec::new(),
            Self::Rare => vec![HELD_TYPE.into(), MARKER_TYPE.into()],
            Self::Round => vec![round_type.into(), MARKER_TYPE.into()],
        }
    }
}

/// What a reader wants.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    source: StateSource,
    types: Types,
    filter: Option<CopyFilter>,
}

impl Wanted {
    fn received(&self, beginning: Beginning, types: Vec<String>) -> Received {
        Received::new(beginning, self.source, types, self.filter)
    }
}

/// One reader, over many connections.
struct Reader {
    number: usize,
    /// A connection has one of these.
    forms: &'static [Form],
    /// Where it begins first, and where it began last.
    first: Beginning,
    beginning: Beginning,
    wanted: Wanted,
    random: Random,
    totals: Arc<ReaderTotals>,
    /// How long the log was when the round began.
    log: usize,
    received: Received,
    /// What it got before it began anew in this round.
    thrown_away: Vec<Received>,
    /// The last tokens, the newest last; none before the first item.
    tokens: VecDeque<String>,
    form: Form,
    /// When a bookmark last said on this connection that it has all.
    caught_up: Option<Instant>,
    /// The last version of the marker whose change came since it began.
    marked: Option<u64>,
    /// Why the last connection that failed did.
    failure: Option<String>,
    connected_at: Instant,
    problems: Vec<String>,
}

/// Why a connection is over.
enum End {
    /// The reader is at the end of the round.
    Finished,
    Dropped,
    Failed,
}

impl Reader {
    fn new(
        number: usize,
        forms: &'static [Form],
        first: Beginning,
        wanted: Wanted,
        random: Random,
        totals: Arc<ReaderTotals>,
    ) -> Self {
        Self {
            number,
            forms,
            first,
            beginning: first,
            wanted,
            random,
            totals,
            log: 0,
            received: wanted.received(first, Vec::new()),
            thrown_away: Vec::new(),
            tokens: VecDeque::new(),
            form: forms[0],
            caught_up: None,
            marked: None,
            failure: None,
            connected_at: Instant::now(),
            problems: Vec::new(),
        }
    }

    fn begin_round(&mut self, round_type: &str, log: usize) {
        self.log = log;
        let types = self.wanted.types.names(round_type);
        if types != self.received.types() {
            self.beginning = self.first;
            self.received = self.wanted.received(self.beginning, types);
            self.tokens.clear();
        }
    }

    /// Reads until it has the marker of the round, over as many connections as it takes.
    async fn read_until(
        mut self,
        addresses: Addresses,
        mut marker: watch::Receiver<Option<Marker>>,
    ) -> Self {
        let deadline = end_deadline(marker.clone());
        let is_in_time = tokio::select! {
            () = self.read(&addresses, &mut marker) => true,
            () = deadline => false,
        };
        if !is_in_time {
            self.problems.push(format!(
                "not at the end of the log {END_DEADLINE:?} after the last fault: connected with {:?} for \
                 {:?}, the failure before: {:?}",
                self.form,
                self.connected_at.elapsed(),
                self.failure
            ));
        }
        self
    }

    async fn read(&mut self, addresses: &Addresses, marker: &mut watch::Receiver<Option<Marker>>) {
        while self.problems.len() <= MAX_PROBLEMS {
            match self.connect(addresses, marker).await {
                End::Finished => return,
                End::Dropped => {
                    count(&self.totals.dropped);
                    if self.random.percent(10) {
                        self.begin_anew();
                    }
                }
                End::Failed => sleep(BACKOFF).await,
            }
        }
    }

    /// Throws away its token, and everything else or all but its copy.
    fn begin_anew(&mut self) {
        count(&self.totals.anew);
        self.tokens.clear();
        self.marked = None;
        let reread = (REREAD * 100 / self.log.max(1)).min(50) as u64;
        let starts =
            self.first == Beginning::Start && self.log < MOST_REREAD && self.random.percent(reread);
        self.beginning = if starts { Beginning::Start } else { Beginning::Snapshot };
        let before = if !starts && self.random.percent(50) {
            self.received.begin_snapshot(self.wanted.source)
        } else {
            let types = self.received.types().to_vec();
            let new = self.wanted.received(self.beginning, types);
            std::mem::replace(&mut self.received, new)
        };
        self.thrown_away.push(before);
    }

    fn request(&self) -> ChangesRequest {
        let from = match self.beginning {
            Beginning::Start => "start",
            Beginning::Snapshot => "snapshot",
        };
        ChangesRequest {
            from: from.into(),
            last: self.tokens.back().cloned(),
            types: self.received.types().to_vec(),
            filter: self.wanted.filter.map(|filter| filter.text),
            include_data: self.wanted.source == StateSource::Data,
        }
    }

    /// Opens one connection and reads until it ends or is dropped.
    async fn connect(
        &mut self,
        addresses: &Addresses,
        marker: &mut watch::Receiver<Option<Marker>>,
    ) -> End {
        self.form = self.random.choose(self.forms);
        let address = self.random.choose(match self.form.binary() {
            Binary::Rest => &addresses.rest,
            Binary::Grpc => &addresses.grpc,
            Binary::Worker => panic!("a worker has no readers"),
        });
        count(&self.totals.connections);
        self.received.connect();
        self.caught_up = None;
        self.connected_at = Instant::now();
        let lifetime = match self.random.below(10) {
            0..4 => self.random.between(Duration::ZERO, SECOND),
            4..8 => self.random.between(SECOND, 10 * SECOND),
            _ => self.random.between(10 * SECOND, 60 * SECOND),
        };
        let dies_at = tokio::time::Instant::now() + lifetime;
        let open = ChangesReader::open(address, self.form, self.request());
        let mut reader = match timeout(ANSWER_DEADLINE, open).await {
            Ok(Ok(reader)) => reader,
            Ok(Err(error)) => return self.fail(error),
            Err(_) => return self.fail(late("no answer to a new reader")),
        };
        let mut bookmark_at = Instant::now();
        loop {
            let ending = *marker.borrow_and_update();
            if ending.is_some_and(|marker| self.has_read_to(marker)) {
                return End::Finished;
            }
            let deadline = match self.form.is_stream() {
                true => BOOKMARK_DEADLINE.saturating_sub(bookmark_at.elapsed()),
                false => ANSWER_DEADLINE,
            };
            let item = tokio::select! {
                item = timeout(deadline, reader.next()) => item,
                () = sleep_until(dies_at), if ending.is_none() => return End::Dropped,
                _ = marker.changed() => continue,
            };
            match item {
                Ok(Ok(item)) => {
                    if matches!(item, ChangeItem::Bookmark { .. }) {
                        let since = std::mem::replace(&mut bookmark_at, Instant::now());
                        if self.form.is_stream() {
                            note_longest(&self.totals.longest_gap_millis, since.elapsed());
                        }
                    }
                    self.take(&item);
                }
                Ok(Err(error)) => return self.fail(error),
                Err(_) => return self.fail(late("no bookmark or page")),
            }
            if self.form.is_stream() && bookmark_at.elapsed() > BOOKMARK_DEADLINE {
                return self.fail(late("changes, but no bookmark"));
            }
        }
    }

    fn take(&mut self, item: &ChangeItem) {
        let counter = match item {
            ChangeItem::Change(change) => {
                if change.key == marker_key() {
                    self.marked = self.marked.max(Some(change.version));
                }
                &self.totals.changes
            }
            ChangeItem::Left(_) => &self.totals.left,
            ChangeItem::Snapshot(_) | ChangeItem::SnapshotEnd { .. } => &self.totals.snapshots,
            ChangeItem::Bookmark { caught_up, .. } => {
                self.caught_up = caught_up.then(Instant::now).or(self.caught_up);
                &self.totals.bookmarks
            }
        };
        count(counter);
        self.received.add(item);
        if self.tokens.len() == LAST_TOKENS {
            self.tokens.pop_front();
        }
        self.tokens.push_back(item.token().to_owned());
    }

    /// Whether it has read the marker, and a bookmark said on this connection that it has all. The copy alone does
    /// not say so: the data of an earlier change may be of this version.
    fn has_read_to(&self, marker: Marker) -> bool {
        let kept = self.received.copy().version(&marker_key());
        let has_read = self.caught_up.is_some_and(|caught_up| {
            // a snapshot that began after the marker has it, and its change does not come
            let is_later = caught_up > marker.committed + DELIVERY_DEADLINE;
            let is_in_copy = kept.is_some_and(|kept| kept >= marker.version);
            self.marked >= Some(marker.version) || is_later && is_in_copy
        });
        if has_read {
            note_longest(&self.totals.slowest_end_millis, marker.committed.elapsed());
        }
        has_read
    }

    fn fail(&mut self, error: ReaderError) -> End {
        match error {
            ReaderError::Unavailable(text) => {
                count(&self.totals.unavailable);
                self.failure = Some(text);
            }
            ReaderError::Gone(text) | ReaderError::Unexpected(text) => {
                let form = self.form;
                self.problems.push(format!("{form:?} from {:?}: {text}", self.tokens.back()));
            }
        }
        End::Failed
    }

    fn check(&mut self, committed: &Committed) -> Vec<String> {
        let mut problems = std::mem::take(&mut self.problems);
        for mut received in std::mem::take(&mut self.thrown_away) {
            problems.extend(received.check(committed, false));
        }
        problems.extend(self.received.check(committed, true));
        let Self { number, forms, wanted, tokens, .. } = self;
        let Wanted { source, types, filter } = wanted;
        let filter = filter.map(|filter| filter.text);
        let about =
            format!("reader {number} ({forms:?}, {source:?}, types {types:?}, filter {filter:?})");
        let count = problems.len();
        let named = problems.into_iter().take(MAX_PROBLEMS);
        let short = |problem: String| problem.chars().take(MAX_PROBLEM_CHARS).collect::<String>();
        let mut named: Vec<_> =
            named.map(|problem| format!("{about}: {}", short(problem))).collect();
        if count > 0 {
            named.push(format!("{about}: {count} problems; its last tokens: {tokens:?}"));
        }
        named
    }
}

fn marker_key() -> EntityKey {
    EntityKey { entity_type: MARKER_TYPE.into(), entity_id: MARKER_ID.into() }
}

fn late(what: &str) -> ReaderError {
    ReaderError::Unexpected(format!("{what} in time"))
}
