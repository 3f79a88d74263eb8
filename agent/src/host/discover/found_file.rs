//! A file that may be a library, and what it turns out to be.

use std::{path::PathBuf, rc::Rc};

use super::{
    image::FileId,
    inspections::{NoAnswer, Subject},
    process_maps::MappedFile,
    translators::Translated,
};
use crate::status::Reason;

/// Classification of a file.
pub(super) enum FileClass {
    /// The file is a library.
    Library(FileId),
    /// The file is not a library as far as is known.
    NotLibrary,
    /// Unknown until pending probes are attached, or until the owner may spend more time.
    Undecided,
    /// The file cannot be read, or is not accepted.
    Problem(Reason, String),
}

/// Where to find the crypto library of a library.
pub(super) enum CryptoSource {
    /// Among the files that a process maps.
    Mapped(Vec<MappedFile>),
    /// In the directory of the library.
    Beside,
    /// The library contains it.
    Inside,
}

/// A file to classify.
pub(super) struct FoundFile<'a> {
    pub(super) subject: Subject,
    pub(super) path: PathBuf,
    pub(super) shown: String,
    pub(super) group: &'a Rc<str>,
    pub(super) mapped: Option<&'a MappedFile>,
    /// The process, if it runs under a translator.
    pub(super) translated: Option<Translated>,
}

impl FileClass {
    /// The file does not answer.
    pub(super) fn unanswered(shown: &str, error: &NoAnswer) -> Self {
        Self::Problem(Reason::Unresponsive, format!("{shown} {error}"))
    }

    /// No further file of its owner is accepted.
    pub(super) fn too_many_files() -> Self {
        let finding = "too many library files are in use".to_owned();
        Self::Problem(Reason::TooManyLibraries, finding)
    }
}
