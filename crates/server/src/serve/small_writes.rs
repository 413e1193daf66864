//! Joins the parts of small writes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// The largest write that is joined, in bytes: the head and the body of a usual answer.
const JOINED_BYTES: usize = 1024;

/// The writing half of a connection. The kernel needs longer for a list of parts than it takes to copy a few
/// hundred bytes (docs/performance.md).
pub(super) struct SmallWrites<W>(pub(super) W);

impl<W: AsyncWrite + Unpin> AsyncWrite for SmallWrites<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut joined = [0; JOINED_BYTES];
        let mut length = 0;
        for part in parts {
            let Some(room) = joined.get_mut(length..length + part.len()) else {
                return Pin::new(&mut self.0).poll_write_vectored(cx, parts);
            };
            room.copy_from_slice(part);
            length += part.len();
        }
        Pin::new(&mut self.0).poll_write(cx, &joined[..length])
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    /// Takes up to `room` bytes of a write, and notes how many parts it had.
    struct Peer {
        room: usize,
        taken: Vec<u8>,
        parts: usize,
    }

    impl AsyncWrite for Peer {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes = parts.iter().flat_map(|part| part.iter().copied());
            let bytes: Vec<u8> = bytes.take(self.room).collect();
            self.parts = parts.len();
            self.taken.extend(&bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn small_parts_are_one_write_and_large_ones_stay_parts() {
        for (sizes, room, parts) in [
            (vec![200, 250], usize::MAX, 1),
            (vec![200, 0, JOINED_BYTES - 200], usize::MAX, 1),
            (vec![200, JOINED_BYTES - 199], usize::MAX, 2),
            (vec![JOINED_BYTES + 1], usize::MAX, 1),
            // the peer takes a part of it
            (vec![200, 250], 300, 1),
            (vec![200, 2000], 300, 2),
        ] {
            let all: Vec<u8> = (0..sizes.iter().sum()).map(|place: usize| place as u8).collect();
            let mut rest = all.as_slice();
            let slices = sizes.iter().map(|&size| IoSlice::new(rest.split_off(..size).unwrap()));
            let slices: Vec<_> = slices.collect();
            let mut writes = SmallWrites(Peer { room, taken: Vec::new(), parts: 0 });
            assert!(writes.is_write_vectored());
            let written = poll_fn(|cx| Pin::new(&mut writes).poll_write_vectored(cx, &slices));
            assert_eq!(written.await.unwrap(), room.min(all.len()), "{sizes:?}");
            let Peer { taken, parts: found, .. } = writes.0;
            assert_eq!(taken, all[..room.min(all.len())], "{sizes:?}");
            assert_eq!(found, parts, "{sizes:?}");
        }
    }
}
