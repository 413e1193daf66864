//! Deliveries: what may be sent, and what became of it.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use governor::clock::{Clock as _, DefaultClock};
use producer_core::EntityKey;
use producer_core::model::Entity;
use producer_telemetry::spans::record_delivery;
use tokio::time::{Instant, timeout};

use super::state::{Delivery, Session, Sweep};
use crate::config::Mode;
use crate::runner::lanes::{Batch, Pending};
use crate::runner::present::Entities;
use crate::runner::retry::{MaySend, pause};
use crate::sink::{Failure, NotDelivered};
use crate::update::{Cause, Update};

impl Session<'_> {
    /// Sends what may be sent.
    pub(super) fn dispatch(&mut self) {
        let now = Instant::now();
        let is_sweeping = matches!(self.sweep, Sweep::Runs(..));
        // after a freeze the lease may be over before that was noticed
        let may_send = !self.is_ending && !is_sweeping && self.runner.held.is_held();
        if !may_send || self.left_alone_until.is_some_and(|at| at > now) {
            return;
        }
        self.rate_at = None;
        let ready: Vec<usize> = self.lanes.ready(now).collect();
        for lane in ready {
            if matches!(self.breaker.may_send(now), MaySend::Nothing) {
                break;
            }
            let most = self.within_rate(self.lanes.waiting(lane).min(self.runner.config.batch));
            if most == 0 {
                break;
            }
            let batch = self.lanes.take(lane, most);
            self.breaker.sent();
            self.deliveries.push(self.deliver(lane, batch));
        }
    }

    /// How many of these changes the rate lets through now.
    pub(super) fn within_rate(&mut self, wanted: usize) -> usize {
        let Some(limiter) = &self.limiter else { return wanted };
        for passed in 0..wanted {
            if let Err(not_until) = limiter.check() {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                self.rate_at = Some(Instant::now() + wait);
                return passed;
            }
        }
        wanted
    }

    pub(super) fn deliver(&self, lane: usize, batch: Batch) -> BoxFuture<'static, Delivery> {
        let (sink, config) = (Arc::clone(&self.runner.sink), Arc::clone(&self.runner.config));
        let is_stale = |pending: &Pending| pending.tries > 0;
        let refreshes = self.runner.config.mode == Mode::Latest && batch.iter().any(is_stale);
        let entities = refreshes.then(|| self.access.entities.clone());
        self.runner.metrics.batch.observe(batch.len() as f64);
        async move {
            let began = Instant::now();
            let mut updates: Vec<Update> = batch.iter().map(|each| each.update.clone()).collect();
            if let Some(entities) = entities {
                refresh(&entities, &mut updates).await;
            }
            let result = timeout(sink.deadline(), sink.deliver(&updates)).await;
            let result =
                result.unwrap_or_else(|_| Err(Failure::new("the target does not answer in time")));
            let error = result.as_ref().err().map(|failure| failure.detail.as_str());
            record_delivery(&config.name, config.kind.as_str(), batch.len(), began, error);
            Delivery { lane, batch, result, took: began.elapsed() }
        }
        .boxed()
    }

    /// Takes in what became of a delivery.
    pub(super) async fn delivered(&mut self, delivery: Delivery) {
        let Delivery { lane, batch, result, took } = delivery;
        let metrics = &self.runner.metrics;
        metrics.seconds.observe(took.as_secs_f64());
        let outcomes = outcomes(result, batch.len());
        let (mut undelivered, mut refused, mut failure) = (Vec::new(), Vec::new(), None);
        let mut answered = false;
        for (pending, outcome) in batch.iter().zip(outcomes) {
            answered |= !matches!(outcome, Err(NotDelivered::Failed(_)));
            match outcome {
                Ok(()) => {
                    metrics.delivered.inc();
                    pending.numbers.iter().for_each(|number| self.window.settle(*number));
                    self.letters.delivered(pending);
                }
                Err(NotDelivered::Refused { detail, message }) => {
                    refused.push((pending.clone(), detail, message));
                }
                Err(NotDelivered::Failed(failed)) => {
                    metrics.retried.inc();
                    undelivered.push(self.again(pending));
                    failure.get_or_insert(failed);
                }
            }
        }
        let retry = &self.runner.config.retry;
        let pause = |failures| Instant::now() + pause(retry, failures);
        self.lanes.finish(lane, failure.is_some(), pause);
        self.lanes.put_back(lane, undelivered);
        for (pending, detail, message) in refused {
            self.refuse(&pending, detail, message);
        }
        if answered {
            self.breaker.succeeded();
        }
        if let Some(failure) = failure {
            self.failed(failure, answered).await;
        }
    }

    pub(super) fn again(&self, pending: &Pending) -> Pending {
        let first_at = pending.first_at.unwrap_or_else(|| self.runner.parts.clock.now());
        Pending { tries: pending.tries + 1, first_at: Some(first_at), ..pending.clone() }
    }

    /// A delivery failed in a way that may pass.
    pub(super) async fn failed(&mut self, failure: Failure, answered: bool) {
        let now = Instant::now();
        if !answered && self.breaker.failed(&self.runner.config.retry, now) {
            self.runner.warn("the circuit breaker opens", &failure.detail);
        }
        self.note(&failure.detail);
        if let Some(wait) = failure.retry_after {
            self.left_alone_until = Some(now + wait);
        }
        if failure.pauses {
            self.pause_itself(failure.detail.clone()).await;
        }
        self.give_up_old(&failure.detail);
        self.give_up_skipped();
    }
}

/// What became of each update.
fn outcomes(
    result: Result<Vec<Result<(), NotDelivered>>, Failure>,
    updates: usize,
) -> Vec<Result<(), NotDelivered>> {
    match result {
        Ok(outcomes) if outcomes.len() == updates => outcomes,
        Ok(_) => vec![
            Err(Failure::new("the kind of sink has a defect: it lost updates").into());
            updates
        ],
        Err(failure) => vec![Err(failure.into()); updates],
    }
}

/// Reads the states anew where they are sent again; where that fails, they stay as they were.
async fn refresh(entities: &Entities, updates: &mut [Update]) {
    let keys: Vec<EntityKey> = updates.iter().map(|update| update.key().clone()).collect();
    let Ok(mut states) = entities.states(keys.iter()).await else { return };
    for update in updates {
        let newer: Option<Arc<Entity>> = states.remove(update.key());
        match (&mut update.cause, newer) {
            // what matches again comes by itself
            (Cause::Left(_), _) => {}
            (Cause::Change(_), state) => update.state = state,
            (Cause::Snapshot(entity), Some(state)) => {
                *entity = Arc::clone(&state);
                update.state = Some(state);
            }
            // its delete comes by itself
            (Cause::Snapshot(_), None) => {}
        }
    }
}
