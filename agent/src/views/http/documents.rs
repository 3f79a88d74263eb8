//! Renders documents on request: one rendering at a time, shared by all the requests that arrived
//! before it began, and after it a pause. The cost is therefore independent of the number of
//! requests, and a response is never older than its request.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::{
    sync::{Notify, Semaphore, oneshot},
    task::{JoinSet, spawn_blocking},
    time::{sleep, sleep_until},
};

use super::{
    document::{self, Document, Site},
    rendering::{InFlight, Rendering},
};
use crate::observed::Shared;

/// The interval between two renderings of a document is at least this multiple of the duration of
/// the first one, so that rendering takes at most a twentieth of a core.
const REST: u32 = 20;
/// After the rendering of a large document, no other one begins for this multiple of its duration,
/// so that all of them together take at most a third of a core.
const LARGE_REST: u32 = 2;
/// Maximum interval between two renderings of a large document.
const MAX_REST: Duration = Duration::from_secs(1);
/// Maximum interval between two renderings of a document of bounded size.
const MAX_SMALL_REST: Duration = Duration::from_millis(50);
/// Interval between two uses of [`Documents::query`].
const QUERY_INTERVAL: Duration = Duration::from_millis(1);

/// The documents and the requests that wait for them.
#[derive(Debug)]
pub(super) struct Documents {
    site: Arc<Site>,
    queues: [Queue; Document::ALL.len()],
    /// Limits the renderings of large documents to one at a time.
    large: Semaphore,
    in_flight: InFlight,
    /// Limits queries to one at a time.
    query: Semaphore,
}

/// Requests that wait for the next rendering of a document.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Vec<oneshot::Sender<Arc<Rendering>>>>,
    wanted: Notify,
}

impl Queue {
    fn push(&self, request: oneshot::Sender<Arc<Rendering>>) {
        let mut waiting = self.lock();
        // Requests of closed connections do not accumulate.
        waiting.retain(|request| !request.is_closed());
        waiting.push(request);
        self.wanted.notify_one();
    }

    fn take(&self) -> Vec<oneshot::Sender<Arc<Rendering>>> {
        let mut waiting = mem::take(&mut *self.lock());
        waiting.retain(|request| !request.is_closed());
        waiting
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<oneshot::Sender<Arc<Rendering>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Documents {
    /// The documents of `shared`, and the tasks that render them.
    pub(super) fn start(shared: Shared) -> (Arc<Self>, JoinSet<()>) {
        let documents = Arc::new(Self {
            site: Arc::new(Site::new(shared)),
            queues: Default::default(),
            large: Semaphore::new(1),
            in_flight: InFlight::default(),
            query: Semaphore::new(1),
        });
        let mut tasks = JoinSet::new();
        for (number, document) in Document::ALL.into_iter().enumerate() {
            let documents = Arc::clone(&documents);
            tasks.spawn(async move {
                if let Some(queue) = documents.queues.get(number) {
                    documents.serve(queue, document).await;
                }
            });
        }
        (documents, tasks)
    }

    /// A rendering of the state after this call; `None` at the shutdown.
    pub(super) async fn get(&self, document: Document) -> Option<Arc<Rendering>> {
        let number = Document::ALL.iter().position(|other| *other == document)?;
        let (sender, rendering) = oneshot::channel();
        self.queues.get(number)?.push(sender);
        rendering.await.ok()
    }

    /// Calls `read` with the state, on another thread; `None` at the shutdown.
    pub(super) async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Option<T> {
        let _permit = self.query.acquire().await.ok()?;
        let site = Arc::clone(&self.site);
        let answer = spawn_blocking(move || read(&site.shared)).await.ok();
        sleep(QUERY_INTERVAL).await;
        answer
    }

    async fn serve(&self, queue: &Queue, document: Document) {
        let mut size = 0;
        let mut next = Instant::now();
        loop {
            queue.wanted.notified().await;
            sleep_until(next.into()).await;
            let permit = if document.is_large() {
                self.large.acquire().await.ok()
            } else {
                None
            };
            let _ = queue.wanted.notified().now_or_never();
            let requests = queue.take();
            if requests.is_empty() {
                continue;
            }
            self.in_flight.make_space(size);
            let begin = Instant::now();
            let site = Arc::clone(&self.site);
            let rendered = spawn_blocking(move || site.render(document)).await;
            let duration = begin.elapsed();
            next = begin + rest(document, duration);
            let rendering = Arc::new(rendered.unwrap_or_else(|error| {
                tracing::error!(reason = %error, ?document, "rendering failed");
                document::internal_error("rendering failed")
            }));
            size = rendering.len;
            self.in_flight.add(&rendering);
            for request in requests {
                // The client of a closed request has gone.
                let _ = request.send(Arc::clone(&rendering));
            }
            drop(rendering);
            if let Some(permit) = permit {
                sleep((duration * LARGE_REST).min(MAX_REST)).await;
                drop(permit);
            }
        }
    }
}

/// Interval between the beginnings of two renderings of which the first one took `duration`.
fn rest(document: Document, duration: Duration) -> Duration {
    let max = if document.is_large() {
        MAX_REST
    } else {
        MAX_SMALL_REST
    };
    (duration * REST).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::{explanation::tests::observed, metrics::Format};

    const PAGE: Document = Document::Metrics(Format::Prometheus);

    #[tokio::test]
    async fn requests_share_renderings() {
        let (documents, _renderers) = Documents::start(Shared::new(observed()));
        let mut requests = JoinSet::new();
        for _ in 0..50 {
            let documents = Arc::clone(&documents);
            requests.spawn(async move { documents.get(PAGE).await.unwrap() });
        }
        let renderings = requests.join_all().await;
        let first = &renderings[0];
        let shared = renderings.iter().filter(|other| Arc::ptr_eq(first, other));
        assert_eq!(shared.count(), 50);
        let later = documents.get(PAGE).await.unwrap();
        assert!(!Arc::ptr_eq(first, &later), "older than the request");
    }

    #[tokio::test]
    async fn a_response_shows_the_state_after_its_request() {
        let shared = Shared::new(observed());
        let (documents, _renderers) = Documents::start(shared.clone());
        for open in [7, 8] {
            shared.lock().status.open_handshakes = open;
            let rendering = documents.get(Document::Status).await.unwrap();
            let text = rendering.part(0, usize::MAX).unwrap();
            let status: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(status["open_handshakes"], open);
        }
    }

    #[tokio::test]
    async fn requests_of_closed_connections_are_forgotten() {
        let (documents, _renderers) = Documents::start(Shared::new(observed()));
        for _ in 0..100 {
            assert!(documents.get(PAGE).now_or_never().is_none());
        }
        let lengths = documents.queues.iter().map(|queue| queue.lock().len());
        assert_eq!(lengths.sum::<usize>(), 1);
        assert!(documents.get(PAGE).await.is_some());
    }

    #[test]
    fn the_pause_after_a_rendering_depends_on_its_duration() {
        let ms = Duration::from_millis;
        assert_eq!(rest(PAGE, ms(2)), ms(40));
        assert_eq!(rest(PAGE, ms(300)), MAX_REST);
        assert_eq!(rest(Document::Ready, ms(300)), MAX_SMALL_REST);
    }
}
