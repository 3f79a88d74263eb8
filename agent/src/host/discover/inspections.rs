//! Inspections of processes and files, each of which a hung file system can block for ever.
//!
//! An inspection runs on a thread of its own. If it exceeds its time limit, that thread is
//! abandoned: discovery continues with another thread, and skips what hangs until the inspection
//! returns. Files are also closed on such a thread, because closing can block, too.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use super::process_maps::{DeviceNumber, MappingId};

/// Time limit of an inspection. Each abandoned inspection halves the limit of the next ones, so
/// that many hung processes delay discovery for seconds and not for minutes.
const LIMIT: Duration = Duration::from_secs(4);
const MIN_LIMIT: Duration = Duration::from_millis(125);
/// CPU time within the limit from which a thread counts as computing, not as hung.
const COMPUTES: Duration = Duration::from_millis(20);
/// Maximum number of abandoned threads. At the maximum nothing is inspected.
const MAX_ABANDONED: usize = 128;
/// A file or process whose inspection returned late is skipped for this many times its duration.
const BACKOFF_FACTOR: u32 = 10;

/// Subject of an inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The mappings of a process.
    Process(u32),
    /// A mapped file.
    File(MappingId),
    /// The standard directories.
    StandardDirs,
}

impl Subject {
    const fn device(self) -> Option<DeviceNumber> {
        match self {
            Self::File(id) => Some(id.device),
            Self::Process(_) | Self::StandardDirs => None,
        }
    }
}

/// An inspection has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// It was abandoned now.
    #[error("does not answer within {}", humantime(*.0))]
    Abandoned(Duration),
    /// An earlier inspection of the same process or file system has not returned.
    #[error("is skipped, because the process or its file system does not answer")]
    Blocked,
    /// No thread could be started.
    #[error("failed to start a thread to inspect it: {0}")]
    NoThread(String),
    /// The inspection ended without a result, which is a defect of the agent.
    #[error("the thread that inspected it has ended")]
    Ended,
}

fn humantime(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that runs inspections.
struct Worker {
    jobs: Sender<Job>,
    /// The kernel's account of its CPU time (Documentation/scheduler/sched-stats.rst).
    schedstat: File,
}

impl Worker {
    /// Starts a thread that runs jobs until it is dropped.
    fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let (report, reported) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("inspect".to_owned())
            .spawn(move || {
                if report
                    .send(File::open("/proc/thread-self/schedstat"))
                    .is_ok()
                {
                    jobs.into_iter().for_each(|job| job());
                }
            })?;
        let schedstat = reported.recv().map_err(io::Error::other)??;
        Ok(Self {
            jobs: sender,
            schedstat,
        })
    }

    /// CPU time that the thread has used.
    fn cpu_time(&self) -> Duration {
        let mut text = [0; 64];
        let size = self.schedstat.read_at(&mut text, 0).unwrap_or(0);
        let digits = text
            .iter()
            .take(size)
            .take_while(|byte| byte.is_ascii_digit());
        Duration::from_nanos(digits.fold(0, |number: u64, digit| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        }))
    }
}

/// A thread that closes files.
struct Closer {
    worker: Worker,
    /// Number of jobs that have not ended.
    jobs: Arc<AtomicUsize>,
    /// Time at which there was no job.
    idle: Instant,
}

impl Closer {
    fn start() -> io::Result<Self> {
        Ok(Self {
            worker: Worker::start()?,
            jobs: Arc::default(),
            idle: Instant::now(),
        })
    }

    /// Whether it has been closing files for longer than the limit of an inspection.
    fn hangs(&mut self) -> bool {
        if self.jobs.load(Ordering::Acquire) == 0 {
            self.idle = Instant::now();
        }
        self.idle.elapsed() > LIMIT
    }

    fn close(&self, files: Vec<File>) {
        let jobs = Arc::clone(&self.jobs);
        jobs.fetch_add(1, Ordering::AcqRel);
        // If the thread has ended, the files are closed here.
        let _ = self.worker.jobs.send(Box::new(move || {
            drop(files);
            jobs.fetch_sub(1, Ordering::AcqRel);
        }));
    }
}

/// An inspection whose thread was abandoned.
struct Abandoned {
    subject: Subject,
    shown: String,
    begin: Instant,
    has_returned: Box<dyn FnMut() -> bool + Send>,
}

/// An inspection that is running.
pub(super) struct Running<T> {
    pub(super) subject: Subject,
    shown: String,
    begin: Instant,
    result: Receiver<T>,
    worker: Worker,
}

/// Runs inspections.
#[derive(Default)]
pub(super) struct Inspections {
    idle: Option<Worker>,
    closer: Option<Closer>,
    abandoned: Vec<Abandoned>,
    /// Subjects whose inspection returned late, and when they may be inspected again.
    backoff: Vec<(Subject, Instant)>,
    /// Time waited for the inspections that were abandoned.
    waited: Duration,
}

impl Inspections {
    /// Runs an inspection and waits for its result.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`]; the subject is blocked for some time then.
    pub(super) fn run<T: Send + 'static>(
        &mut self,
        subject: Subject,
        shown: impl Into<String>,
        inspect: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let running = self.start(subject, shown, inspect)?;
        let limit = self.limit();
        let mut cpu_time = running.worker.cpu_time();
        loop {
            match running.result.recv_timeout(limit) {
                Ok(result) => {
                    self.idle = Some(running.worker);
                    return Ok(result);
                }
                Err(RecvTimeoutError::Timeout) => {
                    // A thread that computes does not hang, and its work is bounded.
                    let before = std::mem::replace(&mut cpu_time, running.worker.cpu_time());
                    if cpu_time.saturating_sub(before) < COMPUTES {
                        self.abandon(running);
                        return Err(NoAnswer::Abandoned(limit));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Err(NoAnswer::Ended),
            }
        }
    }

    /// Starts an inspection; [`Self::poll`] returns its result.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`].
    pub(super) fn start<T: Send + 'static>(
        &mut self,
        subject: Subject,
        shown: impl Into<String>,
        inspect: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Running<T>, NoAnswer> {
        if self.is_blocked(subject) || self.abandoned.len() >= MAX_ABANDONED {
            return Err(NoAnswer::Blocked);
        }
        let (sender, result) = mpsc::sync_channel(1);
        let mut job: Job = Box::new(move || {
            // The receiver is dropped when the result is no longer needed.
            let _ = sender.send(inspect());
        });
        if let Some(worker) = self.idle.take() {
            match worker.jobs.send(job) {
                Ok(()) => return Ok(Running::new(subject, shown.into(), result, worker)),
                Err(mpsc::SendError(unsent)) => job = unsent,
            }
        }
        let worker = Worker::start().map_err(|error| NoAnswer::NoThread(error.to_string()))?;
        worker.jobs.send(job).map_err(|_| NoAnswer::Ended)?;
        Ok(Running::new(subject, shown.into(), result, worker))
    }

    /// Returns the result of an inspection that was started, or the inspection if it still runs
    /// within `limit`.
    ///
    /// # Errors
    ///
    /// [`NoAnswer`] if the inspection was abandoned.
    pub(super) fn poll<T: Send + 'static>(
        &mut self,
        running: Running<T>,
        limit: Duration,
    ) -> Result<Polled<T>, NoAnswer> {
        match running.result.try_recv() {
            Ok(result) => {
                self.idle = Some(running.worker);
                Ok(Polled::Returned(result))
            }
            Err(TryRecvError::Empty) if running.begin.elapsed() < limit => {
                Ok(Polled::Running(running))
            }
            Err(TryRecvError::Empty) => {
                self.abandon(running);
                Err(NoAnswer::Abandoned(limit))
            }
            Err(TryRecvError::Disconnected) => Err(NoAnswer::Ended),
        }
    }

    /// Closes files without waiting for their file system.
    pub(super) fn close(&mut self, files: Vec<File>) {
        if self.closer.as_mut().is_none_or(Closer::hangs) {
            // The hanging thread retains the files that it still has to close.
            self.closer = Closer::start().ok();
        }
        if let Some(closer) = &self.closer {
            closer.close(files);
        }
    }

    /// Whether the subject must be skipped.
    pub(super) fn is_blocked(&self, subject: Subject) -> bool {
        let same = |other: Subject| other == subject;
        let same_device =
            |other: Subject| other.device().is_some() && other.device() == subject.device();
        let mut abandoned = self.abandoned.iter().map(|inspection| inspection.subject);
        abandoned.any(|other| same(other) || same_device(other))
            || self.backoff.iter().any(|(other, _)| same(*other))
    }

    /// Updates the blocked subjects; returns whether some may be inspected again.
    pub(super) fn unblock(&mut self, now: Instant) -> bool {
        let backoff = &mut self.backoff;
        self.abandoned.retain_mut(|inspection| {
            let has_returned = (inspection.has_returned)();
            if has_returned {
                let duration = now.saturating_duration_since(inspection.begin);
                let (path, seconds) = (&inspection.shown, duration.as_secs());
                tracing::info!(path, seconds, "file system or process answers again");
                backoff.push((inspection.subject, now + duration * BACKOFF_FACTOR));
            }
            !has_returned
        });
        let before = backoff.len();
        backoff.retain(|(_, until)| *until > now);
        backoff.len() < before
    }

    /// Time waited for the inspections that were abandoned, since the agent began.
    pub(super) const fn waited(&self) -> Duration {
        self.waited
    }

    /// Subjects of the abandoned inspections, and their descriptions.
    pub(super) fn unanswered(&self) -> impl ExactSizeIterator<Item = (Subject, &str)> {
        let inspections = self.abandoned.iter();
        inspections.map(|inspection| (inspection.subject, inspection.shown.as_str()))
    }

    fn limit(&self) -> Duration {
        let halvings = u32::try_from(self.abandoned.len()).unwrap_or(u32::MAX);
        let limit = 2_u32.checked_pow(halvings).map(|parts| LIMIT / parts);
        limit.unwrap_or(MIN_LIMIT).max(MIN_LIMIT)
    }

    fn abandon<T: Send + 'static>(&mut self, running: Running<T>) {
        let Running {
            subject,
            shown,
            begin,
            result,
            worker: _,
        } = running;
        self.waited += begin.elapsed();
        tracing::warn!(
            path = shown,
            abandoned = self.abandoned.len() + 1,
            "file system or process does not answer, inspection abandoned"
        );
        self.abandoned.push(Abandoned {
            subject,
            shown,
            begin,
            has_returned: Box::new(move || !matches!(result.try_recv(), Err(TryRecvError::Empty))),
        });
    }
}

/// State of an inspection that was started.
pub(super) enum Polled<T> {
    Returned(T),
    Running(Running<T>),
}

impl<T> Running<T> {
    fn new(subject: Subject, shown: String, result: Receiver<T>, worker: Worker) -> Self {
        Self {
            subject,
            shown,
            begin: Instant::now(),
            result,
            worker,
        }
    }
}

#[cfg(test)]
mod tests;
