//! The thread of the HTTP server, apart from that of the observing loop.

use std::{
    io, net,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, runtime, time::sleep};
use tokio_util::sync::CancellationToken;

use super::server::{self, AccessRules};
use crate::observed::Shared;

/// Threads that render documents and verify passwords.
const RENDER_THREADS: usize = 6;
/// Time limit for the end of the thread.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Interval at which the end of the thread is polled.
const JOIN_INTERVAL: Duration = Duration::from_millis(5);

/// The running server.
#[derive(Debug)]
pub struct HttpThread(JoinHandle<()>);

/// Starts the server. It ends after `shutdown`; if it ends before, it requests the shutdown.
///
/// # Errors
///
/// Error of the system: no runtime or no thread could be created.
pub fn start(
    listener: net::TcpListener,
    shared: Shared,
    rules: AccessRules,
    shutdown: CancellationToken,
) -> io::Result<HttpThread> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RENDER_THREADS)
        .thread_name("render")
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener)?
    };
    let thread = thread::Builder::new().name("http".to_owned());
    let thread = thread.spawn(move || {
        let _ended = shutdown.clone().drop_guard();
        runtime.block_on(server::serve(listener, shared, rules, shutdown));
        // A rendering that has begun is not waited for.
        runtime.shutdown_background();
    })?;
    Ok(HttpThread(thread))
}

impl HttpThread {
    /// Waits for the end of the server, which the shutdown has requested, for a limited time.
    ///
    /// # Errors
    ///
    /// The server panicked.
    pub async fn join(self) -> io::Result<()> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        while !self.0.is_finished() && Instant::now() < deadline {
            sleep(JOIN_INTERVAL).await;
        }
        if !self.0.is_finished() {
            tracing::warn!("http server still busy at exit");
            return Ok(());
        }
        let ended = self.0.join();
        ended.map_err(|_| io::Error::other("the http server panicked"))
    }
}
