//! Bodies of responses.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::rendering::Rendering;

/// Bytes of a shared body that a response copies at a time. A stalled response retains about two
/// such parts after its rendering was discarded.
const PART: usize = 16 << 10;
/// Parts after which a response lets others proceed.
const PARTS_PER_TURN: u32 = 4;
/// Time limit for sending a body.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Body of a response.
#[derive(Debug)]
pub(super) enum Body {
    /// A small body.
    Small(Bytes),
    /// A rendering that other responses send, too.
    Shared(SharedBody),
}

/// The beginning of a rendering, followed by a short end.
#[derive(Debug)]
pub(super) struct SharedBody {
    rendering: Arc<Rendering>,
    /// Bytes of the rendering that have been sent.
    sent: usize,
    /// Bytes of the rendering to send.
    len: usize,
    end: &'static str,
    created: Instant,
    /// Parts sent in this turn.
    turn: u32,
}

impl Body {
    /// The first `len` bytes of a rendering, followed by `end`.
    pub(super) fn shared(rendering: Arc<Rendering>, len: usize, end: &'static str) -> Self {
        Self::Shared(SharedBody {
            len: len.min(rendering.len),
            rendering,
            sent: 0,
            end,
            created: Instant::now(),
            turn: 0,
        })
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Small(bytes)
    }
}

impl SharedBody {
    fn next_part(&mut self) -> Option<io::Result<Bytes>> {
        let remaining = self.len - self.sent;
        if remaining == 0 {
            let end = std::mem::take(&mut self.end);
            return (!end.is_empty()).then(|| Ok(Bytes::from_static(end.as_bytes())));
        }
        if self.created.elapsed() > SEND_TIMEOUT {
            return Some(Err(io::ErrorKind::TimedOut.into()));
        }
        let Some(part) = self.rendering.part(self.sent, PART.min(remaining)) else {
            return Some(Err(io::Error::other("rendering discarded")));
        };
        self.sent += part.len();
        self.turn += 1;
        Some(Ok(part))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let chunk = match &mut *self {
            Self::Small(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then(|| Ok(bytes))
            }
            Self::Shared(shared) if shared.turn == PARTS_PER_TURN => {
                shared.turn = 0;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Self::Shared(shared) => shared.next_part(),
        };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = match self {
            Self::Small(bytes) => bytes.len(),
            Self::Shared(shared) => shared.len - shared.sent + shared.end.len(),
        };
        SizeHint::with_exact(bytes as u64)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use hyper::StatusCode;

    use super::*;
    use crate::views::chunks::{CHUNK, Chunks};

    #[tokio::test]
    async fn a_body_is_the_beginning_of_a_rendering_with_an_end() {
        let text: Vec<u8> = (0..2 * CHUNK + 5).map(|at| (at % 251) as u8).collect();
        let mut chunks = Chunks::default();
        chunks.push(&text);
        let rendering = Arc::new(Rendering::new(StatusCode::OK, "text/plain", chunks));
        for len in [0, 1, CHUNK, CHUNK + 1, text.len(), usize::MAX] {
            let body = Body::shared(Arc::clone(&rendering), len, "]");
            let want = [&text[..len.min(text.len())], b"]"].concat();
            assert_eq!(body.size_hint().exact(), Some(want.len() as u64));
            let sent = body.collect().await.unwrap().to_bytes();
            assert!(sent == want, "{len} bytes");
        }
    }
}
