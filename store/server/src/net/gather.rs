//! Writing what one pass over a connection produced with one system call.
//!
//! h2 writes every DATA frame of 256 bytes or more by itself: ten watch streams with an event each
//! are ten writes, which cost more than everything else about them. Here writes gather in memory,
//! and whoever polls the connection sends them when the pass is over.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that gather before they are sent in the middle of a pass. Larger writes are not copied.
const GATHER_BYTES: usize = 32 << 10;

/// Bytes of memory that an idle connection keeps for the next time.
const KEPT_BYTES: usize = 4 << 10;

/// A byte stream whose writes gather until [`Gather::send`]. Clones are the same stream.
pub(super) struct Gather<S>(Arc<Mutex<Outgoing<S>>>);

struct Outgoing<S> {
    stream: S,
    waiting: Vec<u8>,
    /// How much of `waiting` is sent already.
    sent: usize,
}

impl<S> Clone for Gather<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Outgoing { stream, waiting: Vec::new(), sent: 0 })))
    }

    /// Sends what has gathered; pending while the peer's window or the kernel's buffer is full.
    pub(super) fn send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().send(cx)
    }
}

impl<S> Gather<S> {
    /// What has gathered is whole at every point where a holder could panic.
    fn lock(&self) -> MutexGuard<'_, Outgoing<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Outgoing<S> {
    fn send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while self.sent < self.waiting.len() {
            let rest = &self.waiting[self.sent..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.sent = 0;
        self.waiting.clear();
        self.waiting.shrink_to(KEPT_BYTES);
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if self.waiting.len() + total > GATHER_BYTES {
            ready!(self.send(cx))?;
            if total > GATHER_BYTES {
                return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
            }
        }
        bufs.iter().for_each(|buf| self.waiting.extend_from_slice(buf));
        Poll::Ready(Ok(total))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.lock().write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing yet: h2 flushes behind every frame. [`Gather::send`] follows every pass.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut outgoing = self.lock();
        ready!(outgoing.send(cx))?;
        Pin::new(&mut outgoing.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn writes_wait_for_the_end_of_the_pass_and_keep_their_order() {
        let (near, mut far) = duplex(1 << 20);
        let gather = Gather::new(near);
        let mut writer = gather.clone();
        writer.write_all(b"one ").await.expect("gathers");
        writer.flush().await.expect("does nothing yet");
        let mut nothing = [0; 1];
        let read = tokio::time::timeout(std::time::Duration::ZERO, far.read(&mut nothing)).await;
        assert!(read.is_err(), "nothing is sent before the pass is over");
        writer.write_all(b"two").await.expect("gathers");
        poll_fn(|cx| gather.send(cx)).await.expect("sends");
        let mut got = [0; 7];
        far.read_exact(&mut got).await.expect("arrives");
        assert_eq!(&got, b"one two");
    }

    #[tokio::test]
    async fn large_and_small_writes_arrive_whole_through_a_narrow_pipe() {
        let (near, mut far) = duplex(1000);
        let mut writer = Gather::new(near);
        let sizes = [10, GATHER_BYTES - 5, 3 * GATHER_BYTES, 1, GATHER_BYTES];
        let expected: Vec<u8> =
            sizes.iter().enumerate().flat_map(|(i, &size)| vec![i as u8; size]).collect();
        let sending = async {
            for (i, &size) in sizes.iter().enumerate() {
                writer.write_all(&vec![i as u8; size]).await.expect("writes");
            }
            writer.shutdown().await.expect("sends the rest");
            drop(writer);
        };
        let mut got = Vec::new();
        let (_, read) = tokio::join!(sending, far.read_to_end(&mut got));
        read.expect("reads");
        assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
    }
}
