//! `--web-config`: TLS, client certificates and passwords, in the file format of Prometheus'
//! exporter-toolkit (`docs/web-configuration.md` there). The file is read again when it or a file
//! that it names changes; an invalid file leaves the last valid configuration in force.

mod backoff;
mod error;
mod file;
mod terms;
mod tls;
mod users;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

pub use self::error::WebConfigError;
use self::users::Users;
pub(super) use self::{terms::Terms, tls::subject_names, users::Admission};

/// Minimum interval between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A web configuration file and its last valid content.
#[derive(Debug)]
pub struct WebConfig {
    path: PathBuf,
    terms: Arc<Terms>,
    /// The file itself and the files that it names, when they were read.
    read: Vec<ReadFile>,
    checked: Instant,
}

/// A file, with its state when it was read.
#[derive(Debug)]
struct ReadFile {
    path: PathBuf,
    /// `None` if there was no such file.
    stamp: Option<Stamp>,
}

/// Properties of a file that change with its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of_file(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            inode: metadata.ino(),
        })
    }
}

impl ReadFile {
    fn new(path: PathBuf) -> Self {
        let stamp = Stamp::of_file(&path);
        Self { path, stamp }
    }

    fn has_changed(&self) -> bool {
        Stamp::of_file(&self.path) != self.stamp
    }
}

impl WebConfig {
    /// Reads the file and the files that it names.
    ///
    /// # Errors
    ///
    /// [`WebConfigError`], with the line if a value is invalid.
    pub fn load(path: &Path) -> Result<Self, WebConfigError> {
        let (terms, read) = read(path);
        Ok(Self {
            path: path.to_owned(),
            terms: Arc::new(terms?),
            read,
            checked: Instant::now(),
        })
    }

    /// The last valid access rules.
    pub(super) fn terms(&mut self) -> Arc<Terms> {
        if self.checked.elapsed() >= CHECK_INTERVAL {
            self.checked = Instant::now();
            if self.read.iter().any(ReadFile::has_changed) {
                self.reload();
            }
        }
        Arc::clone(&self.terms)
    }

    fn reload(&mut self) {
        let (terms, read) = read(&self.path);
        self.read = read;
        match terms {
            Ok(terms) => {
                self.terms = Arc::new(terms);
                tracing::info!(path = %self.path.display(), "web configuration reloaded");
            }
            Err(error) => tracing::error!(
                reason = crate::chain(&error),
                "web configuration invalid, previous one stays in use"
            ),
        }
    }
}

/// Reads all files. Their stamps are taken first, so that a change in between is noticed at the
/// next check.
fn read(path: &Path) -> (Result<Terms, WebConfigError>, Vec<ReadFile>) {
    let mut read = vec![ReadFile::new(path.to_owned())];
    let terms = file::read(path).and_then(|file| {
        read.extend(file.named_files().map(ReadFile::new));
        Ok(Terms {
            tls: tls::acceptor(&file)?,
            sans: file.sans(),
            users: Users::new(&file)?,
            headers: file.headers()?,
        })
    });
    (terms, read)
}
