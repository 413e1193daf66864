//! In how many groups senders are served that wait for their answer before they send again.
//!
//! In two groups, one is answered while the database works for the other: nothing rests, but each event waits for
//! two commits. In one group, a batch begins when all who were answered have sent again: half as many commits, and
//! the database rests meanwhile. Which is faster depends on what a commit costs, on the senders and on what else
//! the cores do. So the writer tries one group from time to time, and keeps to it while that is clearly faster.
//! Without either, senders fall into groups by chance: a batch takes whoever came first.

use std::time::Duration;

use tokio::time::Instant;

/// The smallest half: below it, there is nothing to gain.
const MIN_HALF: usize = 16;
/// More senders than this are always served in two groups: batches are large enough then.
const MAX_GATHERED: usize = 256;
/// The longest wait for senders. Else it is half as long as the last batch took.
const MAX_WAIT: Duration = Duration::from_millis(50);
/// The first batches of a period are not measured: they are of the making of the one before.
const UNMEASURED: usize = 3;
/// The measured batches of a period, at least.
const MEASURED: usize = 16;
/// The measured time of a period, at least: what else happens on the machine counts less in a longer one.
const MEASURED_TIME: Duration = Duration::from_millis(50);
/// The periods of a trial, of two groups and of one by turns.
const PERIODS: usize = 6;
/// By so much one group must be faster, in each of its periods.
const CLEARLY: f64 = 1.1;
/// The next trial begins after so many times as long as this one spent on what turned out to be slower. Where
/// that was half as fast, trials cost half a hundredth.
const REST: u32 = 100;
/// The shortest time between two trials.
const MIN_REST: Duration = Duration::from_secs(1);

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Groups {
    One,
    #[default]
    Two,
}

/// What a writer does now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Takes so many jobs at most.
    Take(usize),
    /// Waits for more jobs.
    Wait,
}

/// A wait for senders that were answered.
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// Until so many jobs wait,
    jobs: usize,
    /// or until then.
    until: Instant,
}

/// See the module. For one writer.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    groups: Groups,
    /// The jobs of the batch under way, and when it began.
    under_way: Option<(usize, Instant)>,
    /// The jobs that were not answered when the last batch ended, those of the batch included; or those that wait,
    /// where they are more.
    in_flight: usize,
    wait: Option<Wait>,
    trial: Option<Trial>,
    next_trial: Option<Instant>,
}

impl Grouping {
    /// One that never tries anything else.
    #[cfg(test)]
    pub(super) fn always(groups: Groups) -> Self {
        let never = Instant::now() + Duration::from_secs(1 << 30);
        Self { groups, next_trial: Some(never), ..Self::default() }
    }

    /// What the writer does that has no batch now, and finds so many jobs waiting. Called as soon as a batch has
    /// ended.
    pub(super) fn next(&mut self, waiting: usize, now: Instant) -> Next {
        if let Some((jobs, began)) = self.under_way.take() {
            self.in_flight = waiting + jobs;
            let until = now + ((now - began) / 2).min(MAX_WAIT);
            self.wait = Some(Wait { jobs: self.in_flight, until });
        }
        self.in_flight = self.in_flight.max(waiting);
        let is_over = |wait: Wait| waiting >= wait.jobs || now >= wait.until;
        if self.groups() == Groups::Two || self.wait.is_none_or(is_over) {
            self.wait = None;
        }
        if waiting == 0 || self.wait.is_some() {
            return Next::Wait;
        }
        match self.groups_of_next_batch(now) {
            Groups::One => Next::Take(usize::MAX),
            Groups::Two => Next::Take((self.in_flight / 2).max(MIN_HALF)),
        }
    }

    /// A batch with so many jobs begins.
    pub(super) fn begin(&mut self, jobs: usize, now: Instant) {
        self.under_way = Some((jobs, now));
        if let Some(trial) = &mut self.trial {
            trial.count(jobs);
        }
    }

    /// The writer need not look before so many jobs wait.
    pub(super) fn wanted(&self) -> usize {
        self.wait.map_or(0, |wait| wait.jobs)
    }

    /// When the writer looks again, however few jobs wait.
    pub(super) fn waits_until(&self) -> Option<Instant> {
        self.wait.map(|wait| wait.until)
    }

    fn groups(&self) -> Groups {
        if self.in_flight > MAX_GATHERED {
            return Groups::Two;
        }
        self.trial.as_ref().map_or(self.groups, Trial::groups)
    }

    fn groups_of_next_batch(&mut self, now: Instant) -> Groups {
        if let Some(trial) = &mut self.trial {
            if let Some(end) = trial.next_batch(now) {
                self.groups = end.groups;
                let (groups, rates) = (end.groups, &trial.rates);
                tracing::debug!(?groups, ?rates, "one group of senders was tried");
                self.next_trial = Some(now + (end.slower_took * REST).max(MIN_REST));
                self.trial = None;
            }
        } else if self.in_flight > 1 && self.next_trial.is_none_or(|at| now >= at) {
            self.trial = Some(Trial::default());
        }
        self.groups()
    }
}

/// Periods of two groups and of one by turns.
#[derive(Debug, Default)]
struct Trial {
    /// Jobs a second of the periods so far.
    rates: Vec<f64>,
    /// How long the periods of two groups took, and those of one.
    took: [Duration; 2],
    period: Period,
}

#[derive(Debug, Default)]
struct Period {
    began: Option<Instant>,
    measured_from: Option<Instant>,
    batches: usize,
    jobs: usize,
}

struct TrialEnd {
    groups: Groups,
    slower_took: Duration,
}

impl Trial {
    fn groups(&self) -> Groups {
        if self.rates.len().is_multiple_of(2) { Groups::Two } else { Groups::One }
    }

    fn count(&mut self, jobs: usize) {
        self.period.batches += 1;
        if self.period.measured_from.is_some() {
            self.period.jobs += jobs;
        }
    }

    /// Before each batch: ends the period, and the trial, when it is time.
    fn next_batch(&mut self, now: Instant) -> Option<TrialEnd> {
        let period = &mut self.period;
        let began = *period.began.get_or_insert(now);
        if period.batches == UNMEASURED {
            period.measured_from = Some(now);
        }
        let measured = now - period.measured_from?;
        if period.batches < UNMEASURED + MEASURED || measured < MEASURED_TIME {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
        let rate = period.jobs as f64 / measured.as_secs_f64();
        self.took[self.rates.len() % 2] += now - began;
        self.rates.push(rate);
        self.period = Period { began: Some(now), ..Period::default() };
        self.end()
    }

    /// One group is chosen where it is faster each time, which is by chance in one trial of twenty; two, as soon as
    /// it isn't.
    fn end(&self) -> Option<TrialEnd> {
        let rates = |first| self.rates.iter().skip(first).step_by(2).copied();
        let best_of_two = rates(0).fold(0.0, f64::max);
        if rates(1).any(|rate| rate < CLEARLY * best_of_two) {
            return Some(TrialEnd { groups: Groups::Two, slower_took: self.took[1] });
        }
        let is_over = self.rates.len() == PERIODS;
        is_over.then(|| TrialEnd { groups: Groups::One, slower_took: self.took[0] })
    }
}

#[cfg(test)]
mod tests;
