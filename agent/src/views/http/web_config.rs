//! `--web-config`: TLS, client certificates and passwords for the pages, in the file format of Prometheus' exporter-toolkit
//! (`docs/web-configuration.md` there). Read again when a file of it changes; a bad one keeps the last good one.
//!
//! Never on the observing loop: a password's hash takes tens of milliseconds, and is compared on a thread of its own, one at a time.

mod file;
mod tls;
mod users;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use hyper::header::{HeaderName, HeaderValue};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use self::users::Users;

/// How often files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// Why a file is refused.
#[derive(Debug, Error)]
pub enum WebConfigError {
    /// It cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is no such file; the text names the line.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// With line and column.
        reason: String,
    },
    /// A value makes no sense, or what it names cannot be used.
    #[error("{}: line {line}: {key}: {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// The key in question.
        key: String,
        /// In words.
        reason: String,
    },
}

/// What a file says, ready for use.
pub(super) struct Terms {
    /// How connections are encrypted; plain where there is none.
    pub(super) tls: Option<TlsAcceptor>,
    /// Names that a client's certificate may carry; any where empty.
    pub(super) sans: Vec<String>,
    /// Who may ask; anybody where there are none.
    pub(super) users: Users,
    /// More headers of every answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tls = self.tls.is_some();
        f.debug_struct("Terms")
            .field("tls", &tls)
            .finish_non_exhaustive()
    }
}

/// The file and what it said when it was last good.
#[derive(Debug)]
pub struct WebConfig {
    path: PathBuf,
    terms: Arc<Terms>,
    /// The file itself and those that it names, as they were when they were read.
    seen: Seen,
    looked: Instant,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

/// Files with what they were like; none where there is no such file.
type Seen = Vec<(PathBuf, Option<Stamp>)>;

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: metadata.ino(),
    })
}

impl WebConfig {
    /// Reads the file and what it names.
    ///
    /// # Errors
    ///
    /// [`WebConfigError`], with the line in question.
    pub fn load(path: &Path) -> Result<Self, WebConfigError> {
        let (terms, seen) = read(path);
        Ok(Self {
            path: path.to_owned(),
            terms: Arc::new(terms?),
            seen,
            looked: Instant::now(),
        })
    }

    /// What the file says now, or said when it was last good.
    pub(super) fn terms(&mut self) -> Arc<Terms> {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if self.seen.iter().any(|(path, was)| stamp(path) != *was) {
                let (terms, seen) = read(&self.path);
                self.seen = seen;
                match terms {
                    Ok(terms) => {
                        self.terms = Arc::new(terms);
                        tracing::info!(path = %self.path.display(), "web configuration read again");
                    }
                    Err(error) => tracing::error!(
                        reason = crate::chain(&error),
                        "web configuration refused, keeping the old one"
                    ),
                }
            }
        }
        Arc::clone(&self.terms)
    }
}

/// Reads it all. Stamps are taken before what they stand for is read: a change in between is noticed the next time.
fn read(path: &Path) -> (Result<Terms, WebConfigError>, Seen) {
    let mut seen = vec![(path.to_owned(), stamp(path))];
    let terms = file::read(path).and_then(|file| {
        seen.extend(file.names().map(|path| {
            let stamp = stamp(&path);
            (path, stamp)
        }));
        Ok(Terms {
            tls: tls::acceptor(&file)?,
            sans: file.sans(),
            users: Users::new(&file)?,
            headers: file.headers()?,
        })
    });
    (terms, seen)
}

pub(super) use tls::names_of;
