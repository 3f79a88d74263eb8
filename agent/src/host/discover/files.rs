//! Caches results per file, so that none is read twice: which mapped files contain a TLS library,
//! which still have to be searched, and the plans.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
};

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
pub(super) type Planned = Result<Arc<Plan>, Arc<PlanError>>;

/// Plans by file, valid as long as the file is not modified. Shared with the threads that plan.
#[derive(Debug, Clone)]
pub(super) struct Plans(Arc<Mutex<LruCache<PlanKey, Planned>>>);

type PlanKey = (FileId, (i64, i64));

impl Plans {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(MAX_PLANS))))
    }

    /// The plan for a file.
    pub(super) fn plan(&self, ssl: &Image, crypto: Option<&Image>) -> Planned {
        let key = (ssl.id, ssl.modified);
        // Nothing panics while it holds the lock, and no file is read.
        let cache = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(planned) = cache().get(&key) {
            return planned.clone();
        }
        let images = Images {
            ssl,
            crypto: crypto.map(|image| image as _),
        };
        let planned = plan(images).map(Arc::new).map_err(Arc::new);
        cache().put(key, planned.clone());
        planned
    }
}

/// A file that has to be searched.
#[derive(Debug)]
pub(super) struct Unsearched {
    pub(super) id: MappingId,
    /// A process that maps the file.
    pub(super) pid: u32,
    /// Group of the process's owner.
    pub(super) group: Rc<str>,
}

/// The caches.
pub(super) struct Files {
    /// Library of each mapped file; `None` if the file is not a library.
    mappings: HashMap<MappingId, Option<FileId>>,
    unsearched: Vec<Unsearched>,
    /// Number of files that were searched for each group of owners.
    searched: HashMap<Rc<str>, u64>,
    pub(super) plans: Plans,
}

impl Files {
    pub(super) fn new() -> Self {
        Self {
            mappings: HashMap::new(),
            unsearched: Vec::new(),
            searched: HashMap::new(),
            plans: Plans::new(),
        }
    }

    /// Cached result for a mapped file: `None` without one, `Some(None)` if the file is not a
    /// library.
    pub(super) fn known(&self, id: MappingId) -> Option<Option<FileId>> {
        self.mappings.get(&id).copied()
    }

    /// Caches that a mapped file is a library, or, with `None`, that its name and symbols are not
    /// those of a library.
    pub(super) fn insert(&mut self, id: MappingId, library: Option<FileId>) {
        if self.mappings.len() >= MAX_MAPPINGS {
            self.mappings.clear();
        }
        self.mappings.insert(id, library);
    }

    /// Queues a mapped file for a search.
    pub(super) fn queue_search(&mut self, mapped: &MappedFile, group: &Rc<str>) {
        if self.unsearched.len() < MAX_UNSEARCHED {
            self.unsearched.push(Unsearched {
                id: mapped.id,
                pid: mapped.pid,
                group: Rc::clone(group),
            });
        } else {
            self.mappings.remove(&mapped.id);
        }
    }

    /// Takes the next file to search: of the group of owners for which the fewest were searched,
    /// the one queued last, because its program has just started.
    pub(super) fn next_unsearched(&mut self) -> Option<Unsearched> {
        let count = |group: &Rc<str>| self.searched.get(group).copied().unwrap_or_default();
        let (at, _) = self
            .unsearched
            .iter()
            .enumerate()
            .min_by_key(|(at, unsearched)| (count(&unsearched.group), usize::MAX - at))?;
        let next = self.unsearched.remove(at);
        if self.unsearched.is_empty() {
            self.searched.clear();
        } else {
            *self.searched.entry(Rc::clone(&next.group)).or_default() += 1;
        }
        Some(next)
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
        self.searched.clear();
    }
}
