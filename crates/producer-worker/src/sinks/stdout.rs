//! `stdout`: each message as a line, to try things.

use std::io::{self, Write};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::config::Format;
use crate::format::Formatter;
use crate::sink::{Failure, NotDelivered, Sink};
use crate::update::Update;

/// Writes lines to the process's standard output.
pub(super) struct Stdout {
    formatter: Formatter,
    /// Held while lines are written, also after a delivery was given up: so a reader that has stopped holds
    /// one thread, and lines stay whole.
    out: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl Stdout {
    pub(super) fn open(format: &Format) -> Self {
        Self::new(format, Box::new(io::stdout()))
    }

    fn new(format: &Format, out: Box<dyn Write + Send>) -> Self {
        Self { formatter: Formatter::new(format), out: Arc::new(Mutex::new(out)) }
    }

    async fn write(&self, lines: String) -> Result<(), Failure> {
        let mut out = Arc::clone(&self.out).lock_owned().await;
        let written = spawn_blocking(move || {
            out.write_all(lines.as_bytes())?;
            out.flush()
        });
        let written = written.await.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        written.map_err(|error| Failure::new(format!("standard output can't be written: {error}")))
    }
}

impl Sink for Stdout {
    fn deliver<'a>(
        &'a self,
        updates: &'a [Update],
    ) -> BoxFuture<'a, Result<Vec<Result<(), NotDelivered>>, Failure>> {
        Box::pin(async move {
            let mut lines = String::new();
            for update in updates {
                lines.push_str(&self.formatter.structured(update));
                lines.push('\n');
            }
            tokio::time::timeout(self.deadline(), self.write(lines))
                .await
                .map_err(|_elapsed| Failure::new("nobody reads standard output"))??;
            Ok(updates.iter().map(|_| Ok(())).collect())
        })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::update::samples::{change, format};

    /// Gives out what is written.
    struct Pipe(mpsc::Sender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_update_is_a_line() {
        let (sender, written) = mpsc::channel();
        let sink = Stdout::new(&format(), Box::new(Pipe(sender)));
        let updates = [change(1), change(2)];
        assert_eq!(sink.deliver(&updates).await, Ok(vec![Ok(()), Ok(())]));
        let text = String::from_utf8(written.recv().expect("bytes")).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| line.starts_with('{') && line.ends_with('}')), "{text}");
        assert_eq!(sink.check().await, Ok(()));
        drop(written);
        let failure = sink.deliver(&updates).await.expect_err("nobody reads");
        assert!(failure.detail.starts_with("standard output can't be written"), "{failure}");
    }
}
