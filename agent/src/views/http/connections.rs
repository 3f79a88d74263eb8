//! The open connections, each a task of its own.

use std::{collections::VecDeque, future::Future};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Maximum number of open connections. One more closes the oldest, so that idle connections cannot
/// keep a scrape out.
const MAX_CONNECTIONS: usize = 64;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    /// Tokens of the open connections, oldest first. A task cancels its own token when it ends.
    open: VecDeque<CancellationToken>,
    shutdown: CancellationToken,
}

impl Connections {
    /// No connections; `shutdown` ends all later ones.
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            open: VecDeque::new(),
            shutdown,
        }
    }

    /// Serves a connection in a task of its own, until it ends or is closed.
    pub(super) fn spawn(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.open.retain(|token| !token.is_cancelled());
        if self.open.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.cancel();
        }
        let token = self.shutdown.child_token();
        self.open.push_back(token.clone());
        self.tasks.spawn(async move {
            // Marks the connection as closed even if its task panics.
            let closed = token.clone().drop_guard();
            token.run_until_cancelled(connection).await;
            drop(closed);
        });
    }

    /// Waits until a task ends, and reports a panic of the task; `None` if there is no task. A
    /// panic closes its connection only: requests read the state and do not change it.
    pub(super) async fn ended(&mut self) -> Option<Result<(), JoinError>> {
        let result = self.tasks.join_next().await?;
        if let Err(error) = &result {
            tracing::error!(reason = %error, "http connection task panicked");
        }
        Some(result)
    }

    /// Waits until all tasks have ended.
    pub(super) async fn drain(&mut self) {
        while self.ended().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_and_closes_its_connection_only() {
        let shutdown = CancellationToken::new();
        let mut connections = Connections::new(shutdown.clone());
        connections.spawn(async { panic!("a test of panics in tasks") });
        connections.spawn(future::pending());
        let result = connections.ended().await.unwrap();
        assert!(result.unwrap_err().is_panic());
        assert_eq!(connections.tasks.len(), 1);
        assert!(connections.open[0].is_cancelled() && !connections.open[1].is_cancelled());
        shutdown.cancel();
        connections.drain().await;
        assert!(connections.tasks.is_empty());
    }

    #[tokio::test]
    async fn one_connection_too_many_closes_the_oldest() {
        let mut connections = Connections::new(CancellationToken::new());
        for _ in 0..=MAX_CONNECTIONS {
            connections.spawn(future::pending());
        }
        assert!(connections.ended().await.unwrap().is_ok());
        assert_eq!(connections.tasks.len(), MAX_CONNECTIONS);
    }
}
