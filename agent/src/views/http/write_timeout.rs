//! Closes connections of clients that do not read.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// Time limit for a write of which the client accepts nothing.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream whose writes fail after [`WRITE_TIMEOUT`] without progress.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    stream: S,
    timer: Pin<Box<Sleep>>,
    /// A write waits for the client.
    blocked: bool,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            timer: Box::pin(sleep(WRITE_TIMEOUT)),
            blocked: false,
        }
    }

    fn check<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked = false;
            return written;
        }
        if !self.blocked {
            self.blocked = true;
            self.timer.as_mut().reset(Instant::now() + WRITE_TIMEOUT);
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.check(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.check(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.check(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_is_cut_off_and_a_slow_one_is_not() {
        let (server, mut client) = duplex(10);
        let mut server = WriteTimeout::new(server);
        let writer = tokio::spawn(async move {
            let written = server.write_all(&[b'x'; 50]).await;
            (written, server.write_all(&[b'y'; 50]).await)
        });
        let mut read = [0; 10];
        for _ in 0..5 {
            sleep(WRITE_TIMEOUT - Duration::from_millis(10)).await;
            client.read_exact(&mut read).await.unwrap();
        }
        let start = Instant::now();
        let (slow, stalled) = writer.await.unwrap();
        assert!(slow.is_ok());
        assert_eq!(stalled.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < WRITE_TIMEOUT + Duration::from_millis(10));
    }
}
