//! The observing application: `run`, `watch` and `record` start it with different views.

use std::{future::Future, net::SocketAddr, path::PathBuf};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    failure::Failure,
    observer::{Observer, Scope},
    signals::Signals,
    start_up::StartUp,
};
use crate::{
    host::pods::{self, PodNames},
    observed::{Observed, Shared},
    record::FileRecorder,
    status::Status,
    views::http::{self, WebConfig},
};
use reprise_core::pipeline::Pipeline;

/// Configuration of the HTTP server.
#[derive(Debug)]
pub(super) struct HttpConfig {
    pub(super) address: SocketAddr,
    /// Access rules, if there is a file with them.
    pub(super) access: Option<WebConfig>,
}

/// Configuration of the application.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) start_up: StartUp,
    pub(super) pipeline: Pipeline,
    pub(super) scope: Scope,
    pub(super) pod_names: PodNames,
    pub(super) node_name: Option<String>,
    /// Read again on SIGHUP.
    pub(super) peer_file: Option<PathBuf>,
    pub(super) http: Option<HttpConfig>,
    pub(super) recorder: Option<FileRecorder>,
}

/// The HTTP server, bound and not yet serving.
#[derive(Debug)]
struct Server {
    listener: TcpListener,
    access: Option<WebConfig>,
}

/// The application.
#[derive(Debug)]
pub(super) struct App;

impl App {
    /// Binds the HTTP server, handles signals, and starts the observer.
    ///
    /// # Errors
    ///
    /// [`Failure`] if the address cannot be bound or nothing can be observed.
    pub(super) async fn start(config: Config) -> Result<Running, Failure> {
        let server = match config.http {
            Some(http) => Some(Server::bind(http).await?),
            None => None,
        };
        let shared = Shared::new(Observed {
            pipeline: config.pipeline,
            status: Status::default(),
        });
        let shutdown = CancellationToken::new();
        let signals = Signals::install(shared.clone(), config.peer_file)?;
        let observer = Observer::start(shared.clone(), config.recorder, &config.scope)?;
        let node = config.node_name.as_deref();
        pods::start_watch(&config.scope.pods, config.pod_names, node, shutdown.clone())?;
        Ok(Running {
            start_up: config.start_up,
            shared,
            shutdown,
            observer,
            server,
            signals,
        })
    }
}

impl Server {
    async fn bind(config: HttpConfig) -> Result<Self, Failure> {
        let address = config.address;
        let listener = http::bind(address)
            .await
            .map_err(|error| Failure::Runtime(format!("--listen {address}: {error}")))?;
        Ok(Self {
            listener,
            access: config.access,
        })
    }
}

/// The started application.
pub(super) struct Running {
    /// The observed state.
    pub(super) shared: Shared,
    /// Ends the application.
    pub(super) shutdown: CancellationToken,
    start_up: StartUp,
    observer: Observer,
    server: Option<Server>,
    signals: Signals,
}

impl Running {
    /// Runs the application and a `view` of it, in one task, until a signal arrives, the view ends
    /// or observation fails; then detaches all probes and drains connections. Returns the output of
    /// the view.
    ///
    /// # Errors
    ///
    /// [`Failure`] if observation failed.
    pub(super) async fn run<T>(self, view: impl Future<Output = T>) -> Result<T, Failure> {
        let Self {
            shared,
            shutdown,
            start_up,
            observer,
            server,
            signals,
        } = self;
        start_up.finish()?;
        let observe = async {
            let result = observer.run(shutdown.clone()).await;
            shutdown.cancel();
            result
        };
        let view = async {
            let output = view.await;
            shutdown.cancel();
            output
        };
        let serve = async {
            if let Some(Server { listener, access }) = server {
                http::serve(listener, shared, access, shutdown.clone()).await;
            }
        };
        let (observed, output, (), ()) = tokio::join!(observe, view, serve, signals.run(&shutdown));
        observed?;
        Ok(output)
    }
}
