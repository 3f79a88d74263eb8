//! The observing application: `run`, `watch` and `record` start it with different views.

use std::{
    future::Future,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

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
    views::http::{self, AccessRules, HttpThread},
};
use reprise_core::pipeline::Pipeline;

/// Configuration of the HTTP server.
#[derive(Debug)]
pub(super) struct HttpConfig {
    pub(super) address: SocketAddr,
    pub(super) rules: AccessRules,
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
    rules: AccessRules,
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
            Some(http) => Some(Server::bind(http)?),
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
        // After the observer, because capabilities belong to a thread.
        let http = match server {
            Some(server) => Some(server.start(&shared, &shutdown)?),
            None => None,
        };
        Ok(Running {
            start_up: config.start_up,
            shared,
            shutdown,
            observer,
            http,
            signals,
        })
    }
}

impl Server {
    fn bind(config: HttpConfig) -> Result<Self, Failure> {
        let address = config.address;
        let listener = http::bind(address)
            .map_err(|error| Failure::Runtime(format!("--listen {address}: {error}")))?;
        Ok(Self {
            listener,
            rules: config.rules,
        })
    }

    fn start(self, shared: &Shared, shutdown: &CancellationToken) -> Result<HttpThread, Failure> {
        http::start(self.listener, shared.clone(), self.rules, shutdown.clone())
            .map_err(|error| Failure::Runtime(format!("failed to start the http server: {error}")))
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
    http: Option<HttpThread>,
    signals: Signals,
}

impl Running {
    /// Runs the application and a `view` of it, in one task, until a signal arrives, the view ends
    /// or observation fails; then detaches all probes and ends the HTTP server. Returns the output
    /// of the view.
    ///
    /// # Errors
    ///
    /// [`Failure`] if observation or the HTTP server failed.
    pub(super) async fn run<T>(self, view: impl Future<Output = T>) -> Result<T, Failure> {
        let Self {
            shared: _,
            shutdown,
            start_up,
            observer,
            http,
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
        let (observed, output, ()) = tokio::join!(observe, view, signals.run(&shutdown));
        let served = match http {
            Some(http) => http.join().await,
            None => Ok(()),
        };
        observed?;
        served?;
        Ok(output)
    }
}
