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
