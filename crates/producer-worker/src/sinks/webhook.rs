//! `webhook`: a signed POST for each update.
//!
//! The receiver's answer decides: 2xx is delivered, 400, 409, 413, 415 and 422 refuse the message, 410
//! pauses the sink, everything else is tried again.

mod address;
mod client;
mod connect;
mod outcome;
mod sign;
mod target;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connect::Connector;
pub use connect::{Resolver, SystemResolver};
use futures_util::future::BoxFuture;
use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderName};
use http_body_util::Full;
use outcome::{Outcome, judge};
use producer_core::{Clock, EntityKey};
use rustls::pki_types::CertificateDer;
use sign::{Signer, seconds};
use target::Target;

use self::client::Client;
use crate::config::{SinkConfig, SinkKind};
use crate::format::Formatter;
use crate::sink::{Failure, NotDelivered, Sink};
use crate::update::Update;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// For what a delivery does beside waiting for answers.
const SLACK: Duration = Duration::from_secs(1);

/// What of the world a webhook uses beside its receiver.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// For the timestamps that are signed.
    pub clock: Clock,
    /// Finds the receiver's addresses.
    pub resolver: Arc<dyn Resolver>,
    /// Certificates to trust beside those of the public authorities.
    pub trusted: Vec<CertificateDer<'static>>,
}

impl Surroundings {
    /// Those of the system.
    pub fn system() -> Self {
        let (clock, resolver) = (Clock::system(), Arc::new(SystemResolver));
        Self { clock, resolver, trusted: Vec::new() }
    }
}

/// Posts updates to a receiver.
#[derive(Debug)]
pub struct Webhook {
    formatter: Formatter,
    target: Target,
    signer: Signer,
    client: Client,
    clock: Clock,
    deadline: Duration,
}

impl Webhook {
    /// A sink that connects when it first has something to send.
    ///
    /// # Errors
    /// One sentence without secrets: the settings can't work, or are those of another kind.
    pub fn open(config: &SinkConfig, surroundings: Surroundings) -> Result<Self, String> {
        let SinkKind::Webhook { url, secrets, headers, timeout, allow_private } = &config.kind
        else {
            return Err(format!("{} is no webhook", config.kind.as_str()));
        };
        let Surroundings { clock, resolver, trusted } = surroundings;
        let signer = Signer::new(secrets).map_err(|problem| format!("a secret {problem}"))?;
        let target = Target::new(url, headers, secrets, config.format.form)?;
        let connector = Connector::new(resolver, *allow_private, &trusted, *timeout)?;
        Ok(Self {
            formatter: Formatter::new(&config.format),
            target,
            signer,
            client: Client::new(connector, config.lanes, *timeout),
            clock,
            deadline: timeout.saturating_mul(u32::try_from(config.batch).unwrap_or(u32::MAX))
                + SLACK,
        })
    }

    /// One request after the other. The first failure ends it: what is behind it would fail alike.
    async fn post_all(&self, updates: &[Update]) -> Result<Vec<Result<(), NotDelivered>>, Failure> {
        let mut results = Vec::with_capacity(updates.len());
        let mut refused: HashSet<&EntityKey> = HashSet::new();
        for update in updates {
            if refused.contains(update.key()) {
                let behind = Failure::new("an earlier change of the entity was refused");
                results.push(Err(behind.into()));
                continue;
            }
            let result = self.post(update).await;
            match &result {
                Ok(()) => {}
                Err(NotDelivered::Refused { .. }) => {
                    refused.insert(update.key());
                }
                Err(NotDelivered::Failed(failure)) if results.is_empty() => {
                    return Err(failure.clone());
                }
                Err(NotDelivered::Failed(_)) => {
                    results.resize(updates.len(), result);
                    return Ok(results);
                }
            }
            results.push(result);
        }
        Ok(results)
    }

    async fn post(&self, update: &Update) -> Result<(), NotDelivered> {
        let body = Bytes::from(self.formatter.structured(update));
        let mut request = self.target.request(Full::new(body.clone()));
        let signed = self.sign(&self.formatter.id(update), &body, request.headers_mut());
        signed.map_err(|error| Failure::new(format!("a header can't be made: {error}")))?;
        let answer = self.client.send(&self.target, request).await.map_err(Failure::new)?;
        match judge(&answer, &self.target, self.clock.now()) {
            Outcome::Delivered => Ok(()),
            Outcome::Refused(detail) => Err(NotDelivered::Refused { detail, message: body.into() }),
            Outcome::Failed(failure) => Err(failure.into()),
        }
    }

    /// Adds the headers of Standard Webhooks.
    fn sign(
        &self,
        id: &str,
        body: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<(), InvalidHeaderValue> {
        let seconds = seconds(self.clock.now());
        headers.insert(ID, id.parse()?);
        headers.insert(TIMESTAMP, seconds.into());
        if let Some(signatures) = self.signer.sign(id, seconds, body) {
            headers.insert(SIGNATURE, signatures.parse()?);
        }
        Ok(())
    }
}

impl Sink for Webhook {
    fn deliver<'a>(
        &'a self,
        updates: &'a [Update],
    ) -> BoxFuture<'a, Result<Vec<Result<(), NotDelivered>>, Failure>> {
        Box::pin(self.post_all(updates))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { self.client.connect(&self.target).await.map_err(Failure::new) })
    }
}
