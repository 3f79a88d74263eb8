//! Caches results per file, so that none is read twice: which mapped files contain a TLS library,
//! which still have to be searched, and the plans.

use std::{collections::HashMap, num::NonZeroUsize, rc::Rc};

use lru::LruCache;

use super::{
    image::{FileId, Image},
    process_maps::{MappedFile, MappingId},
};
use reprise_core::plan::{Images, Plan, PlanError, plan};

/// Maximum number of cached mapped files; beyond it the cache is cleared.
const MAX_MAPPINGS: usize = 65_536;
/// Maximum number of files that wait for a search; further files wait until they are mapped again.
const MAX_UNSEARCHED: usize = 4_096;
/// Maximum number of cached plans.
const MAX_PLANS: NonZeroUsize = NonZeroUsize::new(64).expect("is not zero");

/// A plan, or the reason why there is none.
type Planned = Result<Rc<Plan>, Rc<PlanError>>;

/// A file that has to be searched.
#[derive(Debug)]
pub(super) struct Unsearched {
    pub(super) id: MappingId,
    /// A process that maps the file.
    pub(super) pid: u32,
}

/// The caches.
pub(super) struct Files {
    /// Library of each mapped file; `None` if the file is no library.
    mappings: HashMap<MappingId, Option<FileId>>,
    unsearched: Vec<Unsearched>,
    plans: LruCache<(FileId, (i64, i64)), Planned>,
}

impl Files {
    pub(super) fn new() -> Self {
        Self {
            mappings: HashMap::new(),
            unsearched: Vec::new(),
            plans: LruCache::new(MAX_PLANS),
        }
    }

    /// Cached result for a mapped file: `None` if there is none, `Some(None)` if it is no library.
    pub(super) fn known(&self, id: MappingId) -> Option<Option<FileId>> {
        self.mappings.get(&id).copied()
    }

    /// Caches that a mapped file is a library, or none according to its name and symbols.
    pub(super) fn insert(&mut self, id: MappingId, library: Option<FileId>) {
        if self.mappings.len() >= MAX_MAPPINGS {
            self.mappings.clear();
        }
        self.mappings.insert(id, library);
    }

    /// Queues a mapped file for a search.
    pub(super) fn queue_search(&mut self, mapped: &MappedFile) {
        if self.unsearched.len() < MAX_UNSEARCHED {
            self.unsearched.push(Unsearched {
                id: mapped.id,
                pid: mapped.pid,
            });
        } else {
            self.mappings.remove(&mapped.id);
        }
    }

    /// Takes the next file to search: the one queued last, because its program has just started.
    pub(super) fn next_unsearched(&mut self) -> Option<Unsearched> {
        self.unsearched.pop()
    }

    /// Whether files wait for a search.
    pub(super) fn has_unsearched(&self) -> bool {
        !self.unsearched.is_empty()
    }

    /// Removes the cached result of a mapped file.
    pub(super) fn remove(&mut self, id: MappingId) {
        self.mappings.remove(&id);
    }

    /// Removes the cached results of library files that match.
    pub(super) fn remove_files(&mut self, matches: impl Fn(FileId) -> bool) {
        self.mappings
            .retain(|_, library| !library.is_some_and(&matches));
    }

    /// Clears all cached results, because an inode number can be reused by another file.
    pub(super) fn clear(&mut self) {
        self.mappings.clear();
        self.unsearched.clear();
    }

    /// The plan for a file, cached as long as the file is not modified.
    pub(super) fn plan(&mut self, ssl: &Image, crypto: Option<&Image>) -> Planned {
        let planned = self.plans.get_or_insert((ssl.id, ssl.modified), || {
            let images = Images {
                ssl,
                crypto: crypto.map(|image| image as _),
            };
            plan(images).map(Rc::new).map_err(Rc::new)
        });
        planned.clone()
    }
}
