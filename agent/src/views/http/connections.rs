//! The open connections, each a task of its own.

use std::{collections::HashMap, future::Future, net::IpAddr};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::client_network::client_network;

/// Maximum number of open connections. One more closes the oldest one of the client with the most
/// connections, so that neither idle connections nor one client with many can prevent a scrape.
const MAX_CONNECTIONS: usize = 256;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    tasks: JoinSet<()>,
    /// The open connections, oldest first.
    open: Vec<OpenConnection>,
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct OpenConnection {
    client: IpAddr,
    /// Closes the connection. Its task cancels the token when it ends.
    token: CancellationToken,
}

impl Connections {
    /// No connections; `shutdown` ends all later ones.
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            open: Vec::new(),
            shutdown,
        }
    }

    /// Serves a connection of a client in a task of its own, until it ends or is closed.
    pub(super) fn spawn(
        &mut self,
        client: IpAddr,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        self.open
            .retain(|connection| !connection.token.is_cancelled());
        let token = self.shutdown.child_token();
        self.open.push(OpenConnection {
            client: client_network(client),
            token: token.clone(),
        });
        if self.open.len() > MAX_CONNECTIONS {
            self.close_one();
        }
        self.tasks.spawn(async move {
            // Marks the connection as closed even if its task panics.
            let closed = token.clone().drop_guard();
            token.run_until_cancelled(connection).await;
            drop(closed);
        });
    }

    /// Closes the oldest connection of the client with the most connections.
    fn close_one(&mut self) {
        let mut by_client: HashMap<IpAddr, usize> = HashMap::new();
        for connection in &self.open {
            *by_client.entry(connection.client).or_default() += 1;
        }
        let most = by_client.values().copied().max().unwrap_or(0);
        let oldest = self
            .open
            .iter()
            .position(|connection| by_client.get(&connection.client) == Some(&most));
        if let Some(oldest) = oldest {
            self.open.remove(oldest).token.cancel();
        }
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
    use std::{future, net::Ipv4Addr};

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    #[tokio::test]
    async fn a_panic_is_reported_and_closes_its_connection_only() {
        let shutdown = CancellationToken::new();
        let mut connections = Connections::new(shutdown.clone());
        connections.spawn(CLIENT, async { panic!("a test of panics in tasks") });
        connections.spawn(CLIENT, future::pending());
        let result = connections.ended().await.unwrap();
        assert!(result.unwrap_err().is_panic());
        assert_eq!(connections.tasks.len(), 1);
        let closed = |at: usize| connections.open[at].token.is_cancelled();
        assert!(closed(0) && !closed(1));
        shutdown.cancel();
        connections.drain().await;
        assert!(connections.tasks.is_empty());
    }

    #[tokio::test]
    async fn one_connection_too_many_closes_the_oldest() {
        let mut connections = Connections::new(CancellationToken::new());
        for _ in 0..=MAX_CONNECTIONS {
            connections.spawn(CLIENT, future::pending());
        }
        assert!(connections.ended().await.unwrap().is_ok());
        assert_eq!(connections.tasks.len(), MAX_CONNECTIONS);
    }

    #[tokio::test]
    async fn the_client_with_the_most_connections_loses_one() {
        let mut connections = Connections::new(CancellationToken::new());
        let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
        connections.spawn(other, future::pending());
        for number in 0..2 * MAX_CONNECTIONS {
            // Loopback addresses are one client, whatever their number.
            let local = IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0001 + number as u32));
            connections.spawn(local, future::pending());
        }
        assert_eq!(connections.open.len(), MAX_CONNECTIONS);
        assert_eq!(connections.open[0].client, other);
        assert!(!connections.open[0].token.is_cancelled());
    }
}
