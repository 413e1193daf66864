//! The backlog to a receiver of webhooks that answers at once.

use tokio::time::sleep;

use super::process::Worker;
use super::progress::until_carried;
use super::receiver::Receiver;
use super::setup::Setup;
use super::sinks::of_log;
use crate::Result;
use crate::measure::Times;
use crate::results::Measurement;

/// A sink of signed webhooks, with default lanes.
pub(super) fn into_receiver(name: &str, receiver: &Receiver) -> String {
    let options = format!(
        "url = \"{}\"\nallow_private = true\nsecrets = [\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"]",
        receiver.url()
    );
    of_log(name, "webhook", &options)
}

/// So many requests come in the measured time.
pub(super) async fn measure(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.backlog().await?.database;
    let receiver = Receiver::start(true).await?;
    let file = into_receiver(&format!("webhooks-{}", crate::next_seed()), &receiver);
    let mut worker = Worker::start(&database, &file)?;
    until_carried(&mut worker, 1, async || Ok(receiver.received())).await?;
    let Times { warm_up, measured } = setup.bench.times;
    sleep(warm_up).await;
    let process = worker.process()?;
    let (before, received) = (setup.bench.usage(Some(process))?, receiver.received());
    sleep(measured).await;
    let received = receiver.received() - received;
    let measurement = setup.bench.since(&before, received, Some(process))?;
    let peak_memory_bytes = Some(worker.peak_memory()?);
    worker.check()?;
    worker.stop().await?;
    if received == 0 {
        return Err("no webhook came in the measured time: the backlog is too small".into());
    }
    Ok(Measurement { peak_memory_bytes, ..measurement })
}
