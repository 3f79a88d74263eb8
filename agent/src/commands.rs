//! One function per command: config, host check, build, run until a signal, drain.

pub mod check;
pub mod cli;
pub mod inspect;
pub mod observer;
pub mod replay;

use std::{fmt, io, path::Path, process::ExitCode, time::Duration};

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    commands::{
        check::{Facts, Report},
        cli::{Check, Counting, Inspect, Loading, Observing, Record, Replay, Run, Watch},
        inspect as inspection,
        observer::{ObserveError, Observer, Scope},
        replay as replaying,
    },
    host::{
        self,
        pods::{self, Pods},
    },
    observed::{Observed, Shared},
    record::{FileRecorder, Recorder, Recording},
    status::{BpfMode, Status},
    views::{
        http::{self, WebConfig},
        watch as watching,
    },
};
use reprise_core::pipeline::{
    Pipeline,
    correlate::Bounds,
    peers::{Groups, Naming},
    stats::{Limits, Thresholds},
    wire,
};

/// Why a command failed, by exit status.
#[derive(Debug)]
pub enum Failure {
    /// 1: it failed at run time.
    Runtime(String),
    /// 2: the command line or a file that it names is wrong.
    Usage(String),
    /// 77: this host lacks something.
    Host(String),
}

impl Failure {
    /// Exit status of the process.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Runtime(_) => 1,
            Self::Usage(_) => 2,
            Self::Host(_) => 77,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Runtime(message) | Self::Usage(message) | Self::Host(message)) = self;
        f.write_str(message)
    }
}

impl From<ObserveError> for Failure {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Missing(missing) => Self::Host(missing.with_remedy()),
            ObserveError::Thread(_) | ObserveError::Record(_) => {
                Self::Runtime(crate::chain(&error))
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Runtime(error.to_string())
    }
}

/// `reprise run`.
///
/// # Errors
///
/// [`Failure`].
pub fn run(args: &Run) -> Result<(), Failure> {
    let pipeline = pipeline(&args.counting)?;
    let web = web_config(args.web_config.as_deref())?;
    let mode = prepare(args.observing.loading)?;
    runtime()?.block_on(async {
        let listener = bind(args.listen).await?;
        let shared = share(pipeline);
        let shutdown = signals(&shared, args.counting.peer_file.as_deref())?;
        let observer = observe(&shared, None, &args.observing, mode, &shutdown)?;
        tracing::info!(address = %args.listen, "serving metrics");
        let tasks = TaskTracker::new();
        tasks.spawn(http::serve(listener, shared, web, shutdown.clone()));
        drain(observer.run(shutdown.clone()).await, &shutdown, &tasks).await
    })
}

/// `reprise watch`.
///
/// # Errors
///
/// [`Failure`].
pub fn watch(args: &Watch) -> Result<(), Failure> {
    let pipeline = pipeline(&args.counting)?;
    let web = web_config(args.web_config.as_deref())?;
    let mode = prepare(args.observing.loading)?;
    runtime()?.block_on(async {
        let listener = match args.listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let shared = share(pipeline);
        let shutdown = signals(&shared, args.counting.peer_file.as_deref())?;
        let observer = observe(&shared, None, &args.observing, mode, &shutdown)?;
        let tasks = TaskTracker::new();
        if let Some(listener) = listener {
            let serving = http::serve(listener, shared.clone(), web, shutdown.clone());
            tasks.spawn(serving);
        }
        let interval = Duration::from_secs(args.interval);
        let show = async {
            let shown = watching::show(&shared, interval, &shutdown).await;
            // A reader that went away ends the watch.
            shutdown.cancel();
            shown
        };
        let (observed, shown) = tokio::join!(observer.run(shutdown.clone()), show);
        drain(observed, &shutdown, &tasks).await?;
        match shown {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    })
}

/// `reprise record`.
///
/// # Errors
///
/// [`Failure`].
pub fn record(args: &Record) -> Result<(), Failure> {
    let pipeline = pipeline(&args.counting)?;
    let mode = prepare(args.observing.loading)?;
    let recorder = Recorder::create(&args.output)
        .map_err(|error| Failure::Usage(format!("--output: {}", crate::chain(&error))))?;
    runtime()?.block_on(async {
        let shared = share(pipeline);
        let shutdown = signals(&shared, args.counting.peer_file.as_deref())?;
        let observer = observe(&shared, Some(recorder), &args.observing, mode, &shutdown)?;
        let timer = shutdown.clone();
        let seconds = args.seconds;
        let limit = async {
            match seconds {
                Some(seconds) => {
                    let _ =
                        tokio::time::timeout(Duration::from_secs(seconds), timer.cancelled()).await;
                    timer.cancel();
                }
                None => timer.cancelled().await,
            }
        };
        let (observed, ()) = tokio::join!(observer.run(shutdown.clone()), limit);
        observed?;
        print!("{}", watching::table(&shared.lock(), usize::MAX));
        Ok(())
    })
}

/// `reprise replay`.
///
/// # Errors
///
/// [`Failure`].
pub fn replay(args: &Replay) -> Result<(), Failure> {
    let pipeline = pipeline(&args.counting)?;
    let mut recording =
        Recording::open(&args.file).map_err(|error| Failure::Usage(crate::chain(&error)))?;
    let observed = replaying::replay(&mut recording, pipeline).map_err(|error| {
        Failure::Runtime(format!("{}: {}", args.file.display(), crate::chain(&error)))
    })?;
    print!("{}", replaying::render(observed, args.metrics));
    Ok(())
}

/// `reprise inspect`.
///
/// # Errors
///
/// [`Failure`].
pub fn inspect(args: &Inspect) -> Result<(), Failure> {
    let report = inspection::inspect(&args.target).map_err(Failure::Runtime)?;
    if args.json {
        println!("{}", json(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// `reprise check`. Prints the report whatever it says.
///
/// # Errors
///
/// [`Failure::Host`] where something is missing.
pub fn check(args: &Check) -> Result<(), Failure> {
    let facts = Facts::gather(args.loading.wanted());
    let report = Report::of(&facts.map_err(|unfit| Failure::Usage(unfit.to_string()))?);
    if args.json {
        println!("{}", json(&report)?);
    } else {
        print!("{report}");
    }
    if report.ready {
        return Ok(());
    }
    Err(Failure::Host(format!(
        "this host is not ready: {}; the report has the remedies",
        report.missing().join(", ")
    )))
}

fn json(report: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(report).map_err(|error| Failure::Runtime(error.to_string()))
}

/// Checks the host and decides how the programs are loaded.
fn prepare(loading: Loading) -> Result<BpfMode, Failure> {
    host::prepare().map_err(|missing| Failure::Host(missing.with_remedy()))?;
    let settled = loading.wanted().resolve();
    let mode = settled.map_err(|unfit| Failure::Usage(unfit.to_string()))?;
    let (transport, library_data) = (mode.transport(), mode.library_data());
    tracing::info!(transport, library_data, "mode chosen");
    if loading.kernel_log && !mode.log {
        tracing::warn!("no log of the programs without ring buffers");
    }
    Ok(mode)
}

/// One thread: observation is a few short bursts per second, and one address space for all of it keeps it simple.
fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

async fn bind(address: std::net::SocketAddr) -> Result<tokio::net::TcpListener, Failure> {
    http::bind(address)
        .await
        .map_err(|error| Failure::Runtime(format!("--listen {address}: {error}")))
}

fn web_config(path: Option<&Path>) -> Result<Option<WebConfig>, Failure> {
    let loaded = path.map(WebConfig::load).transpose();
    loaded.map_err(|error| Failure::Usage(format!("--web-config: {}", crate::chain(&error))))
}

fn pipeline(counting: &Counting) -> Result<Pipeline, Failure> {
    let groups = match &counting.peer_file {
        Some(path) => Groups::load(path)
            .map_err(|error| Failure::Usage(format!("--peer-file: {}", crate::chain(&error))))?,
        None => Groups::default(),
    };
    let limits = Limits {
        max_peers: counting.max_peers as usize,
        max_workloads: counting.max_workloads as usize,
        window_ns: counting.window * 1_000_000_000,
        thresholds: Thresholds {
            miss_ratio: counting.alert_miss_ratio,
            min_offers: u64::from(counting.alert_min_offers),
        },
    };
    let bounds = Bounds {
        connections: counting.max_connections as usize,
        sessions: counting.max_sessions as usize,
    };
    let naming = Naming {
        groups,
        prefix_v4: counting.peer_prefix_v4,
        prefix_v6: counting.peer_prefix_v6,
    };
    Ok(Pipeline::new(limits, bounds, naming))
}

fn scope(observing: &Observing, mode: BpfMode) -> Scope {
    Scope {
        ignored: observing.ignore.clone(),
        cgroup: observing.cgroup.clone(),
        mode,
        hellos: wire::Limits {
            max_connections: observing.max_hellos as usize,
            max_bytes: observing.max_hello_memory as usize * 1024,
        },
        pods: Pods::default(),
    }
}

/// Starts to observe, and to ask for the names of pods.
fn observe(
    shared: &Shared,
    recorder: Option<FileRecorder>,
    observing: &Observing,
    mode: BpfMode,
    shutdown: &CancellationToken,
) -> Result<Observer, Failure> {
    let scope = scope(observing, mode);
    let observer = Observer::start(shared.clone(), recorder, &scope)?;
    let node = observing.node_name.as_deref();
    pods::start_watch(&scope.pods, observing.pod_names, node, shutdown.clone())?;
    Ok(observer)
}

fn share(pipeline: Pipeline) -> Shared {
    Shared::new(Observed {
        pipeline,
        status: Status::default(),
    })
}

/// Cancels on SIGTERM and SIGINT; reads the peer file again on SIGHUP.
fn signals(shared: &Shared, peer_file: Option<&Path>) -> io::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let (token, shared) = (shutdown.clone(), shared.clone());
    let peer_file = peer_file.map(Path::to_owned);
    // Ends with the runtime: nothing waits for signals after the command has returned.
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    if let Some(path) = &peer_file {
                        reload(path, &shared);
                    }
                }
            }
        }
        tracing::info!("detaching and draining");
        token.cancel();
    });
    Ok(shutdown)
}

fn reload(path: &Path, shared: &Shared) {
    match Groups::load(path) {
        Ok(groups) => {
            shared.lock().pipeline.naming.groups = groups;
            tracing::info!(path = %path.display(), "peer file read again");
        }
        Err(error) => {
            tracing::error!(
                reason = crate::chain(&error),
                "peer file refused, keeping the old one"
            );
        }
    }
}

async fn drain(
    observed: Result<(), ObserveError>,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<(), Failure> {
    shutdown.cancel();
    tasks.close();
    if tokio::time::timeout(Duration::from_secs(1), tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("connections left open at exit");
    }
    observed.map_err(Failure::from)
}
