//! Connections on which nobody speaks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Time for a new connection to show what it speaks; as long as a TLS handshake may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that show it: the length of HTTP/2's preface (RFC 9113, 3.4). HTTP/1 requests are bounded
/// by their own timeout from then on.
const ENOUGH: usize = 24;

/// A connection that fails with `TimedOut` when its first bytes do not come in time. Without this,
/// peers that say nothing hold a file each for ever.
pub(super) struct FirstBytes<S> {
    stream: S,
    seen: usize,
    /// Gone once enough was seen.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> FirstBytes<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, seen: 0, deadline: Some(Box::pin(tokio::time::sleep(TIMEOUT))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Some(deadline) = &mut self.deadline else { return read };
        match read {
            Poll::Pending => {
                deadline.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Ready(outcome) => {
                self.seen += buf.filled().len() - before;
                if self.seen >= ENOUGH {
                    self.deadline = None;
                }
                Poll::Ready(outcome)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn who_says_too_little_is_given_up() {
        let (mut peer, ours) = tokio::io::duplex(64);
        let mut ours = FirstBytes::new(ours);
        ours.deadline = Some(Box::pin(tokio::time::sleep(Duration::from_millis(20))));
        peer.write_all(b"P").await.expect("it is read");
        let error = ours.read_exact(&mut [0; ENOUGH]).await.expect_err("the rest does not come");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_has_spoken_may_be_silent() {
        let (mut peer, ours) = tokio::io::duplex(64);
        let mut ours = FirstBytes::new(ours);
        peer.write_all(&[b'x'; ENOUGH]).await.expect("it is read");
        ours.read_exact(&mut [0; ENOUGH]).await.expect("it was sent");
        assert!(ours.deadline.is_none());
    }
}
